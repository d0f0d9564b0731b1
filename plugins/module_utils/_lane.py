"""Work on a stream in another thread: digests, and writing to a disk, run without the interpreter's lock."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import contextlib
import typing as t
from concurrent import futures

# From its own file: the package would load it at the first use, in a thread, while another starts a program; it has locks
# that have to be held over a fork.
from concurrent.futures.thread import ThreadPoolExecutor

_UNDER_WAY = 2  # one is being worked on, and the next one waits

Piece = t.TypeVar("Piece")


class Lane(t.Generic[Piece]):
    """Does one kind of work on piece after piece, in order, in a thread of its own. Stops after a failure."""

    def __init__(self, work: t.Callable[[Piece], object], thread: futures.Executor) -> None:
        self._work = work
        self._thread = thread
        self._under_way: collections.deque[futures.Future[None]] = collections.deque()
        self._failure: BaseException | None = None

    def give(self, piece: Piece) -> None:
        """Hand over a piece, which may be reused after ``settle``. Waits if the work is behind; raises an error of the work."""
        self._wait(_UNDER_WAY - 1)
        self._under_way.append(self._thread.submit(self._do, piece))

    def settle(self) -> None:
        """Wait until the work on all pieces is done. Raises its error."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        while len(self._under_way) > most:
            self._under_way.popleft().result()
        if self._failure is not None:
            raise self._failure

    def _do(self, piece: Piece) -> None:
        if self._failure is None:
            try:
                self._work(piece)
            except BaseException as error:  # raised by the next call
                self._failure = error


@contextlib.contextmanager
def lane(work: t.Callable[[Piece], object]) -> t.Iterator[Lane[Piece]]:
    """Open a lane for a kind of work. Leaving it waits for its thread to end; pieces that were not begun are dropped."""
    thread = ThreadPoolExecutor(max_workers=1)
    try:
        yield Lane(work, thread)
    finally:
        thread.shutdown(cancel_futures=True)
