"""Work in a process of its own: as another user, under a limit, or to be killed in the middle of it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

UNPRIVILEGED = 65534
HANGS_AFTER_SECONDS = 120.0  # far more than any work takes

# Forked: the work's imports are done before, which an unprivileged user might be unable to do.
_FORK = multiprocessing.get_context("fork")

Result = TypeVar("Result")


def in_child(work: Callable[[], Result]) -> Result:
    """Do the work in a child, and return its result. An exception fails the test."""
    with child(lambda talk: talk.send(_outcome(work))) as (_process, talk):
        answer: tuple[Result, str] = hear(talk)
    result, trace = answer
    assert not trace, trace
    return result


def as_unprivileged(work: Callable[[], Result]) -> Result:
    """Do the work in a child as an unprivileged user: as the current one, or if that is root, as another."""

    def dropped() -> Result:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
            os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
        return work()

    return in_child(dropped)


def death_of(work: Callable[[], object]) -> int:
    """Do the work in a child, and return how that ended: its exit status, or a signal's number, negative."""
    with child(lambda _talk: work()) as (process, _talk):
        process.join(HANGS_AFTER_SECONDS)
        assert process.exitcode is not None, "it hangs"
        return process.exitcode


@contextlib.contextmanager
def child(work: Callable[[Connection], object]) -> Iterator[tuple[BaseProcess, Connection]]:
    """Do the work in a child. It gets one end of a connection, the caller the other. Kills the child at the end."""
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=_work_at, args=(work, ours, theirs), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while the test runner has threads
        process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.kill()
        process.join()
        process.close()


def hear(talk: Connection) -> Any:
    """Receive from the other end. Raises EOFError if it is closed."""
    assert talk.poll(HANGS_AFTER_SECONDS), "it hangs"
    return talk.recv()


def _work_at(work: Callable[[Connection], object], ours: Connection, theirs: Connection) -> None:
    ours.close()
    work(theirs)


def _outcome(work: Callable[[], Result]) -> tuple[Result | None, str]:
    try:
        return work(), ""
    except BaseException:  # a failed assertion of the test runner is no Exception
        return None, traceback.format_exc()
