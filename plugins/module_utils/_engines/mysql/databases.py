"""The databases that a restore creates, replaces and drops: their names, marks and locks."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import typing as t
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier, quote_text
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Database, all_databases
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, DatabaseMissing

if t.TYPE_CHECKING:
    import pymysql

LONGEST_NAME = 64  # characters

_STAMP = "%Y%m%dt%H%M%Sz"
_ENDINGS = ("restoring", "replaced")
MARK_TABLE = "lastgood_database_restore"  # marks a database that a restore makes, or fills with the old tables


def exists(connection: pymysql.Connection[t.Any], name: str) -> bool:
    """Return whether the server has a database."""
    return bool(query(connection, "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", name))


def free_stamp(connection: pymysql.Connection[t.Any], database: str, stamp: datetime) -> str:
    """Return the stamp, or the first later second whose derived names no database has."""
    while True:
        text = stamp.strftime(_STAMP)
        if not any(exists(connection, derived_name(database, f"_{ending}_{text}")) for ending in _ENDINGS):
            return text
        stamp += timedelta(seconds=1)


def derived_name(database: str, ending: str) -> str:
    """Return the database's name, shortened if necessary, with an ending."""
    return database[: LONGEST_NAME - len(ending)] + ending


def lock(connection: pymysql.Connection[t.Any], name: str) -> bool:
    """Take the lock for restores of a database until the connection ends. Return whether it was free."""
    [(taken,)] = query(connection, "SELECT GET_LOCK(%s, 0)", _lock_name(name))
    return bool(taken)


def is_locked(connection: pymysql.Connection[t.Any], name: str) -> bool:
    """Return whether a session holds the lock for restores of a database."""
    [(holder,)] = query(connection, "SELECT IS_USED_LOCK(%s)", _lock_name(name))
    return holder is not None


def _lock_name(name: str) -> str:
    return f"lastgood.database/{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def qualified(database: str, name: str) -> str:
    """Return the qualified name of a table, a view, a routine or an event in SQL."""
    return f"{quote_identifier(database)}.{quote_identifier(name)}"


def read(connection: pymysql.Connection[t.Any], name: str) -> Database:
    """Return the settings of a database. Raises DatabaseMissing if there is none."""
    found = all_databases(connection).get(name)
    if found is None:
        raise DatabaseMissing(f"There is no database {name} on the server any more.", "See who dropped it.")
    return found


def tables(connection: pymysql.Connection[t.Any], name: str) -> list[str]:
    """Return the tables and sequences of a database."""
    rows = query(
        connection,
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW') "
        "ORDER BY 1",
        name,
    )
    return [table for (table,) in rows if table != MARK_TABLE]


def mark(connection: pymysql.Connection[t.Any], name: str, notes: t.Iterable[str] = ()) -> None:
    """Mark a database, and write the notes into the mark. It may be dropped when no session holds the lock of its target."""
    table = qualified(name, MARK_TABLE)
    execute(connection, f"CREATE TABLE {table} (note LONGTEXT CHARACTER SET utf8mb4) ENGINE = InnoDB")
    for note in notes:
        execute(connection, f"INSERT INTO {table} VALUES ({quote_text(note)})")


def notes_of(connection: pymysql.Connection[t.Any], name: str) -> list[str]:
    """Return the notes in the mark of a database."""
    return [str(note) for (note,) in query(connection, f"SELECT note FROM {qualified(name, MARK_TABLE)}")]


def unmark(connection: pymysql.Connection[t.Any], name: str) -> None:
    """Remove the mark from a database, so that no restore drops it."""
    execute(connection, f"DROP TABLE IF EXISTS {qualified(name, MARK_TABLE)}")


def drop(connection: pymysql.Connection[t.Any], name: str) -> None:
    """Drop a database."""
    execute(connection, f"DROP DATABASE IF EXISTS {quote_identifier(name)}")


def sessions(connection: pymysql.Connection[t.Any], name: str) -> dict[int, str]:
    """Return the other sessions that use a database and that the user may see: each one's number and description."""
    rows = query(
        connection,
        "SELECT ID, USER, HOST, COMMAND FROM information_schema.PROCESSLIST WHERE DB = %s AND ID <> CONNECTION_ID() "
        "AND COMMAND NOT IN ('Daemon', 'Binlog Dump') ORDER BY ID",
        name,
    )
    return {number: f"session {number}, user {user}, {host or 'local'}, {command}" for number, user, host, command in rows}


def end_sessions(connection: pymysql.Connection[t.Any], name: str) -> None:
    """End the other sessions that use a database."""
    for number in sessions(connection, name):
        with contextlib.suppress(BackupError):  # it may have ended by itself
            execute(connection, f"KILL {number}")


def referring_tables(connection: pymysql.Connection[t.Any], name: str) -> list[str]:
    """Return the tables of other databases with foreign keys to a database. After a swap these would refer to its old tables."""
    rows = query(
        connection,
        "SELECT CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS "
        "WHERE UNIQUE_CONSTRAINT_SCHEMA = %s AND CONSTRAINT_SCHEMA <> %s ORDER BY 1, 2",
        name,
        name,
    )
    return [f"{schema}.{table}" for schema, table in rows]


def drop_dangling_keys(connection: pymysql.Connection[t.Any], name: str) -> list[str]:
    """Drop the foreign keys to tables that a database lacks. Return their titles."""
    present = set(tables(connection, name))
    rows = query(
        connection,
        "SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS "
        "WHERE CONSTRAINT_SCHEMA = %s AND UNIQUE_CONSTRAINT_SCHEMA = %s ORDER BY 1, 2",
        name,
        name,
    )
    dangling = [(table, key, referenced) for table, key, referenced in rows if referenced not in present]
    for table, key, _referenced in dangling:
        execute(connection, f"ALTER TABLE {qualified(name, table)} DROP FOREIGN KEY {quote_identifier(key)}")
    return [f"{key} of {table}, which refers to {referenced}" for table, key, referenced in dangling]


class SequenceDefault(t.NamedTuple):
    """A default value of a column, as SQL, that is the next value of a sequence."""

    table: str
    column: str
    value: str


def sequence_defaults(connection: pymysql.Connection[t.Any], name: str, named: str) -> list[SequenceDefault]:
    """Return the default values in a database that name sequences of the database ``named``.

    RENAME TABLE moves a table, and leaves the database of the sequence in its default values as it was (MariaDB 10.11).
    """
    rows = query(
        connection,
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND LOCATE(%s, COLUMN_DEFAULT) > 0 ORDER BY 1, 2",
        name,
        f"nextval({quote_identifier(named)}.",
    )
    return [SequenceDefault(*row) for row in rows]


def move_sequence_defaults(
    connection: pymysql.Connection[t.Any], defaults: t.Sequence[SequenceDefault], before: str, after: str
) -> None:
    """Let default values of tables in ``after`` be from its own sequences, which were in ``before``."""
    for table, column, value in defaults:
        moved = value.replace(f"nextval({quote_identifier(before)}.", f"nextval({quote_identifier(after)}.")
        execute(
            connection,
            # Without KEEP, no table with history can be altered.
            f"SET STATEMENT system_versioning_alter_history = 'KEEP' FOR ALTER TABLE {qualified(after, table)} "
            f"ALTER COLUMN {quote_identifier(column)} SET DEFAULT {moved}",
        )


def is_marked(connection: pymysql.Connection[t.Any], name: str) -> bool:
    """Return whether a database has the mark of a restore. It may be dropped when no session holds the lock of its target."""
    sql = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
    return bool(query(connection, sql, name, MARK_TABLE))
