"""A limit on waiting for a server, whatever it sends meanwhile.

A limit on each read alone is not enough: a server that sends one byte a second never reaches it. A thread therefore watches
the total, and closes the connection from outside, since some waits of the library have no limit of their own.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
import types
import typing as t

_PROGRESS_BYTES = 4096  # so many bytes, or a whole answer, renew a part of the time
_PROGRESS_PART = 0.25
_LOOKS_PER_TIMEOUT = 20
_LONGEST_PAUSE = 0.5
_STOPPED_SECONDS = 5.0


class Patience:
    """The time that a server may take. Waiting uses it up; progress renews it, up to ``seconds``.

    A context manager, entered for each wait. ``hang_up`` is called once, from another thread, when the time has run out.
    """

    def __init__(self, seconds: float, hang_up: t.Callable[[], object]) -> None:
        self.seconds = seconds
        self.has_run_out = False
        self.is_stopped = False
        self._hang_up = hang_up
        self._left = seconds
        self._began = 0.0
        self._deadline: float | None = None
        self._last_deadline: float | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="patience", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> None:
        self._began = time.monotonic()
        self._deadline = self._began + self._left

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self._deadline = None
        self._left -= time.monotonic() - self._began

    def begin(self) -> None:
        """Renew the whole time, for the next step."""
        self._left = self.seconds

    def progress(self, count: int) -> None:
        """Note that so many bytes came, or were taken."""
        self._left = min(self.seconds, self._left + self.seconds * _PROGRESS_PART * count / _PROGRESS_BYTES)

    def answered(self) -> None:
        """Note that a whole answer came."""
        self.progress(_PROGRESS_BYTES)

    def stop(self) -> None:
        """Hang up soon, since the run was stopped: pending requests have up to _STOPPED_SECONDS to be answered."""
        self._last_deadline = time.monotonic() + min(self.seconds, _STOPPED_SECONDS)
        self.is_stopped = True

    def _watch(self) -> None:
        pause = min(_LONGEST_PAUSE, self.seconds / _LOOKS_PER_TIMEOUT)
        while not self._closed.wait(pause):
            now, deadline, last = time.monotonic(), self._deadline, self._last_deadline
            if (deadline is not None and now >= deadline) or (last is not None and now >= last):
                self.has_run_out = True
                self._hang_up()
                return
