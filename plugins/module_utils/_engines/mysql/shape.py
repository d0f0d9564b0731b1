"""Examines the statements of a dump: checks that each is of a kind that dumps have, and that none changes another database.

Collects views, triggers, routines and events. A restore beside the old database makes them at the swap, since they may name
their database, and an event would run at once.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Product
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.objects import Kind, StoredObject
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.script_session import ScriptSession
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import ANY_NAME, NAME, unquoted
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.statements import Statement, Statements
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.table_selection import TableSelection
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

_BEGINNING = 1000  # bytes of a statement, enough for its kind
_COMMENTS = re.compile(r"\A(?:\s+|--(?=\s)[^\n]*(?:\n|\Z)|#[^\n]*(?:\n|\Z)|/\*(?!M?!).*?\*/)+", re.DOTALL)
# The comments that every server executes: MariaDB skips those with a version of MySQL from 5.7 on, and MySQL skips MariaDB's.
_EXECUTED = re.compile(r"/\*!(?:[0-4]?[0-9]{1,4}|50[0-6][0-9]{2})?(?![0-9])\s*|\*/")
_ONE_EXECUTED = re.compile(r"/\*M?![0-9]*\s*((?:(?!/\*|\*/).)*)\*/\s*", re.DOTALL)
_OBJECTS = r"ALGORITHM ?=|SQL SECURITY|DEFINER ?=|TRIGGER|EVENT|FUNCTION|AGGREGATE|PROCEDURE|PACKAGE"
_DROPPED = "TABLE|VIEW|TRIGGER|EVENT|FUNCTION|PROCEDURE|SEQUENCE|PACKAGE(?: BODY)?"
# Values and assignments that refer to no other database, change no setting of the server, and set no mode that ends strings
# elsewhere.
_VALUE = r"(?:'[^'\\]*'|@\w+|@@(?:SESSION\.)?\w+|-?\w+)"
_SCOPE = r"(?:@@SESSION\.|@@|SESSION )?"
_ASSIGNMENT = (
    rf"(?:@\w+ ?:?= ?@@(?:SESSION\.)?\w+|{_SCOPE}sql_mode ?= ?(?:'(?-i:[A-Z0-9_,]*)'|@\w+)|"
    rf"{_SCOPE}(?!(?:sql_mode|PASSWORD|ROLE)\b)\w+ ?= ?{_VALUE})"
)
_SHORT = re.compile(
    rf"DROP (?:{_DROPPED}) (?:IF EXISTS )?{ANY_NAME}|LOCK TABLES? {ANY_NAME} (?:READ(?: LOCAL)?|WRITE)|UNLOCK TABLES?|"
    rf"ALTER TABLE {ANY_NAME} (?:DISABLE|ENABLE) KEYS|ALTER DATABASE {NAME} CHARACTER SET \w+ COLLATE \w+|DO 0|"
    rf"DO SETVAL\({ANY_NAME}(?: ?, ?-?[0-9]+)+\)|SET NAMES '?\w+'?|SET {_ASSIGNMENT}(?: ?, ?{_ASSIGNMENT})*|COMMIT|BEGIN|"
    rf"START TRANSACTION|ANALYZE TABLE {ANY_NAME}(?: UPDATE HISTOGRAM .*)?",
    re.IGNORECASE,
)
# Statements whose beginning names the object that they fill or make, which is in the database of the dump.
_LONG = re.compile(
    rf"(?:INSERT|REPLACE)(?: IGNORE)? INTO {ANY_NAME} ?(?:\(|VALUES?\b)|ALTER DATABASE CHARACTER SET \w+ COLLATE \w+|"
    rf"CREATE (?:OR REPLACE )?(?:TEMPORARY )?TABLE (?:IF NOT EXISTS )?{ANY_NAME} ?\(|"
    rf"CREATE (?:OR REPLACE )?SEQUENCE (?:IF NOT EXISTS )?{ANY_NAME} (?:AS|START) |"
    rf"CREATE (?:OR REPLACE )?VIEW {ANY_NAME} AS |CREATE (?:OR REPLACE )?(?:{_OBJECTS})",
    re.IGNORECASE,
)
_ALTER_DATABASE = re.compile(rf"ALTER DATABASE {NAME} (CHARACTER SET \w+ COLLATE \w+)", re.IGNORECASE)
_DEFINER = rf"DEFINER ?= ?({NAME})@({NAME})"
_STORED = "TRIGGER|EVENT|VIEW|(?:AGGREGATE )?FUNCTION|PROCEDURE|PACKAGE BODY|PACKAGE"
_OBJECT = re.compile(
    rf"CREATE (?:OR REPLACE )?(?:ALGORITHM ?= ?\w+\s+)?(?:{_DEFINER}\s+)?(?:SQL SECURITY \w+\s+)?"
    rf"({_STORED}) (?:IF NOT EXISTS )?({ANY_NAME} ?\. ?)?({ANY_NAME})( ?\(| \w)?",
    re.IGNORECASE,
)
_WITH_TABLES = re.compile(r"CREATE (?:OR REPLACE )?(?:TEMPORARY )?(?:TABLE|SEQUENCE|VIEW) ", re.IGNORECASE)
# A body is as its author wrote it. A restore does not pass it to the client.
_AS_WRITTEN = re.compile(rf"(?!{_WITH_TABLES.pattern})CREATE (?:OR REPLACE )?(?:{_OBJECTS})", re.IGNORECASE)
_SETTING = re.compile(
    r"SET (?:SESSION )?(sql_mode|character_set_client|collation_connection|time_zone) *= *('[^'\n]*'|\w+|@)", re.IGNORECASE
)
_PLAIN_NAME = re.compile(r"[\w$.-]+")


class Edit(t.NamedTuple):
    """A range of bytes in a dump, and the text that replaces it."""

    start: int
    end: int
    text: bytes


class Shape:
    """Collects the objects and definers of a dump, and the edits that leave its objects out.

    With ``selection``, the edits also leave out what concerns other tables. The edits leave out the name of the ``database`` of
    the dump too, which MariaDB writes before each sequence in a default value.
    """

    def __init__(self, selection: TableSelection | None = None, client: Product = "MariaDB", database: str | None = None) -> None:
        self._selection = selection
        self._qualifier = None if database is None else _qualifier_of(database)
        self.count = 0
        self.objects: list[StoredObject] = []
        self.edits: list[Edit] = []  # they take the objects out of the dump
        self.definers: set[tuple[str, str]] = set()
        self._problem: str | None = None
        self._session = ScriptSession()
        self._settings: dict[str, str] = {}
        self._last_cut: int | None = None  # the number of a statement that the next one may be cut with
        self._database = ""  # the settings of the database for the next object, if they differ from the current ones
        self._statements = Statements(self._add, client=client)

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        data = bytes(data)
        if b"\0" in data:  # the client may end a line at it
            self._refuse("The script has a NUL byte, which dumps have only as an escape sequence.")
        self._statements.update(data)

    def finish(self) -> None:
        """End the dump. Raises ContentInvalid for a script that is not whole, or is not the dump of a database."""
        self._statements.finish()
        if self._problem is not None:
            raise ContentInvalid(self._problem, "See who wrote it; this collection writes no such dump.")
        if self._selection is not None:
            self._selection.check()

    def _add(self, statement: Statement) -> None:
        self.count += 1
        head = _plain(statement.text[:_BEGINNING])
        if statement.is_odd and _AS_WRITTEN.match(head) is None:
            what = "a comment, a semicolon or a backslash outside of strings"
            self._refuse(f"Statement {self.count} has {what}, which no dump has: {head[:80].strip()}")
            return
        if not head:
            return
        if _LONG.match(head) is None and (not statement.is_whole or _SHORT.fullmatch(_plain(statement.text)) is None):
            self._refuse(f"Statement {self.count} does not stay in the database of the dump: {head[:80].strip()}")
            return
        problem = self._session.problem_of(statement)
        if problem is not None:
            self._refuse(f"Statement {self.count} {problem}: {head[:80].strip()}")
            return
        if self._selection is not None and self._selection.leaves_out(head):
            self._cut(statement)
            return
        word = head[:6].upper()
        if word.startswith("SET "):
            self._set(head, statement)
        elif word == "ALTER ":
            self._alter(statement, head)
        elif word == "CREATE":
            self._add_object(statement, head)
        elif statement.assigns:
            self._refuse_assignment(head)

    def _refuse_assignment(self, head: str) -> None:
        self._refuse(f"Statement {self.count} sets a variable by :=, which no dump does: {head[:80].strip()}")

    def _refuse(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _set(self, head: str, statement: Statement) -> None:
        problem = self._session.set(statement, _plain(statement.text))
        if problem is not None:
            self._refuse(f"Statement {self.count} {problem}: {head[:80]}")
        match = _SETTING.match(head)
        if match is None:
            return
        if match[2] == "@":  # a variable with the earlier value
            self._settings.pop(match[1].lower(), None)
        else:
            self._settings[match[1].lower()] = match[2]

    def _alter(self, statement: Statement, head: str) -> None:
        match = _ALTER_DATABASE.match(head)
        if match is not None:
            self._database = match[1]
            self._cut(statement)

    def _cut(self, statement: Statement) -> None:
        """Leave a statement out. One edit has all statements that follow each other, since a table may have very many."""
        last = self.edits[-1] if self.edits else None
        if last is not None and not last.text and self._last_cut == self.count - 1 and statement.delimiter == b";":
            self.edits[-1] = Edit(last.start, statement.end, b"")
        else:
            self.edits.append(Edit(statement.start, statement.end, b""))
        self._last_cut = self.count if statement.delimiter == b";" else None

    def _unqualify(self, statement: Statement) -> None:
        if self._qualifier is None or not statement.is_whole:
            return
        for match in self._qualifier.finditer(statement.text):
            if match[1] is not None:
                self.edits.append(Edit(statement.start + match.start(1), statement.start + match.end(1), b""))

    def _add_object(self, statement: Statement, head: str) -> None:
        if _WITH_TABLES.match(head) is not None:  # such a view is a placeholder for the one that is made last
            if statement.assigns:
                self._refuse_assignment(head)
            self._unqualify(statement)
            return
        match = _OBJECT.match(head)
        # A trigger is as it was written. The server wrote the others, which name no database.
        if match is None or not statement.is_whole or (match[3].upper() != "TRIGGER" and (match[4] or not match[6])):
            self._refuse(f"Statement {self.count} makes something unknown: {head[:80].strip()}")
            return
        if self._selection is not None and not self._selection.has_trigger(head):
            self._cut(statement)
            self._database = ""
            return
        kind = t.cast(Kind, match[3].upper().replace("AGGREGATE ", ""))
        if kind == "FUNCTION" and not match[6].endswith("("):  # it is in a library, and of the whole server
            self._refuse(f"Statement {self.count} makes a function of the server: {head[:80].strip()}")
            return
        if match[1] is not None:
            self.definers.add((unquoted(match[1]), unquoted(match[2])))
        name = unquoted(match[5])
        self.objects.append(StoredObject(kind, name, statement.text, dict(self._settings), self._database))
        self.edits.append(Edit(statement.start, statement.end, b"DO 0" + statement.delimiter))
        self._database = ""


def _qualifier_of(database: str) -> re.Pattern[bytes] | None:
    """Return what matches strings and names, with the name of a database and its dot as the first group.

    Returns None for a name with other characters: to leave it out could open or end a string or a comment of a hostile dump.
    """
    if _PLAIN_NAME.fullmatch(database) is None:
        return None
    return re.compile(rb"'(?:[^'\\]|\\.)*'|(`%b`\.)(?=`)|`(?:[^`]|``)*`" % re.escape(database.encode()), re.DOTALL)


def _plain(beginning: bytes) -> str:
    """Return the beginning of a statement without comments, but with the content of executed comments."""
    text = _COMMENTS.sub("", beginning.decode("utf-8", "replace"))
    one = _ONE_EXECUTED.fullmatch(text)
    text = text if one is None else one[1]
    return re.sub(r"\s+", " ", _EXECUTED.sub("", text)).strip()
