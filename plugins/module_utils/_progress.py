"""The progress of a run: operations count the bytes they process, and sinks receive the count at most once a second."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

_SECONDS = 1.0  # between two calls of the sinks


class UnderWay(t.NamedTuple):
    """A task that has begun and has not ended.

    ``subject`` identifies its database or backup by the facts that records have. ``expected_bytes`` is None if the number is not
    known, and may be an estimate: a dump is expected to be as large as the last one.
    """

    title: str
    subject: t.Mapping[str, t.Any]
    began: float  # by ``time.monotonic``
    done_bytes: int
    expected_bytes: int | None


Sink = t.Callable[[t.Sequence[UnderWay]], object]


class Task:
    """Counts the bytes of one piece of work. Safe to use in several threads."""

    def __init__(self, progress: Progress, title: str, expected_bytes: int | None, subject: t.Mapping[str, t.Any]) -> None:
        self._progress = progress
        self._title = title
        self._expected_bytes = expected_bytes
        self._subject = subject
        self._began = time.monotonic()
        self._done_bytes = 0
        self._guard = threading.Lock()

    def advance(self, count: int) -> None:
        """Add to the bytes that are done."""
        with self._guard:
            self._done_bytes += count
        self._progress.report()

    def reach(self, done_bytes: int, title: str | None = None) -> None:
        """Set the bytes that are done, and the title of what comes next. Repeated work goes back by this."""
        with self._guard:
            self._done_bytes = done_bytes
            self._title = self._title if title is None else title
        self._progress.report()

    def enter(self, title: str) -> None:
        """Set the title of a step that may count no bytes, and report it at once."""
        self._title = title
        self._progress.report(at_once=True)

    def under_way(self) -> UnderWay:
        """Return its progress."""
        return UnderWay(self._title, self._subject, self._began, self._done_bytes, self._expected_bytes)


class Progress:
    """Collects the tasks under way, and passes them to the sinks. A sink must not raise, and is never called twice at a time."""

    def __init__(self, *sinks: Sink, monotonic: t.Callable[[], float] = time.monotonic) -> None:
        self._sinks = sinks
        self._monotonic = monotonic
        self._tasks: list[Task] = []
        self._next = monotonic()
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def task(
        self, title: str, expected_bytes: int | None = None, subject: t.Mapping[str, t.Any] | None = None
    ) -> t.Iterator[Task]:
        """Begin a task, which ends with the context."""
        task = Task(self, title, expected_bytes, subject or {})
        with self._guard:
            self._tasks.append(task)
        try:
            self.report()
            yield task
        finally:
            with self._guard:
                self._tasks.remove(task)

    @contextlib.contextmanager
    def reporting_to(self, sink: Sink) -> t.Iterator[None]:
        """Call one more sink, until the context ends."""
        with self._guard:
            self._sinks = (*self._sinks, sink)
        try:
            yield
        finally:
            with self._guard:
                self._sinks = tuple(one for one in self._sinks if one is not sink)

    def report(self, *, at_once: bool = False) -> None:
        """Call the sinks, unless a call is under way, or the last one was within a second and this is not ``at_once``."""
        if not self._sinks or (self._monotonic() < self._next and not at_once) or not self._guard.acquire(blocking=at_once):
            return
        try:
            self._next = self._monotonic() + _SECONDS
            under_way = [task.under_way() for task in self._tasks]
            for sink in self._sinks:
                sink(under_way)
        finally:
            self._guard.release()
