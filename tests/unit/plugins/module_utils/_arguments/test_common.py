# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import (
    directory_from,
    selection_from,
    together_or_single,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection

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


# --- The directory ---------------------------------------------------------------------------------------------


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
