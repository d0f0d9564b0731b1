"""An error of the client or of the host says nothing about the backup."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.faults import explained, verdict_of
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionLost,
    ContentInvalid,
    Inconclusive,
    ProgramFailed,
)


def failure(number: int) -> ProgramFailed:
    return ProgramFailed(f"mysql ended with status 1: ERROR {number} (HY000): words", "Mend it.")


@pytest.mark.parametrize("number", [1021, 1205, 2013, 2026])
def test_an_error_of_the_client_or_the_host_is_inconclusive(number: int) -> None:
    assert isinstance(verdict_of(failure(number), "app", is_older=False), Inconclusive)


def test_an_error_of_a_statement_shows_a_bad_backup() -> None:
    assert isinstance(verdict_of(failure(1064), "app", is_older=False), ContentInvalid)


@pytest.mark.parametrize("number", [2006, 2013, 2026])
def test_a_connection_that_broke_in_a_restore_is_reported_as_lost(number: int) -> None:
    assert isinstance(explained(failure(number), "app"), ConnectionLost)


def test_another_error_in_a_restore_keeps_its_words() -> None:
    error = failure(1114)
    assert explained(error, "app") is error
