"""How names and words of others are written."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._text import (
    LONGEST_TEXT,
    bounded,
    escaped,
    lines,
    one_line,
    unescaped,
)

TRICKY = st.lists(st.sampled_from([*"\\xuU0159bcaf\n\x1b\x9b\u202e\u2028\ufeff\udce9é", "\\x1b", "\\u202e", "\\x5c"])).map(
    "".join
)


@given(TRICKY | st.text())
def test_a_name_is_read_back_as_it_was_written(name: str) -> None:
    assert unescaped(escaped(name)) == name


@given(st.text(st.characters()) | TRICKY)
def test_nothing_that_acts_on_a_terminal_is_left(text: str) -> None:
    assert not any(unicodedata.category(one) in ("Cc", "Zl", "Zp", "Cs") for one in escaped(text))
    assert not any(unicodedata.bidirectional(one) in ("RLO", "LRO", "RLE", "LRE", "PDF", "LRI", "RLI") for one in escaped(text))
    assert not any(unicodedata.category(one) in ("Cc", "Zl", "Zp", "Cs") for one in one_line(text) if one != "\t")
    assert not any(unicodedata.category(one) in ("Cc", "Zl", "Zp", "Cs") for one in lines(text) if one not in "\t\n")


@pytest.mark.parametrize("name", ["app", "Zähler", "a b", "データ", "back\\slash", "a\\b", "C:\\new", "100%", "\xa0"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert escaped(name) == name
    assert unescaped(name) == name


def test_what_looks_like_an_escape_is_one_no_more() -> None:
    assert escaped("\\x1b") == "\\x5cx1b"
    assert escaped("\x1b") == "\\x1b"


def test_several_lines_become_one_or_stay_several() -> None:
    assert one_line("ERROR: no\n\tDETAIL: why\r\n") == "ERROR: no | DETAIL: why"
    assert lines("a\nb\rc\n") == "a\nb\\x0dc\n"


def test_what_is_too_long_loses_its_middle() -> None:
    assert len(one_line("x" * 10_000)) <= LONGEST_TEXT
    assert bounded("beginning" + "x" * 100 + "end", 30).startswith("beginning")
    assert bounded("beginning" + "x" * 100 + "end", 30).endswith("end")
    assert bounded("short") == "short"
