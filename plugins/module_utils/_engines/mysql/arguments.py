"""The options of modules, converted for MariaDB and MySQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import names_server
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import (
    MysqlDumpOptions,
    MysqlExaminationOptions,
    MysqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.parts import parts_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import run_sql_from
from ansible_collections.lastgood.database.plugins.module_utils._parameters import (
    Params,
    duration_from,
    list_from,
    lock_timeout_from,
    no_such_option,
    refuse_options,
)

_ENGINE = "mysql"


def dump_options_from(params: Params) -> MysqlDumpOptions:
    refuse_options(params, _ENGINE, "extra_args", "session_role", "wait_for_replay")
    timeout = duration_from(params, "timeout")
    return MysqlDumpOptions(
        login=login_from(params),
        databases=list_from(params, "databases"),
        exclude_databases=tuple(params["exclude_databases"]),
        include_globals=params["include_globals"],
        bin_directory=params["bin_directory"],
        timeout=None if timeout is None else timeout.total_seconds(),
        lock_timeout=lock_timeout_from(params),
        binlog_position=params["binlog_position"],
    )


def restore_options_from(params: Params) -> MysqlRestoreOptions:
    refuse_options(params, _ENGINE, "no_owner", "session_role")
    parts, run_sql = parts_from(params), run_sql_from(params)
    if parts is not None and parts.schemas:
        raise no_such_option(_ENGINE, "restore_only.schemas")
    if run_sql is not None and run_sql.as_owner:
        raise no_such_option(_ENGINE, "run_sql.as_owner")
    return MysqlRestoreOptions(
        login=login_from(params),
        database=params["database"],
        keep_old=params["keep_old"],
        terminate_sessions=params["terminate_sessions"],
        may_replace=params["if_exists"] == "replace",
        bin_directory=params["bin_directory"],
        run_sql=run_sql,
        parts=parts,
    )


def examination_options_from(params: Params, check_mode: bool) -> MysqlExaminationOptions:
    login = login_from(params) if names_server(params) else None
    return MysqlExaminationOptions(params["bin_directory"], login, check_mode)


def name_in_backups(database: str) -> str:
    return database


def login_from(params: Params) -> Login:
    """Return the address of the server and the login."""
    return Login(
        host=params["login_host"],
        port=params["login_port"],
        user=params["login_user"],
        password=params["login_password"],
        unix_socket=params["login_unix_socket"],
        ssl_mode=params["ssl_mode"],
        ca_cert=params["ca_cert"],
        ssl_cert=params["ssl_cert"],
        ssl_key=params["ssl_key"],
    )
