# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.store_sftp import (
    server_or_sftp_from,
    sftp_from,
    trial_directories,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

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
        ({"host_key_policy": "pinned", "host_key": " \n"}, "host_key"),
        ({"host_key_policy": "strict", "host_key": "ssh-ed25519 AAAA"}, "ignores it"),
        ({"port": 0}, "port is 0"),
        ({"port": 65536}, "port is 65536"),
        ({"auth_method": "password", "password": None}, "password"),
        ({"remote_directory": ""}, "remote_directory"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
    ],
)
def test_a_server_s_options_that_do_not_go_together_are_refused(over: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentInvalid, match=said):
        sftp_from({**SFTP, **over}, check_mode=False)


UNSET: dict[str, Any] = {
    **dict.fromkeys(SFTP),
    "port": 22,
    "auth_method": "auto",
    "create_directory": False,
    "host_key_policy": "strict",
    "timeout": "30s",
}


def test_a_server_is_taken_from_a_dict_or_from_single_options() -> None:
    expected = sftp_from(SFTP, check_mode=False)
    assert server_or_sftp_from({**SFTP, "sftp": None}, check_mode=False) == expected
    assert server_or_sftp_from({**UNSET, "sftp": SFTP}, check_mode=False) == expected


@pytest.mark.parametrize("option", SFTP)
def test_a_server_in_a_dict_and_a_single_option_are_refused(option: str) -> None:
    with pytest.raises(ArgumentInvalid, match=f"sftp and {option} don't go together"):
        server_or_sftp_from({**UNSET, option: "something else", "sftp": SFTP}, check_mode=False)


@pytest.mark.parametrize("option", ["host", "user", "remote_directory"])
def test_a_server_that_lacks_an_option_is_refused(option: str) -> None:
    with pytest.raises(ArgumentInvalid, match=f"The SFTP server lacks {option}"):
        server_or_sftp_from({**SFTP, option: None, "sftp": None}, check_mode=False)


@pytest.mark.parametrize(
    ("directory", "creates", "expected"),
    [
        ("/srv/backups/db7/", True, ["/srv/backups/db7/", "/srv/backups", "/srv", "/"]),
        ("backups/db7", True, ["backups/db7", "backups", "."]),
        ("db7", True, ["db7", "."]),
        ("/", True, ["/"]),
        ("backups/db7", False, ["backups/db7"]),
    ],
)
def test_a_directory_that_may_be_made_is_tried_after_it_in_those_above(
    directory: str, creates: bool, expected: list[str]
) -> None:
    assert trial_directories(directory, creates) == expected
