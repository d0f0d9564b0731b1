"""The options of modules, converted for SQLite."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import run_sql_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import (
    SqliteDumpOptions,
    SqliteRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._parameters import (
    Params,
    list_from,
    lock_timeout_from,
    no_such_option,
    refuse_options,
)

_ENGINE = "sqlite"


def dump_options_from(params: Params) -> SqliteDumpOptions:
    if params["format"] == "plain":
        raise no_such_option(_ENGINE, "format=plain")
    refuse_options(params, _ENGINE, "include_globals", "extra_args", "timeout", "wait_for_replay", "binlog_position")
    return SqliteDumpOptions(
        paths=list_from(params, "databases") or (),
        exclude=tuple(params["exclude_databases"]),
        lock_timeout=lock_timeout_from(params),
    )


def restore_options_from(params: Params) -> SqliteRestoreOptions:
    refuse_options(params, _ENGINE, "terminate_sessions", "include_globals", "no_owner", "restore_only")
    run_sql = run_sql_from(params)
    if run_sql is not None and run_sql.as_owner:
        raise no_such_option(_ENGINE, "run_sql.as_owner")
    return SqliteRestoreOptions(
        database=params["database"],
        may_replace=params["if_exists"] == "replace",
        keep_old=params["keep_old"],
        run_sql=run_sql,
    )


def examination_options_from(params: Params, check_mode: bool) -> None:
    """An examination has no options."""


def name_in_backups(database: str) -> str:
    """Return the name of the file without its directory."""
    return os.path.basename(database)
