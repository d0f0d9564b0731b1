"""Ends a dump that waits too long for a lock: the dump programs have no limit for that.

A server does not notice the end of a program whose session waits for a lock, so that session is ended too.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError

if t.TYPE_CHECKING:
    import pymysql

_POLL_SECONDS = 0.5
# The dump's session is of our user, and began after the session that runs this query. It uses the same database, except
# while MySQL's program locks all tables.
_WAITING = """
SELECT ID, STATE, INFO FROM information_schema.PROCESSLIST
WHERE ID > CONNECTION_ID() AND (DB = %s OR INFO LIKE 'FLUSH /*!40101 LOCAL */ TABLES%%')
AND COMMAND = 'Query' AND STATE LIKE 'Waiting for%%'
AND USER = (SELECT USER FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID())
"""
# How the statements of the programs begin that wait for a lock.
_OF_THE_PROGRAM = ("SELECT /*!40001 SQL_NO_CACHE */", "show create table ", "FLUSH /*!40101 LOCAL */ TABLES")


class LockWatch:
    """Watches a dump in another session. ``waited_for`` is what the dump waited for when it was ended, None if it was not."""

    def __init__(self, connection: pymysql.Connection[t.Any], database: str, seconds: float) -> None:
        self.waited_for: str | None = None
        self._connection = connection
        self._database = database
        self._seconds = seconds
        self._reading_since: float | None = None
        self._done = threading.Event()

    @contextlib.contextmanager
    def reading(self) -> t.Iterator[None]:
        """Note that this process waits for the program's output."""
        self._reading_since = time.monotonic()
        try:
            yield
        finally:
            self._reading_since = None

    @contextlib.contextmanager
    def watching(self, end: t.Callable[[], object]) -> t.Iterator[None]:
        """Call ``end`` if the program has written nothing for the given seconds, and its session waits for a lock."""

        def watch() -> None:
            while not self._done.wait(_POLL_SECONDS):
                since = self._reading_since
                if since is None or time.monotonic() - since < self._seconds:
                    continue
                with contextlib.suppress(BackupError):
                    self.waited_for = self._lock()
                if self.waited_for is not None:
                    end()
                    return

        thread = threading.Thread(target=watch, name="locks", daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                self._done.set()
                thread.join()
        except BaseException:
            self._end_session()
            raise

    def _lock(self) -> str | None:
        """Return what the dump's session waits for, None if it does not wait."""
        rows = query(self._connection, _WAITING, self._database)
        return str(rows[0][1]) if rows else None

    def _end_session(self) -> None:
        """End the dump's session if it waits for a lock, unless another session could be mistaken for it."""
        with contextlib.suppress(BackupError):
            rows = query(self._connection, _WAITING, self._database)
            if len(rows) == 1 and str(rows[0][2]).startswith(_OF_THE_PROGRAM):
                execute(self._connection, f"KILL {rows[0][0]}")
