"""Wait for a server, but not longer than the run goes on."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted

STOP_SECONDS = 0.2  # how soon a run that waits notices that it is stopped

Connection = t.TypeVar("Connection")


def unless_stopped(connect: t.Callable[[], Connection], is_stopped: t.Callable[[], bool]) -> Connection:
    """Connect in another thread, so that a server that does not answer can't prevent a stop. Raises Interrupted."""
    future: concurrent.futures.Future[Connection] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(connect())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="connect", daemon=True).start()
    while True:
        with contextlib.suppress(concurrent.futures.TimeoutError):
            return future.result(STOP_SECONDS)
        if is_stopped() and not future.done():
            raise interrupted()


def interrupted() -> Interrupted:
    """Return the error of a run that is stopped while it waits."""
    return Interrupted("The run was ended while it waited for the server.", "Run it again.")
