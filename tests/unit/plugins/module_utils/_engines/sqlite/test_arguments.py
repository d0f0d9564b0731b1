# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.arguments import (
    dump_options_from,
    name_in_backups,
    restore_options_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import (
    SqliteDumpOptions,
    SqliteRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

SQLITE: dict[str, Any] = {
    "engine": "sqlite",
    "databases": ["/srv/app.db"],
    "exclude_databases": ["test_*"],
    "include_globals": None,
    "format": "custom",
    "extra_args": [],
    "timeout": None,
    "lock_timeout": "90s",
    "wait_for_replay": None,
    "binlog_position": None,
}
RESTORE: dict[str, Any] = {
    "database": "/srv/app.db",
    "if_exists": "fail",
    "keep_old": True,
    "terminate_sessions": False,
    "include_globals": False,
    "no_owner": False,
    "restore_only": None,
    "run_sql": None,
}


def test_options_for_sqlite() -> None:
    options = dump_options_from(SQLITE)
    assert isinstance(options, SqliteDumpOptions)
    assert (options.paths, options.exclude, options.lock_timeout) == (("/srv/app.db",), ("test_*",), 90.0)


@pytest.mark.parametrize(
    "over",
    [
        {"format": "plain"},
        {"include_globals": True},
        {"extra_args": ["-O"]},
        {"timeout": "2h"},
        {"wait_for_replay": "5m"},
        {"binlog_position": True},
    ],
)
def test_options_that_sqlite_does_not_have_are_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match=f"The engine sqlite has no option {next(iter(over))}"):
        dump_options_from({**SQLITE, **over})


def test_no_sqlite_databases_are_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="databases is an empty list"):
        dump_options_from({**SQLITE, "databases": []})


def test_options_of_a_restore() -> None:
    assert restore_options_from(RESTORE) == SqliteRestoreOptions("/srv/app.db", keep_old=True, may_replace=False)


@pytest.mark.parametrize("option", ["terminate_sessions", "include_globals", "no_owner", "restore_only"])
def test_options_of_a_restore_that_sqlite_does_not_have_are_refused(option: str) -> None:
    with pytest.raises(ArgumentInvalid, match=f"The engine sqlite has no option {option}"):
        restore_options_from({**RESTORE, option: True})


def test_backups_have_the_name_of_the_file_without_its_directory() -> None:
    assert name_in_backups("/srv/app.db") == "app.db"
