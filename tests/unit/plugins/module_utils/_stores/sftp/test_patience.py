"""How long a server is waited for."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.patience import Patience


@pytest.fixture
def hung_up() -> threading.Event:
    return threading.Event()


@contextlib.contextmanager
def patience_of(seconds: float, hung_up: threading.Event) -> Iterator[Patience]:
    patience = Patience(seconds, hung_up.set)
    try:
        yield patience
    finally:
        patience.close()


def test_one_wait_that_is_too_long_ends(hung_up: threading.Event) -> None:
    with patience_of(0.2, hung_up) as patience:
        with patience:
            assert hung_up.wait(5)
        assert patience.has_run_out


def test_many_short_waits_with_next_to_no_progress_end_as_well(hung_up: threading.Event) -> None:
    began = time.monotonic()
    with patience_of(0.5, hung_up) as patience:
        while not hung_up.is_set() and time.monotonic() - began < 10:
            with patience:
                time.sleep(0.05)
            patience.progress(1)
        assert patience.has_run_out
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("how", ["answers", "data"])
def test_waits_with_progress_go_on(hung_up: threading.Event, how: str) -> None:
    with patience_of(0.5, hung_up) as patience:
        for _number in range(40):
            with patience:
                time.sleep(0.03)
            patience.answered() if how == "answers" else patience.progress(4096)
        assert not patience.has_run_out
    assert not hung_up.is_set()


def test_time_that_nobody_waits_does_not_count(hung_up: threading.Event) -> None:
    with patience_of(0.2, hung_up) as patience:
        time.sleep(0.5)
        with patience:
            time.sleep(0.05)
        assert not patience.has_run_out


def test_a_run_that_is_stopped_waits_no_more_than_moments_for_what_is_under_way(hung_up: threading.Event) -> None:
    with patience_of(0.2, hung_up) as patience:
        patience.stop()
        assert patience.is_stopped
        assert hung_up.wait(5)
