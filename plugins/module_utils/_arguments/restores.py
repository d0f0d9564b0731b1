# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Options that say what is to be restored, and how."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Params, at_least, useless_for_sqlite
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import login_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.restore import PostgresqlRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.restorers import RestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.restore import SqliteRestoreEngine


def restore_options_from(params: Params) -> RestoreOptions:
    """Return what is to be restored, and how. Raises ArgumentInvalid for an option that the engine has no use for."""
    if params["engine"] == "postgresql":
        return PostgresqlRestoreOptions(
            login=login_from(params),
            database=params["database"],
            keep_old=params["keep_old"],
            terminate_sessions=params["terminate_sessions"],
            no_owner=params["no_owner"],
            jobs=at_least(params, "jobs", 1),
            bin_directory=params["bin_directory"],
            analyze=params["analyze"],
        )
    for option in ("terminate_sessions", "include_globals", "no_owner"):
        if params[option]:
            raise useless_for_sqlite(option)
    return SqliteRestoreEngine(database=params["database"], keep_old=params["keep_old"])
