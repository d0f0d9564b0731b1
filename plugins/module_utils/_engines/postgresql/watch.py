"""Observes, from a second session, who keeps the swap waiting, and ends the sessions on the old database where asked to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, connecting, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import set_encoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError

if t.TYPE_CHECKING:
    import psycopg2.extensions

_POLL_SECONDS = 0.02

# A transaction that was prepared has no process: its number is 0.
_HOLDERS = """
SELECT blocker, usename, application_name, coalesce(host(client_addr), 'local'), datname, state
FROM unnest(pg_blocking_pids(%s)) AS blocker LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = blocker ORDER BY 1
"""
_HELD_FROM_ELSEWHERE = """
SELECT count(*) FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass AND l.objid = %s AND l.granted
    AND a.datname IS DISTINCT FROM %s
"""
# Nobody is thrown out for nothing: only who holds us up, and the others once the lock is ours.
_END_WHO_IS_IN_THE_WAY = """
SELECT pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
WHERE a.datname = %s AND a.pid <> pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
    AND (a.pid = ANY (pg_blocking_pids(%s)) OR EXISTS (
        SELECT FROM pg_catalog.pg_locks l WHERE l.pid = %s AND l.locktype = 'object' AND l.objid = %s
            AND l.classid = 'pg_catalog.pg_database'::regclass AND l.mode = 'AccessExclusiveLock' AND l.granted))
"""


@contextlib.contextmanager
def watching(control: psycopg2.extensions.connection, login: Login, database: str, *, terminate: bool) -> t.Iterator[Watch]:
    """Connect to observe the session ``control``. Without a connection to spare, nobody is named, and nothing else is lost."""
    with contextlib.ExitStack() as stack:
        connection = None
        with contextlib.nullcontext() if terminate else contextlib.suppress(BackupError):
            connection = stack.enter_context(connecting(login))
            set_encoding(connection)
        yield Watch(connection, control.info.backend_pid, database, databases.find_oid(control, database), terminate)


class Watch:
    """Who keeps a session waiting. ``failure`` is why sessions could not be ended."""

    def __init__(
        self, connection: psycopg2.extensions.connection | None, pid: int, database: str, oid: int | None, terminate: bool
    ) -> None:
        self.holders: list[str] = []
        self.failure: BackupError | None = None
        self._connection = connection
        self._pid = pid
        self._database = database
        self._oid = oid
        self._terminate = terminate

    def end_sessions(self) -> None:
        """End the sessions on the database, unless a lock from elsewhere would keep the swap waiting all the same."""
        if self._connection is None:
            return
        [(held,)] = query(self._connection, _HELD_FROM_ELSEWHERE, self._oid, self._database)
        if not held:
            databases.end_sessions(self._connection, self._database)
            databases.wait_until_gone(self._connection, self._database)

    @contextlib.contextmanager
    def waiting(self) -> t.Iterator[None]:
        """Observe from another thread, for as long as this is open."""
        if self._connection is None:
            yield
            return
        done = threading.Event()
        thread = threading.Thread(target=self._observe, args=(self._connection, done), name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _observe(self, connection: psycopg2.extensions.connection, done: threading.Event) -> None:
        while not done.wait(_POLL_SECONDS):
            try:
                holders = query(connection, _HOLDERS, self._pid)
                if holders:
                    self.holders = [_described(*holder) for holder in holders]
                if self._terminate:
                    query(connection, _END_WHO_IS_IN_THE_WAY, self._database, self._pid, self._pid, self._oid)
            except BackupError as error:
                self.failure = error
                return


def _described(pid: int, user: str, program: str, host: str, database: str, state: str) -> str:
    if pid == 0:
        return "a prepared transaction (see pg_prepared_xacts)"
    where = f", on the database {database}" if database else ""
    return f"process {pid}, user {user}, {program or 'an unnamed program'}, {host}{where}, {state or 'active'}"
