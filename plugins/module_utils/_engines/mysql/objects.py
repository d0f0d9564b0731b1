"""Views, triggers, routines and events: the objects of a database that RENAME TABLE does not move with its tables."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Database, use
from ansible_collections.lastgood.database.plugins.module_utils._errors import QueryFailed

if t.TYPE_CHECKING:
    import pymysql

Kind = t.Literal["FUNCTION", "PROCEDURE", "PACKAGE", "PACKAGE BODY", "VIEW", "TRIGGER", "EVENT"]

# The order in which they can be made: a view may need a function, and another view.
_ORDER: tuple[Kind, ...] = ("PACKAGE", "PACKAGE BODY", "FUNCTION", "PROCEDURE", "VIEW", "TRIGGER", "EVENT")
_DEFAULTS = {
    "sql_mode": "'NO_AUTO_VALUE_ON_ZERO'",
    "character_set_client": "utf8mb4",
    "collation_connection": "utf8mb4_general_ci",
    "time_zone": "'+00:00'",
}
_OURS = ["SET NAMES utf8mb4", "SET sql_mode = ''", "SET time_zone = @@GLOBAL.time_zone"]
_LISTS: dict[str, str] = {
    "ROUTINE": "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s ORDER BY 1, 2",
    "VIEW": "SELECT 'VIEW', TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s ORDER BY 2",
    "TRIGGER": "SELECT 'TRIGGER', TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s "
    "ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
    "EVENT": "SELECT 'EVENT', EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s ORDER BY 2",
}
# The columns of SHOW CREATE that have an object's statement.
_STATEMENTS = ("SQL Original Statement", "Create View", "Create Function", "Create Procedure", "Create Event")
_STATEMENTS_OF_PACKAGES = ("Create Package", "Create Package Body")
_SETTINGS = ("sql_mode", "character_set_client", "collation_connection", "time_zone")
_NAME = rb"(?:`(?:[^`]|``)*`|[^\s`.(]+)"
# The server stores a trigger as it was written, which may include the name of its database.
_TRIGGER = re.compile(
    rb"(TRIGGER\s+(?:IF\s+NOT\s+EXISTS\s+)?)(?:(%b)\s*\.\s*)?(%b\s+(?:BEFORE|AFTER)\s+\w+\s+ON\s+)(?:(%b)\s*\.\s*)?(?=%b\s)"
    % (_NAME, _NAME, _NAME, _NAME),
    re.IGNORECASE,
)
_MISSING = (1146, 1305, 1356)  # a view or a function that it needs is not made yet


@dataclass(frozen=True)
class StoredObject:
    """An object: its statement, and the settings of the session and of the database that it needs, as SQL."""

    kind: Kind
    name: str
    statement: bytes
    settings: t.Mapping[str, str] = field(default_factory=dict)
    database: str = ""

    def to_note(self) -> str:
        """Return the object as a text, which ``from_note`` parses."""
        return json.dumps([self.kind, self.name, self.statement.hex(), dict(self.settings), self.database])


def from_note(note: str) -> StoredObject:
    """Return the object that ``to_note`` wrote."""
    kind, name, statement, settings, database = json.loads(note)
    return StoredObject(kind, name, bytes.fromhex(statement), settings, database)


def names(connection: pymysql.Connection[t.Any], database: str) -> list[tuple[Kind, str]]:
    """Return the objects of a database, in the order in which they can be made."""
    found = [row for sql in _LISTS.values() for row in query(connection, sql, database)]
    return sorted(((kind, name) for kind, name in found), key=lambda one: _ORDER.index(one[0]))


def read_all(connection: pymysql.Connection[t.Any], database: str) -> list[StoredObject]:
    """Return the objects of a database, in the order in which they can be made."""
    execute(connection, use(database))  # otherwise a view would name it
    listed = names(connection, database)
    execute(connection, "SET character_set_results = binary")  # the bytes as they were written
    try:
        return [_read(connection, kind, name) for kind, name in listed]
    finally:
        execute(connection, _OURS[0])


def _read(connection: pymysql.Connection[t.Any], kind: Kind, name: str) -> StoredObject:
    from pymysql.cursors import DictCursor

    with connection.cursor(DictCursor) as cursor:
        try:
            cursor.execute(f"SHOW CREATE {kind} {quote_identifier(name)}")
            row: dict[str, t.Any] = dict(cursor.fetchone() or {})
        except Exception as error:
            raise QueryFailed(f"The {kind.lower()} {name} can't be read: {error}", "See whether it is valid.") from error
    text = next((row[column] for column in (*_STATEMENTS, *_STATEMENTS_OF_PACKAGES) if row.get(column) is not None), None)
    if text is None:
        raise QueryFailed(f"The user may not read the {kind.lower()} {name}.", "Grant what db_backup needs too.")
    values = {name: _text(row[name]) for name in _SETTINGS if row.get(name) is not None}
    settings = {name: f"'{value}'" if name in ("sql_mode", "time_zone") else value for name, value in values.items()}
    statement = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
    collation = row.get("Database Collation")
    return StoredObject(kind, name, statement, settings, "" if collation is None else _settings_of(_text(collation)))


def _settings_of(collation: str) -> str:
    """Return the settings of a database with this collation, which it had when an object was made in it."""
    return f"CHARACTER SET {collation.partition('_')[0]} COLLATE {collation}"


def _text(value: t.Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def make_all(connection: pymysql.Connection[t.Any], target: Database, objects: t.Sequence[StoredObject]) -> None:
    """Make objects in a database. Raises QueryFailed at the first that can't be made."""
    execute(connection, use(target.name))
    try:
        waiting = sorted(objects, key=lambda one: _ORDER.index(one.kind))
        while waiting:
            later: list[StoredObject] = []
            problem: QueryFailed | None = None
            for each in waiting:
                try:
                    _make(connection, target, each)
                except QueryFailed as error:
                    if each.kind != "VIEW" or error.details.get("number") not in _MISSING:
                        raise
                    problem = error
                    later.append(each)
            if problem is not None and len(later) == len(waiting):
                raise problem
            waiting = later
    finally:
        _reset(connection)


def _make(connection: pymysql.Connection[t.Any], target: Database, each: StoredObject) -> None:
    values = {**_DEFAULTS, **each.settings}
    execute(connection, "SET " + ", ".join(f"{name} = {value}" for name, value in values.items()))
    is_other = each.database not in ("", _settings_of(target.collation))
    if is_other:
        execute(connection, f"ALTER DATABASE {quote_identifier(target.name)} {each.database}")
    try:
        execute(connection, _statement_in(each, target.name))
    except QueryFailed as error:
        problem = f"The {each.kind.lower()} {each.name} can't be made: {error.problem}"
        raise QueryFailed(problem, error.remedy, **error.details) from error
    finally:
        if is_other:
            execute(
                connection,
                f"ALTER DATABASE {quote_identifier(target.name)} CHARACTER SET {target.charset} COLLATE {target.collation}",
            )


def _statement_in(each: StoredObject, database: str) -> bytes:
    """Return an object's statement without the name of its own database, so that it is made in the database in use."""
    if each.kind != "TRIGGER":
        return each.statement
    match = _TRIGGER.search(each.statement)
    own = (quote_identifier(database).encode("utf-8", "surrogateescape"), database.encode("utf-8", "surrogateescape"))
    if match is None or all(name is None or name in own for name in (match[2], match[4])):
        return each.statement
    return each.statement[: match.start()] + match[1] + match[3] + each.statement[match.end() :]


def _reset(connection: pymysql.Connection[t.Any]) -> None:
    for statement in _OURS:
        execute(connection, statement)


def remove(connection: pymysql.Connection[t.Any], database: str, objects: t.Iterable[tuple[Kind, str]]) -> None:
    """Drop objects of a database."""
    for kind, name in objects:
        execute(connection, f"DROP {kind} IF EXISTS {quote_identifier(database)}.{quote_identifier(name)}")
