# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    at_least,
    directory_from,
    duration_from,
    list_from,
    lock_timeout_from,
    selection_from,
    together_or_single,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection

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


# --- Options that a module takes in a dict as well as one by one ------------------------------------------------

HOUSE: dict[str, Any] = {"street": {"type": "str", "required": True}, "number": {"type": "int", "default": 1}}


def test_options_are_taken_from_a_dict_or_one_by_one() -> None:
    alone = {"house": None, "street": "Main", "number": 3}
    assert together_or_single(alone, "house", HOUSE) == alone
    together = {"house": {"street": "Main", "number": 3}, "street": None, "number": 1}
    assert together_or_single(together, "house", HOUSE) == {"street": "Main", "number": 3}


@pytest.mark.parametrize(("name", "value"), [("street", "Main"), ("street", ""), ("number", 3), ("number", 0)])
def test_an_option_beside_the_dict_is_refused(name: str, value: Any) -> None:
    params = {"house": {"street": "Main", "number": 3}, "street": None, "number": 1, name: value}
    with pytest.raises(ArgumentInvalid, match=rf"house and {name} don't go together\. Set {name} in house, or leave house out"):
        together_or_single(params, "house", HOUSE)


# --- Numbers, the directory ------------------------------------------------------------------------------------


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
