"""The options of modules, converted for PostgreSQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._engines.arguments import names_server
from ansible_collections.lastgood.database.plugins.module_utils._engines.parts import parts_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import (
    PostgresqlDumpOptions,
    PostgresqlExaminationOptions,
    PostgresqlRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import run_sql_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import (
    Params,
    at_least,
    duration_from,
    list_from,
    lock_timeout_from,
    refuse_options,
)


def dump_options_from(params: Params) -> PostgresqlDumpOptions:
    refuse_options(params, "postgresql", "binlog_position")
    timeout, replay = duration_from(params, "timeout"), duration_from(params, "wait_for_replay")
    return PostgresqlDumpOptions(
        login=login_from(params),
        databases=list_from(params, "databases"),
        exclude_databases=tuple(params["exclude_databases"]),
        include_globals=params["include_globals"],
        format=params["format"],
        bin_directory=params["bin_directory"],
        extra_args=tuple(params["extra_args"]),
        timeout=None if timeout is None else timeout.total_seconds(),
        lock_timeout=lock_timeout_from(params),
        wait_for_replay=None if replay is None else replay.total_seconds(),
    )


def restore_options_from(params: Params) -> PostgresqlRestoreOptions:
    return PostgresqlRestoreOptions(
        login=login_from(params),
        database=params["database"],
        may_replace=params["if_exists"] == "replace",
        keep_old=params["keep_old"],
        terminate_sessions=params["terminate_sessions"],
        no_owner=params["no_owner"],
        jobs=at_least(params, "jobs", 1),
        bin_directory=params["bin_directory"],
        analyze=params["analyze"],
        run_sql=run_sql_from(params),
        parts=parts_from(params),
    )


def examination_options_from(params: Params, check_mode: bool) -> PostgresqlExaminationOptions:
    login = login_from(params) if names_server(params) else None
    return PostgresqlExaminationOptions(params["bin_directory"], login, check_mode)


def name_in_backups(database: str) -> str:
    return database


def login_from(params: Params) -> Login:
    """Return the address of the server and the login."""
    password: str | None = params["login_password"]
    if password is not None and ("\n" in password or "\r" in password):
        raise ArgumentInvalid(
            "login_password has a line break in it, which PostgreSQL's password files can't hold.",
            "Take it out; a block in YAML ends in one unless it begins with |- or >-.",
        )
    return Login(
        host=params["login_host"],
        port=params["login_port"],
        user=params["login_user"],
        password=password,
        unix_socket=params["login_unix_socket"],
        database=params["login_db"],
        ssl_mode=params["ssl_mode"],
        ca_cert=params["ca_cert"],
        ssl_cert=params["ssl_cert"],
        ssl_key=params["ssl_key"],
        session_role=params["session_role"],
    )
