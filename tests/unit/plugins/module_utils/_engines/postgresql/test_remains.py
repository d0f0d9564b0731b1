"""What an error says when what was made can't be removed."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.remains import removing_after_failure
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid


def test_an_error_stays_what_it_is_and_says_what_could_not_be_removed() -> None:
    error = ContentInvalid("The dump ends in the middle.", "Take another backup.")
    with pytest.raises(ContentInvalid) as raised, removing_after_failure(lambda: "The database app_new is left."):
        raise error
    assert raised.value is error
    assert str(error) == "The dump ends in the middle. Take another backup. The database app_new is left."


@pytest.mark.parametrize(("error", "left"), [(ContentInvalid("A.", "B."), None), (KeyError("name"), "It is left.")])
def test_another_error_or_a_removal_that_succeeds_changes_nothing(error: Exception, left: str | None) -> None:
    before = str(error)
    with pytest.raises(type(error)), removing_after_failure(lambda: left):
        raise error
    assert str(error) == before


def test_nothing_is_removed_where_nothing_failed() -> None:
    removed: list[str] = []
    with removing_after_failure(lambda: removed.append("all")):
        pass
    assert removed == []
