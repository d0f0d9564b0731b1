"""The databases of a server that come and go with a restore: their names, marks and locks.

A new database bears a mark, and the session that makes it holds an advisory lock: what is marked and not locked is what a
dead run left. Until it has its mark, it lets nobody in.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
import typing as t
import zlib
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DatabaseInUse,
    DatabaseMissing,
    QueryFailed,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

LONGEST_NAME = 63  # bytes

_MARK = "Made by lastgood.database for a restore, and removed by the next one."
_STAMP = "%Y%m%dt%H%M%Sz"  # in small letters: such a name needs no quotes in SQL
_LOCK_CLASS = 0x1A57600D  # an advisory lock has two numbers: this one, and what stands for a name
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.01

_SESSIONS = """
SELECT pid, usename, application_name, coalesce(host(client_addr), 'local') FROM pg_catalog.pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker'
"""
_OURSELVES = "SELECT pid, backend_start FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()"
_END_ONE = "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = %s AND backend_start = %s"
_REMAINS = """
SELECT datname FROM pg_catalog.pg_database
WHERE datname ~ '_(restoring|replaced)_[0-9]{8}t[0-9]{6}z$' AND shobj_description(oid, 'pg_database') = %s
    OR datname ~ '_restoring_[0-9]{8}t[0-9]{6}z$' AND NOT datallowconn AND shobj_description(oid, 'pg_database') IS NULL
"""
_HELD = "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND granted"


class Session(t.NamedTuple):
    """A session of the server, by its process and by when it began: the number alone may be another's by now."""

    pid: int
    began: datetime


def exists(connection: psycopg2.extensions.connection, name: str) -> bool:
    return bool(query(connection, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", name))


def find_oid(connection: psycopg2.extensions.connection, name: str) -> int | None:
    """Return the number of a database, which stays the same whatever its name; None where there is no such database."""
    found = query(connection, "SELECT oid FROM pg_catalog.pg_database WHERE datname = %s", name)
    return int(found[0][0]) if found else None


def oid(connection: psycopg2.extensions.connection, name: str) -> int:
    """Return the number of a database."""
    found = find_oid(connection, name)
    if found is None:
        raise DatabaseMissing(f"There is no database {name} on the server any more.", "See who dropped or renamed it.")
    return found


def begin(connection: psycopg2.extensions.connection) -> None:
    """Begin a transaction. Not psycopg2's: that takes back what the session's default is to be."""
    execute(connection, "BEGIN READ WRITE")


def commit(connection: psycopg2.extensions.connection) -> None:
    """Commit. After an error only the server knows whether it was done."""
    import psycopg2

    try:
        with connection.cursor() as cursor:
            cursor.execute("COMMIT")
            status = cursor.statusmessage
    except (psycopg2.Error, UnicodeError) as error:
        raise QueryFailed(f"The COMMIT did not end well: {str(error).strip()}", "Run it again.") from error
    if status != "COMMIT":
        raise QueryFailed(f"The COMMIT did not end well: the server answered {status}.", "Run it again.")


def roll_back(connection: psycopg2.extensions.connection) -> None:
    """Leave a transaction without what it did. The server does that itself where the connection is lost."""
    with contextlib.suppress(BackupError):
        execute(connection, "ROLLBACK")


@contextlib.contextmanager
def changing(connection: psycopg2.extensions.connection) -> t.Iterator[None]:
    """Do all of it, or nothing."""
    begin(connection)
    try:
        yield
    except BaseException:
        roll_back(connection)
        raise
    commit(connection)


def sessions(connection: psycopg2.extensions.connection, name: str) -> tuple[str, ...]:
    rows = query(connection, _SESSIONS, name)
    return tuple(f"process {pid}, user {user}, {program or 'an unnamed program'}, {host}" for pid, user, program, host in rows)


def prepared_transactions(connection: psycopg2.extensions.connection, name: str) -> tuple[str, ...]:
    found = query(connection, "SELECT gid, owner FROM pg_catalog.pg_prepared_xacts WHERE database = %s ORDER BY prepared", name)
    return tuple(f"{gid}, of {owner}" for gid, owner in found)


def slots(connection: psycopg2.extensions.connection, name: str) -> list[str]:
    """Return the logical replication slots of a database."""
    found = query(connection, "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE database = %s ORDER BY 1", name)
    return [str(slot) for (slot,) in found]


def check_unused(connection: psycopg2.extensions.connection, name: str) -> None:
    """Raise DatabaseInUse, which names who is connected, unless nobody is."""
    found = sessions(connection, name)
    if found:
        raise DatabaseInUse(
            f"The database {name} is in use: {'; '.join(found)}.",
            "End these sessions, or set terminate_sessions; the database is as it was.",
            sessions=list(found),
        )


def session_of(connection: psycopg2.extensions.connection) -> Session:
    """Return which session of the server a connection is."""
    [(pid, began)] = query(connection, _OURSELVES)
    return Session(pid, began)


def end_session(connection: psycopg2.extensions.connection, session: Session) -> None:
    """End a session of our own, and wait until it has ended: from then on it changes nothing any more."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while query(connection, _END_ONE, session.pid, session.began):
        if time.monotonic() > deadline:
            raise QueryFailed(f"The session {session.pid} does not end.", "See in pg_stat_activity what it waits for.")
        time.sleep(_POLL_SECONDS)


def end_sessions(connection: psycopg2.extensions.connection, name: str) -> None:
    query(connection, _END_SESSIONS, name)


def wait_until_gone(connection: psycopg2.extensions.connection, name: str) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while sessions(connection, name) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def lock(connection: psycopg2.extensions.connection, name: str) -> bool:
    """Take the lock that stands for a name, for as long as the connection lives. Return whether it was to be had."""
    if _is_held(connection, name):  # by a session on another database: each has locks of its own
        return False
    [(taken,)] = query(connection, "SELECT pg_try_advisory_lock(%s, %s)", _LOCK_CLASS, _number(name) - 2**31)
    return bool(taken)


def _is_held(connection: psycopg2.extensions.connection, name: str) -> bool:
    [(count,)] = query(connection, _HELD, _LOCK_CLASS, (_number(name) - 2**31) % 2**32)
    return bool(count)


def _number(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def mark(connection: psycopg2.extensions.connection, name: str) -> None:
    """Mark a database as one that may be dropped unless a session holds its lock."""
    execute(connection, f"COMMENT ON DATABASE {quote_identifier(name)} IS '{_MARK}'")


def remains(connection: psycopg2.extensions.connection) -> list[str]:
    """Return the databases that dead runs left."""
    return [name for (name,) in query(connection, _REMAINS, _MARK) if not _is_held(connection, name)]


def drop(connection: psycopg2.extensions.connection, name: str) -> None:
    if connection.server_version >= 130000:
        execute(connection, f"DROP DATABASE IF EXISTS {quote_identifier(name)} WITH (FORCE)")
        return
    end_sessions(connection, name)
    execute(connection, f"DROP DATABASE IF EXISTS {quote_identifier(name)}")


def answers(connection: psycopg2.extensions.connection) -> bool:
    try:
        query(connection, "SELECT 1")
    except BackupError:
        return False
    return True


def free_stamp(connection: psycopg2.extensions.connection, database: str, stamp: datetime) -> str:
    """Return the first second from the stamp on with which no database has a name yet."""
    while True:
        text = stamp.strftime(_STAMP)
        if not any(exists(connection, derived_name(database, f"_{what}_{text}")) for what in ("restoring", "replaced")):
            return text
        stamp += timedelta(seconds=1)


def derived_name(database: str, ending: str) -> str:
    """Return a name that begins as the database's does, as far as there is room."""
    raw = database.encode("utf-8", "surrogatepass")
    return raw[: LONGEST_NAME - len(ending)].decode("utf-8", "ignore") + ending
