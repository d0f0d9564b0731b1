"""The options of db_restore to restore a part of a backup, and to run SQL in the restored database."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec

PARTS_SPEC: Spec = {
    "restore_only": {
        "type": "dict",
        "options": {
            "schemas": {"type": "list", "elements": "str"},
            "tables": {"type": "list", "elements": "str"},
        },
        "required_one_of": [["schemas", "tables"]],
    }
}
RUN_SQL_SPEC: Spec = {
    "run_sql": {
        "type": "dict",
        "options": {
            "statements": {"type": "list", "elements": "str", "no_log": True},
            "file": {"type": "path"},
            "as_owner": {"type": "bool", "default": False},
            "timeout": {"type": "str"},
        },
        "mutually_exclusive": [["statements", "file"]],
        "required_one_of": [["statements", "file"]],
    }
}
