"""Check that no other process has a database open, and hold SQLite's own lock on it while it is replaced.

An application that has the old file open would not notice, and what it writes to it would be lost.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sqlite3
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import DatabaseFile, Opened, opened
from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseInUse

_LOCKED = "locked"


@contextlib.contextmanager
def closed_to_others(file: DatabaseFile) -> t.Iterator[None]:
    """Hold SQLite's own lock on a database, with its journal merged into the file.

    Raises DatabaseInUse if somebody has it open. If the body fails, the journal mode is restored.
    """
    users = openers(file.facts)
    if users:
        raise DatabaseInUse(
            f"{file.path} is in use: {'; '.join(users)}.",
            "Stop the application, and start it again when the restore is done; the database is as it was.",
            sessions=list(users),
        )
    with opened(file) as database:
        mode = file.as_owner(lambda: _lock(database))
        try:
            yield
        except BaseException:
            if mode is not None and _is_at(file):
                file.as_owner(lambda: _unlock(database.connection, mode))
            raise


def openers(facts: os.stat_result) -> tuple[str, ...]:
    """Return the processes that have a file open, as far as we may see them: root sees all of them."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or ended by now
            if any(_is_open_as(f"/proc/{pid}/fd/{number}", facts) for number in os.listdir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(f"process {pid}, {file.read().strip()}")
    return tuple(found)


def _is_open_as(link: str, facts: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(link), facts)
    except OSError:  # closed by now
        return False


def _lock(database: Opened) -> str | None:
    """Lock a database exclusively, and return its journal mode; None if SQLite can't open it.

    Also None for one that is read without locks: it has no log, so nobody has it open.
    """
    connection = database.connection
    if database.immutable:
        return None
    try:
        connection.execute("PRAGMA writable_schema=ON")  # accepts a schema that this SQLite can't parse
        [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
        # This succeeds only if nobody else has it open, and merges the journal into the file.
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if _LOCKED in str(error):
            raise DatabaseInUse(
                f"{database.file.path} is in use: {error}.",
                "Stop the application that has it open; the database is as it was.",
            ) from error
        return None
    return str(mode)


def _unlock(connection: sqlite3.Connection, mode: str) -> None:
    with contextlib.suppress(sqlite3.Error):  # closing it rolls back, too
        connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA journal_mode={mode}").fetchall()


def _is_at(file: DatabaseFile) -> bool:
    try:
        return os.path.samestat(os.lstat(file.path), file.facts)
    except FileNotFoundError:
        return False
