"""Work that goes on beside us: in order, not far behind, and with nothing lost that goes wrong."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace
from ansible_collections.lastgood.database.plugins.module_utils._lane import Lane, lane
from ansible_collections.lastgood.database.tests.support.processes import HANGS_AFTER_SECONDS as LONG


def test_pieces_are_worked_on_in_their_order() -> None:
    done: list[int] = []
    with lane(done.append) as working:
        for number in range(1000):
            working.give(number)
        working.settle()
        assert done == list(range(1000))


def test_it_goes_on_beside_whoever_gives_and_settling_waits_for_it() -> None:
    may_go_on, done = threading.Event(), threading.Event()

    def work(piece: bytes) -> None:
        assert may_go_on.wait(LONG)
        done.set()

    with lane(work) as working:
        working.give(b"piece")
        assert not done.is_set()
        may_go_on.set()
        working.settle()
        assert done.is_set()


def test_whoever_gives_is_at_most_two_pieces_ahead() -> None:
    given: list[int] = []
    may_go_on = threading.Event()

    def give(working: Lane[int]) -> None:
        for number in range(10):
            working.give(number)
            given.append(number)

    with lane(lambda piece: may_go_on.wait(LONG)) as working:
        giving = threading.Thread(target=give, args=(working,))
        giving.start()
        try:
            giving.join(0.5)
            assert given == [0, 1]
        finally:
            may_go_on.set()
        giving.join(LONG)
    assert given == list(range(10))


def test_after_a_failure_no_more_is_done_and_it_is_told() -> None:
    done: list[int] = []

    def work(piece: int) -> None:
        done.append(piece)
        if piece == 3:
            raise NoSpace("The disk is full.", "Make room.")

    with lane(work) as working:
        with pytest.raises(NoSpace):
            for number in range(1000):
                working.give(number)
        with pytest.raises(NoSpace):
            working.settle()
    assert done == [0, 1, 2, 3]


def test_settling_tells_of_the_failure_of_the_last_piece() -> None:
    def work(piece: bytes) -> None:
        raise NoSpace("The disk is full.", "Make room.")

    with lane(work) as working:
        working.give(b"piece")
        with pytest.raises(NoSpace):
            working.settle()


def test_its_thread_has_ended_when_it_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), lane(lambda piece: None) as working:
        working.give(b"piece")
        assert threading.active_count() == before + 1
        raise KeyError
    assert threading.active_count() == before
