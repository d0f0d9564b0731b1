# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.arguments import (
    dump_options_from,
    examination_options_from,
    login_from,
    restore_options_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import Parts, PostgresqlDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

LOGIN: dict[str, Any] = {
    "login_host": "h",
    "login_port": 5433,
    "login_user": "u",
    "login_password": "p",
    "login_unix_socket": None,
    "login_db": "postgres",
    "ssl_mode": "require",
    "ca_cert": "/ca",
    "ssl_cert": "/cert",
    "ssl_key": "/key",
    "session_role": "r",
}
DUMP: dict[str, Any] = {
    **LOGIN,
    "engine": "postgresql",
    "databases": ["app", "billing"],
    "exclude_databases": ["test_*"],
    "include_globals": None,
    "format": "custom",
    "bin_directory": "/opt/pg/bin",
    "extra_args": ["-O"],
    "timeout": "2h",
    "lock_timeout": "90s",
    "wait_for_replay": "5m",
    "binlog_position": None,
}


def test_options_for_postgresql() -> None:
    assert dump_options_from(DUMP) == PostgresqlDumpOptions(
        login=login_from(LOGIN),
        databases=("app", "billing"),
        exclude_databases=("test_*",),
        include_globals=None,
        format="custom",
        bin_directory="/opt/pg/bin",
        extra_args=("-O",),
        timeout=7200.0,
        lock_timeout=90.0,
        wait_for_replay=300.0,
    )


def test_an_option_of_mysql_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="binlog_position"):
        dump_options_from({**DUMP, "binlog_position": True})


def test_without_a_timeout_there_is_none() -> None:
    options = dump_options_from({**DUMP, "timeout": None})
    assert isinstance(options, PostgresqlDumpOptions)
    assert options.timeout is None


def test_the_login_has_every_option() -> None:
    login = login_from(LOGIN)
    assert (login.host, login.port, login.user, login.password) == ("h", 5433, "u", "p")
    assert (login.unix_socket, login.database, login.session_role) == (None, "postgres", "r")
    assert (login.ssl_mode, login.ca_cert, login.ssl_cert, login.ssl_key) == ("require", "/ca", "/cert", "/key")


@pytest.mark.parametrize("password", ["secret\n", "sec\nret", "secret\r"])
def test_a_password_with_a_line_break_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ArgumentInvalid, match="login_password has a line break") as caught:
        login_from({**LOGIN, "login_password": password})
    assert "sec" not in str(caught.value)


NOTHING: dict[str, Any] = {**dict.fromkeys(LOGIN), "login_db": "postgres", "bin_directory": "/bin"}


@pytest.mark.parametrize("over", [{"login_host": "h"}, {"login_port": 5433}, {"login_unix_socket": "/run"}])
def test_a_server_is_given_by_what_says_where_it_is(over: dict[str, Any]) -> None:
    assert examination_options_from({**NOTHING, **over}, check_mode=False).login is not None


@pytest.mark.parametrize("option", ["login_user", "login_password", "ssl_mode", "ca_cert", "session_role"])
def test_who_we_are_gives_no_server(option: str) -> None:
    assert examination_options_from({**NOTHING, option: "x"}, check_mode=False).login is None


RESTORE: dict[str, Any] = {
    **LOGIN,
    "database": "copy",
    "if_exists": "fail",
    "keep_old": False,
    "terminate_sessions": False,
    "no_owner": False,
    "jobs": 2,
    "bin_directory": None,
    "analyze": True,
    "restore_only": None,
    "run_sql": None,
}


@pytest.mark.parametrize("if_exists, may_replace", [("fail", False), ("keep", False), ("replace", True)])
def test_only_replace_lets_a_restore_replace(if_exists: str, may_replace: bool) -> None:
    options = restore_options_from({**RESTORE, "if_exists": if_exists})
    assert (options.parts, options.run_sql, options.may_replace) == (None, None, may_replace)


def test_parts_are_schemas_and_tables() -> None:
    options = restore_options_from({**RESTORE, "restore_only": {"schemas": ["app"], "tables": None}})
    assert options.parts == Parts(schemas=("app",))


@pytest.mark.parametrize(
    "over",
    [
        {"restore_only": {"schemas": [], "tables": None}},
        {"restore_only": {"schemas": None, "tables": ["a.b", ""]}},
        {"restore_only": {"schemas": ["app"], "tables": None}, "if_exists": "replace"},
    ],
)
def test_parts_without_a_name_or_in_place_of_a_database_are_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match="restore_only"):
        restore_options_from({**RESTORE, **over})
