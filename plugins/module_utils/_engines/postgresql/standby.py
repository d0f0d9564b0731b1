"""The particulars of dumps from a standby: tables without rows, how far it has replayed, and dumps that it cancels.

A standby cancels queries that conflict with the changes that it replays. Its message depends on the server's language, and
pg_dump reports no code, so this uses the server's own count of cancelled sessions.
https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-CONFLICT
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Connect,
    Login,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    Interrupted,
    RecoveryConflict,
    ReplayBehind,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

_UNLOGGED = """
SELECT c.oid::regclass::text FROM pg_catalog.pg_class c WHERE c.relpersistence = 'u' AND c.relkind = 'r' ORDER BY 1
"""
_NAMED = 5  # tables in a warning

_CANCELLED = """
SELECT confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock
FROM pg_catalog.pg_stat_database_conflicts WHERE datname = current_database()
"""
_SETTINGS = "SELECT current_setting('max_standby_streaming_delay'), current_setting('hot_standby_feedback')"
_COUNT_SECONDS = 2.0  # a session is counted when it ends, and before version 15 by another process

# The primary's position in its last message, which only members of pg_read_all_stats may see, or the last position that the
# standby has received. NULL without a connection to the primary, since both may then be old.
_POSITION = """
SELECT pg_catalog.pg_is_in_recovery(), (
    SELECT greatest(pg_catalog.pg_last_wal_receive_lsn(), r.latest_end_lsn)::text FROM pg_catalog.pg_stat_wal_receiver r)
"""
_REPLAYED = """
SELECT pg_catalog.pg_last_wal_replay_lsn() >= %s::pg_lsn, pg_catalog.pg_last_wal_replay_lsn()::text,
    pg_catalog.pg_is_wal_replay_paused()
"""
_POLL_SECONDS = 0.2


def warnings_of_standby(login: Login, connect: Connect) -> list[str]:
    """Return what a dump of the login's database lacks because the server is a standby."""
    with connect(login) as connection:
        tables = [table for (table,) in query(connection, _UNLOGGED)]
    if not tables:
        return []
    others = f" and {len(tables) - _NAMED} others" if len(tables) > _NAMED else ""
    return [
        f"The server is a standby, which has no rows of unlogged tables: the backup of the database {login.database} lacks "
        f"those of {', '.join(tables[:_NAMED])}{others}. Back it up from the primary server, or make the tables logged."
    ]


# --- Replay ---------------------------------------------------------------------------------------


def wait_for_replay(connection: psycopg2.extensions.connection, seconds: float, is_stopped: t.Callable[[], bool]) -> None:
    """Wait until a standby has replayed what its primary had written before this call, as far as the standby knows.

    Raises ReplayBehind after ``seconds``. Does nothing on a primary.
    """
    deadline = time.monotonic() + seconds
    position = None
    while True:
        if position is None:
            [(is_standby, position)] = query(connection, _POSITION)
            if not is_standby:
                return
        replayed, is_paused = None, False
        if position is not None:
            [(is_there, replayed, is_paused)] = query(connection, _REPLAYED, position)
            if is_there:
                return
        if time.monotonic() >= deadline:
            raise _behind(position, replayed, is_paused, seconds)
        if is_stopped():
            raise Interrupted("The run was ended before a dump.", "Run it again.")
        time.sleep(_POLL_SECONDS)


def _behind(position: str | None, replayed: str | None, is_paused: bool, seconds: float) -> ReplayBehind:
    if position is None:
        return ReplayBehind(
            f"The standby was not connected to its primary server for {seconds:g} seconds: how far it is behind is unknown.",
            "See pg_stat_wal_receiver and the server's log, or leave wait_for_replay out.",
        )
    if is_paused:
        return ReplayBehind(
            f"The standby's replay is paused at {replayed}, and the run waits for {position}.",
            "Resume it: SELECT pg_wal_replay_resume();",
        )
    return ReplayBehind(
        f"After {seconds:g} seconds the standby has replayed up to {replayed}, and the run waits for {position}.",
        "See what holds the replay up, such as recovery_min_apply_delay or a long query, or raise wait_for_replay.",
    )


# --- Conflicts ------------------------------------------------------------------------------------


def cancelled_sessions(login: Login, connect: Connect) -> int:
    """Return how many sessions on the login's database the standby has cancelled so far."""
    with connect(login) as connection:
        return _cancelled(connection)


def _cancelled(connection: psycopg2.extensions.connection) -> int:
    return sum(int(count) for (count,) in query(connection, _CANCELLED))


def explained_by_conflict(
    error: BackupError, title: str, login: Login, connect: Connect, *, before: int, is_stopped: t.Callable[[], bool]
) -> BackupError:
    """Return the error for a dump that failed on a standby, which had cancelled ``before`` sessions when the dump began."""
    with contextlib.suppress(BackupError), connect(login) as connection:
        deadline = time.monotonic() + _COUNT_SECONDS
        while _cancelled(connection) <= before:
            if time.monotonic() >= deadline or is_stopped():
                return error
            time.sleep(_POLL_SECONDS)
        [(delay, feedback)] = query(connection, _SETTINGS)
        return RecoveryConflict(
            f"The standby cancelled the dump of {title}, since it would have held up the replay: {error.problem}",
            f"On the standby, set max_standby_streaming_delay (now {delay}) to more than a dump takes, or hot_standby_feedback "
            f"(now {feedback}) to on, which keeps rows on the primary server for as long as a dump takes.",
            **error.details,
        )
    return error
