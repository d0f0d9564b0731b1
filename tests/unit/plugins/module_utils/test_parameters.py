# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import timedelta

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import (
    at_least,
    duration_from,
    list_from,
    lock_timeout_from,
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
