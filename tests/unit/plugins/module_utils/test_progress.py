"""What sinks receive of a run, and when."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._progress import Progress, UnderWay


class Watch:
    """A clock that goes when it is set, and what a sink received."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.received: list[list[tuple[str, int, int | None]]] = []

    def progress(self) -> Progress:
        return Progress(self.receive, monotonic=lambda: self.seconds)

    def receive(self, under_way: Sequence[UnderWay]) -> None:
        self.received.append([(one.title, one.done_bytes, one.expected_bytes) for one in under_way])


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_task_is_reported_as_soon_as_it_begins(watch: Watch) -> None:
    with watch.progress().task("app", 50):
        assert watch.received == [[("app", 0, 50)]]


def test_bytes_are_reported_at_most_once_a_second(watch: Watch) -> None:
    with watch.progress().task("app", 50) as task:
        for _number in range(10):
            task.advance(1)
        assert watch.received == [[("app", 0, 50)]]
        watch.seconds += 0.99
        task.advance(1)
        assert len(watch.received) == 1
        watch.seconds += 0.01
        task.advance(1)
        task.advance(1)
    assert watch.received[1:] == [[("app", 12, 50)]]


def test_tasks_that_run_at_the_same_time_are_reported_together_until_each_ends(watch: Watch) -> None:
    progress = watch.progress()
    with progress.task("app") as app:
        with progress.task("shop", 7) as shop:
            shop.advance(2)
            watch.seconds += 1
            app.advance(1)
        watch.seconds += 1
        app.advance(1)
    assert watch.received[1:] == [[("app", 1, None), ("shop", 2, 7)], [("app", 2, None)]]


def test_work_that_is_repeated_goes_back_and_may_change_its_title(watch: Watch) -> None:
    with watch.progress().task("app (1 of 2)", 20) as task:
        task.advance(10)
        task.reach(5, "shop (2 of 2)")
        watch.seconds += 1
        task.advance(1)
    assert watch.received[-1] == [("shop (2 of 2)", 6, 20)]


def test_a_task_knows_its_subject_and_when_it_began() -> None:
    received: list[UnderWay] = []
    before = time.monotonic()
    with Progress(received.extend).task("app", 50, {"engine": "sqlite"}):
        pass
    [one] = received
    assert one.subject == {"engine": "sqlite"}
    assert before <= one.began <= time.monotonic()


def test_no_byte_of_many_threads_is_lost_and_no_sink_is_called_twice_at_a_time() -> None:
    inside = threading.Lock()
    overlaps: list[bool] = []

    def receive(under_way: Sequence[UnderWay]) -> None:
        overlaps.append(not inside.acquire(blocking=False))
        time.sleep(0.001)
        inside.release()

    seconds = iter(range(1_000_000))
    progress = Progress(receive, monotonic=lambda: float(next(seconds)))
    with progress.task("app") as task:
        threads = [threading.Thread(target=lambda: [task.advance(1) for _number in range(500)]) for _thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert task.under_way().done_bytes == 4000
    assert overlaps
    assert not any(overlaps)


def test_a_failed_task_ends_as_well(watch: Watch) -> None:
    progress = watch.progress()
    with pytest.raises(KeyError), progress.task("app"):
        raise KeyError
    watch.seconds += 1
    with progress.task("shop"):
        pass
    assert watch.received[-1] == [("shop", 0, None)]


def test_without_a_sink_nothing_asks_for_the_time() -> None:
    times: list[float] = []
    progress = Progress(monotonic=lambda: times.append(1.0) or 1.0)  # type: ignore[func-returns-value]
    with progress.task("app") as task:
        task.advance(1)
    assert len(times) == 1  # when it was made
