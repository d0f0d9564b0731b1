# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.engines import dump_options_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.login import login_from
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteDumpOptions
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
    )


def test_without_a_timeout_there_is_none() -> None:
    options = dump_options_from({**DUMP, "timeout": None})
    assert isinstance(options, PostgresqlDumpOptions)
    assert options.timeout is None


SQLITE = {**DUMP, "engine": "sqlite", "databases": ["/srv/app.db"], "extra_args": [], "timeout": None}


def test_options_for_sqlite() -> None:
    options = dump_options_from(SQLITE)
    assert isinstance(options, SqliteDumpOptions)
    assert (options.paths, options.exclude, options.lock_timeout) == (("/srv/app.db",), ("test_*",), 90.0)


@pytest.mark.parametrize("over", [{"format": "plain"}, {"include_globals": True}, {"extra_args": ["-O"]}, {"timeout": "2h"}])
def test_what_means_nothing_for_sqlite_is_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match=f"{next(iter(over))}.* means nothing for SQLite"):
        dump_options_from({**SQLITE, **over})


def test_no_sqlite_databases_are_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="databases is an empty list"):
        dump_options_from({**SQLITE, "databases": []})
