# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import (
    at_least,
    duration_from,
    list_from,
    lock_timeout_from,
    password_in,
)

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


# --- Lists -----------------------------------------------------------------------------------------------------


def test_a_list_that_is_not_set_is_none_and_an_empty_one_is_refused() -> None:
    assert list_from({"databases": None}, "databases") is None
    assert list_from({"databases": ["b", "a"]}, "databases") == ("b", "a")
    with pytest.raises(ArgumentInvalid, match=r"databases is an empty list, .* Leave databases out to mean all"):
        list_from({"databases": []}, "databases")


# --- Numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0, 0), (100, 0)])
def test_a_number_that_is_large_enough_is_taken(value: int, least: int) -> None:
    assert at_least({"page": value}, "page", least) == value


@pytest.mark.parametrize(("value", "least"), [(0, 1), (-1, 0), (-100, 1)])
def test_a_number_that_is_too_small_is_refused(value: int, least: int) -> None:
    with pytest.raises(ArgumentInvalid, match=rf"page is {value}\. It must be {least} or more"):
        at_least({"page": value}, "page", least)


# --- Passwords in files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "password"), [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("a\n\n", "a\n")])
def test_a_password_is_the_content_of_its_file_without_the_last_line_break(tmp_path: Path, content: str, password: str) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    file.chmod(0o640)
    assert password_in(str(file), "login_password_file") == password


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"hunter2", 0o644, "can be read by every user. Run: chmod 600"),
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"\xff", 0o600, "is no text in UTF-8"),
        (b"x" * 70_000, 0o600, "is too long"),
    ],
)
def test_a_file_that_holds_no_password_is_refused_without_showing_it(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ArgumentInvalid, match=words) as refused:
        password_in(str(file), "login_password_file")
    assert "hunter2" not in str(refused.value)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(ArgumentInvalid, match="login_password_file"):
            password_in(str(path), "login_password_file")
