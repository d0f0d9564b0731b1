# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments import (
    at_least,
    directory_from,
    duration_from,
    engine_options_from,
    lock_timeout_from,
    login_from,
    rules_from,
    selection_from,
    sftp_from,
    strings_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import PostgresqlOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import SqliteOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import EVERYTHING, Selection
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules

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


# --- Durations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("20h", timedelta(hours=20)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
        ("007d", timedelta(days=7)),
        ("999999w", timedelta(weeks=999_999)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert duration_from({"interval": text}, "interval") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        "h",
        "20H",
        "20 h",
        " 20h",
        "20h ",
        "20h\n",
        "-1h",
        "+1h",
        "1.5h",
        "1h30m",
        "20min",
        "20hours",
        "1y",
        "1e3s",
        "0x10s",
        "٢h",
        "9999999s",
        "9" * 5000 + "s",
        "20h,30m",
        "None",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid, match=r"which is no duration\. Give a number and s, m, h, d or w") as caught:
        duration_from({"interval": text}, "interval")
    assert caught.value.code == "argument_invalid"
    assert str(caught.value).startswith("interval is ")


def test_a_duration_that_is_not_set_is_none() -> None:
    assert duration_from({"interval": None}, "interval") is None


def test_a_lock_timeout_is_in_seconds() -> None:
    assert lock_timeout_from({"lock_timeout": "2m"}) == 120.0
    with pytest.raises(ArgumentInvalid, match="lock_timeout is 'soon'"):
        lock_timeout_from({"lock_timeout": "soon"})


# --- Lists, numbers, the directory -----------------------------------------------------------------------------


def test_a_list_that_is_not_set_is_none_and_an_empty_one_is_refused() -> None:
    assert strings_from({"databases": None}, "databases") is None
    assert strings_from({"databases": ["b", "a"]}, "databases") == ("b", "a")
    with pytest.raises(ArgumentInvalid, match=r"databases is an empty list, .* Leave databases out to mean all"):
        strings_from({"databases": []}, "databases")


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0, 0), (100, 0)])
def test_a_number_that_is_large_enough_is_taken(value: int, least: int) -> None:
    assert at_least({"page": value}, "page", least) == value


@pytest.mark.parametrize(("value", "least"), [(0, 1), (-1, 0), (-100, 1)])
def test_a_number_that_is_too_small_is_refused(value: int, least: int) -> None:
    with pytest.raises(ArgumentInvalid, match=rf"page is {value}\. It must be {least} or more"):
        at_least({"page": value}, "page", least)


@pytest.mark.parametrize("directory", ["/", "/srv/backups", "/srv/a b", "/srv/../srv"])
def test_a_directory_is_absolute(directory: str) -> None:
    assert directory_from({"directory": directory}) == directory


@pytest.mark.parametrize("directory", ["", ".", "backups", "./backups", "../backups", "~/backups", "$HOME/backups"])
def test_a_relative_directory_is_refused(directory: str) -> None:
    with pytest.raises(ArgumentInvalid, match="which is not an absolute path"):
        directory_from({"directory": directory})


# --- The selection ---------------------------------------------------------------------------------------------


def test_a_selection_of_nothing_in_particular_is_everything() -> None:
    assert selection_from({"names": None, "databases": None, "newest": None}) == EVERYTHING


def test_a_selection_has_names_databases_and_how_many() -> None:
    found = selection_from({"names": ["a"], "databases": ["b", "c"], "newest": 3})
    assert found == Selection(("a",), ("b", "c"), 3)


@pytest.mark.parametrize("over", [{"names": []}, {"databases": []}, {"newest": 0}, {"newest": -1}])
def test_a_selection_that_selects_nothing_is_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match=next(iter(over))):
        selection_from({"names": None, "databases": None, "newest": None, **over})


# --- What is to be dumped --------------------------------------------------------------------------------------


def test_the_login_has_every_option() -> None:
    login = login_from(LOGIN)
    assert (login.host, login.port, login.user, login.password) == ("h", 5433, "u", "p")
    assert (login.unix_socket, login.database, login.session_role) == (None, "postgres", "r")
    assert (login.ssl_mode, login.ca_cert, login.ssl_cert, login.ssl_key) == ("require", "/ca", "/cert", "/key")


def test_options_for_postgresql() -> None:
    assert engine_options_from(DUMP) == PostgresqlOptions(
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
    options = engine_options_from({**DUMP, "timeout": None})
    assert isinstance(options, PostgresqlOptions)
    assert options.timeout is None


SQLITE = {**DUMP, "engine": "sqlite", "databases": ["/srv/app.db"], "extra_args": [], "timeout": None}


def test_options_for_sqlite() -> None:
    options = engine_options_from(SQLITE)
    assert isinstance(options, SqliteOptions)
    assert (options.paths, options.exclude, options.lock_timeout) == (("/srv/app.db",), ("test_*",), 90.0)


@pytest.mark.parametrize("over", [{"format": "plain"}, {"include_globals": True}, {"extra_args": ["-O"]}, {"timeout": "2h"}])
def test_what_means_nothing_for_sqlite_is_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match=f"{next(iter(over))}.* means nothing for SQLite"):
        engine_options_from({**SQLITE, **over})


def test_no_sqlite_databases_are_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="databases is an empty list"):
        engine_options_from({**SQLITE, "databases": []})


@pytest.mark.parametrize("password", ["secret\n", "sec\nret", "secret\r"])
def test_a_password_with_a_line_break_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ArgumentInvalid, match="login_password has a line break") as caught:
        login_from({**LOGIN, "login_password": password})
    assert "sec" not in str(caught.value)


# --- Rules of retention ----------------------------------------------------------------------------------------

RULES: dict[str, Any] = {
    **{f"keep_{rule}": number for number, rule in enumerate(("last", "hourly", "daily", "weekly", "monthly", "yearly"))},
    "keep_within": "7d",
    "timezone": "UTC",
}


def test_each_option_is_its_rule() -> None:
    expected = Rules(0, 1, 2, 3, 4, 5, timedelta(days=7), timezone.utc)
    assert rules_from(RULES) == expected
    assert rules_from({**RULES, "keep_last": -1, "keep_within": None}) == replace(expected, last=-1, within=None)
    assert rules_from({**RULES, "timezone": "Europe/Berlin"}).timezone == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("name", ["Atlantis", "", "../etc", "/etc/localtime", "Europe", "Europe/Berlin\n", "\ud800", "x" * 5000])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ArgumentInvalid, match="timezone is"):
        rules_from({**RULES, "timezone": name})


@pytest.mark.parametrize("option", [option for option in RULES if option not in ("keep_within", "timezone")])
def test_a_count_below_minus_one_is_refused(option: str) -> None:
    with pytest.raises(ArgumentInvalid, match=option):
        rules_from({**RULES, option: -2})


# --- sftp -----------------------------------------------------------------------------------------

SFTP: dict[str, Any] = {
    "host": "backup.example.org",
    "port": 2222,
    "user": "db7",
    "auth_method": "auto",
    "password": "secret",
    "private_key": None,
    "private_key_file": "/key",
    "key_passphrase": "phrase",
    "remote_directory": "/backups",
    "create_directory": True,
    "host_key_policy": "accept_new",
    "host_key": None,
    "known_hosts_file": "/known",
    "timeout": "2m",
}


def test_a_server_is_as_the_options_say_and_its_secrets_do_not_show() -> None:
    found = sftp_from(SFTP, check_mode=False)
    assert {name: getattr(found, name) for name in SFTP} == {**SFTP, "timeout": 120.0}
    assert not {"secret", "phrase"} & set(repr(found).split("'"))


def test_only_a_run_that_changes_things_remembers_a_key() -> None:
    assert sftp_from(SFTP, check_mode=False).remembers
    assert not sftp_from(SFTP, check_mode=True).remembers


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"host_key_policy": "pinned"}, "host_key"),
        ({"host_key_policy": "pinned", "host_key": ""}, "host_key"),
        ({"auth_method": "password", "password": None}, "password"),
        ({"remote_directory": ""}, "remote_directory"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
    ],
)
def test_a_server_s_options_that_do_not_go_together_are_refused(over: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentInvalid, match=said):
        sftp_from({**SFTP, **over}, check_mode=False)
