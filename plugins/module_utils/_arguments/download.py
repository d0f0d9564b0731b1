"""The options of backup_download, which the module on the host and its action plugin share."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS
from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import PROGRESS_SPEC, SELECTION_SPEC, Spec
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import STORE_SPEC

DOWNLOAD_SPEC: Spec = {
    **STORE_SPEC,
    **SELECTION_SPEC,
    "dest": {"type": "path", "required": True},
    "archive": {"type": "str", "choices": list(FORMATS)},
    "verify": {"type": "bool", "default": False},
    **PROGRESS_SPEC,
}
