"""Labels as users give them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.labels import labels_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid


def test_texts_and_null_are_taken_as_they_are() -> None:
    labels = {
        "app_version": "2.10",
        "org.example/why": "before the upgrade \u2013 keep",
        "A": "",
        "gone": None,
        "a" * 63: "\u4e16" * 85,
    }
    assert labels_from({"labels": labels}) == labels
    assert labels_from({"labels": None}) == {}


@pytest.mark.parametrize("key", ["", "a" * 64, "with space", "-a", ".a", "a\n", "\u4e16", "a=b", "\x1b[31m", 1, None, True])
def test_a_key_of_another_form_is_refused(key: Any) -> None:
    for value in ("x", None):
        with pytest.raises(ArgumentInvalid, match="labels has the key"):
            labels_from({"labels": {key: value}})


@pytest.mark.parametrize("value", [1, 1.1, True, ["x"], {"x": "y"}])
def test_a_value_that_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentInvalid, match="in quotes"):
        labels_from({"labels": {"app": value}})


@pytest.mark.parametrize("value", ["x" * 257, "\u4e16" * 86, "a\nb", "\x1b[31m", "\x00", "\u202e", "\udc80", "\ufeff", "a\tb"])
def test_a_value_that_is_too_long_or_can_not_be_seen_is_refused(value: str) -> None:
    with pytest.raises(ArgumentInvalid, match="printable") as raised:
        labels_from({"labels": {"app": value}})
    assert str(raised.value).isprintable()
