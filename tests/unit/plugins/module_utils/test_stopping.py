"""What is done when a run is stopped. How signals stop one is in test_ansible.py, with processes of their own."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _stopping
from ansible_collections.lastgood.database.plugins.module_utils._stopping import Stop

LONG = 30.0


@pytest.fixture
def stop() -> Stop:
    return Stop()


def test_the_first_signal_is_the_one_that_counts(stop: Stop) -> None:
    assert (bool(stop), stop.signal) == (False, None)
    assert stop.begin(15)
    assert not stop.begin(2)
    assert (bool(stop), stop.signal) == (True, 15)


def test_an_act_is_called_once_and_from_another_thread(stop: Stop) -> None:
    threads: list[threading.Thread] = []
    with stop.acting(lambda: threads.append(threading.current_thread())):
        assert threads == []
        stop.begin(15)
        stop.begin(15)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


def test_an_act_that_comes_after_the_stop_is_called_at_once(stop: Stop) -> None:
    stop.begin(15)
    called = threading.Event()
    with stop.acting(called.set):
        assert called.wait(LONG)


def test_an_act_is_not_called_after_its_context_was_left(stop: Stop) -> None:
    called: list[int] = []
    with stop.acting(lambda: called.append(1)):
        pass
    stop.begin(15)
    assert called == []


def test_leaving_waits_for_an_act_that_was_begun(stop: Stop) -> None:
    done: list[int] = []

    def act() -> None:
        time.sleep(0.2)
        done.append(1)

    with stop.acting(act):
        stop.begin(15)
    assert done == [1]


def test_an_act_that_hangs_holds_up_neither_the_others_nor_the_end(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stopping, "KILL_AFTER_SECONDS", 0.2)
    for_ever, called = threading.Event(), threading.Event()
    try:
        with stop.acting(for_ever.wait), stop.acting(called.set):
            stop.begin(15)
            assert called.wait(LONG)
    finally:
        for_ever.set()


def test_an_act_that_fails_is_none_the_less_an_end(stop: Stop) -> None:
    def act() -> None:
        raise ValueError("closed already")

    with stop.acting(act):
        stop.begin(15)
    assert stop


def test_a_host_without_threads_calls_the_act_all_the_same(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    called: list[int] = []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with stop.acting(lambda: called.append(1)):
        stop.begin(15)
    assert called == [1]
