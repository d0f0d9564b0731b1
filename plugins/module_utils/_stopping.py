"""End a run on a signal.

A signal handler may run between any two instructions of the main thread, so an exception from one can leave a lock held or a
file half renamed. Handlers raise nothing: they set a flag, which the work examines at its steps. The interpreter also writes the
number of the signal to a pipe, even while the main thread waits in a call of a library; a thread reads it, and ends what the
work waits for.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import threading
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._process import KILL_AFTER_SECONDS

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

Act = t.Callable[[], object]


class Stop:
    """A flag that the run was stopped, and the acts to perform at that moment."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._stopped = False
        self._begun = False
        self._guard = threading.Lock()
        self._acts: set[_Acting] = set()

    def __bool__(self) -> bool:
        return self._stopped

    def note(self, number: int | None) -> None:
        """Set the flag. Takes no lock: a signal handler may call it."""
        if not self._stopped:
            self.signal = number
            self._stopped = True

    def begin(self, number: int | None) -> bool:
        """Stop the run, and begin every act. Returns False, and does nothing, the second time."""
        self.note(number)
        with self._guard:
            if self._begun:
                return False
            self._begun = True
            for acting in self._acts:
                acting.begin()
        return True

    @contextlib.contextmanager
    def acting(self, act: Act) -> t.Iterator[None]:
        """Call ``act`` once if the run is stopped while this is open, or was stopped before."""
        acting = _Acting(act)
        with self._guard:
            self._acts.add(acting)
            if self._begun:
                acting.begin()
        try:
            yield
        finally:
            with self._guard:
                self._acts.remove(acting)
            acting.wait()


class _Acting:
    """An act in a thread of its own: one that hangs does not hold up the others."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._thread = threading.Thread(target=self._do, name="stopping", daemon=True)

    def begin(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # the host has no thread to spare
            self._do()

    def wait(self) -> None:
        """Wait for a begun act to end, but not for ever, so that it can't affect what comes next."""
        if self._thread.ident is not None:
            self._thread.join(KILL_AFTER_SECONDS)

    def _do(self) -> None:
        with contextlib.suppress(Exception):  # the target may have ended by itself
            self._act()


def hold_signals() -> None:
    """Block the signals that end a run until ``stop_on_signals``: nothing could handle them before that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)


def stop_on_signals(note: t.Callable[[int], object], stop: t.Callable[[int], object]) -> None:
    """Call ``note`` in the main thread and ``stop`` in another with the number of each signal that ends a run.

    For the main thread only. ``note`` may run between any two instructions of it.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_watch, args=(reading, stop), name="signals", daemon=True).start()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _handle(lambda number, frame: note(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)


def ignore_signals() -> None:
    """Ignore the signals that end a run, until the process has ended. Programs started after this would ignore them too."""
    _handle(signal.SIG_IGN)


def _watch(reading: int, stop: t.Callable[[int], object]) -> None:
    while number := os.read(reading, 1):
        if number[0] in STOPPING_SIGNALS:
            stop(number[0])


def _handle(handler: t.Any) -> None:
    for number in STOPPING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, handler)
