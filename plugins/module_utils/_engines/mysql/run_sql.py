"""Runs a user's SQL in the new database.

The servers commit each definition of a table at once, so that a transaction around the SQL would undo nothing. After an error the
new database is dropped instead. Statements that change something else are refused before the first one runs, see confinement.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.confinement import why_refused
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import (
    Login,
    connecting,
    execute,
    number_of,
    query,
    words_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.statements import Statement, Statements
from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import RunSql, Sql
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ContentInvalid, Interrupted
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import pymysql

_GRACE_SECONDS = 10.0  # the server ends a killed statement before that
_ROWS = 1000
_SYNTAX = 1064
_NEAR = re.compile(r"(?: near '.*')? at line (\d+)\Z", re.DOTALL)
_VALUE = re.compile(r"'.*'(?= for | at | in )|'.*'\Z", re.DOTALL)  # greedy, since it may have quotes of its own
# Errors whose messages have a value of a row or of the SQL, such as a duplicate, or a text that is no number.
_WITH_VALUES = (1062, 1292, 1300, 1366, 1367, 1411, 1525, 1586, 1690, 3140, 3141, 3854, 4078)


@dataclass(frozen=True)
class _Step:
    """A statement of a text of SQL, and the line where it begins."""

    sql: Sql
    statement: bytes
    line: int

    def failed(self, words: str, number: int | None = None, line: int | None = None) -> BackupError:
        place = [] if number is None else [f"error {number}"]
        if "\n" in self.sql.text.strip():
            place.append(f"line {line or self.line}")
        details = {} if number is None else {"number": number}
        return self.sql.failed(f"{words.rstrip('.')}{' (' + ', '.join(place) + ')' if place else ''}.", **details)


def run_sql(login: Login, database: str, others: t.Collection[str], sql: RunSql, runner: Runner) -> None:
    """Run the SQL in a database. ``others`` are the databases that it may not name.

    Raises RunSqlFailed, ProgramTimeout or Interrupted. The caller then drops the database.
    """
    deadline = sql.deadline()
    limit = 0 if sql.seconds is None else sql.seconds + _GRACE_SECONDS  # in case that the server can't be asked to end it
    with connecting(login, database=database, seconds=limit, is_stopped=runner.is_stopped) as connection:
        execute(connection, "SET SESSION sql_mode = @@GLOBAL.sql_mode")
        [(number, mode)] = query(connection, "SELECT CONNECTION_ID(), @@SESSION.sql_mode")
        steps = [step for one in sql.texts for step in _steps(one, escapes="NO_BACKSLASH_ESCAPES" not in mode)]
        for step in steps:
            reason = why_refused(step.statement, others)
            if reason is not None:
                raise step.failed(reason)
        with _ended_by(lambda: _kill(login, number), sql, runner):
            for step in steps:
                _run(connection, step, sql, deadline, runner)
            execute(connection, "COMMIT")


def _steps(sql: Sql, *, escapes: bool) -> t.Iterator[_Step]:
    """Split a text at the delimiters where the product's client would."""
    text = sql.text.encode("utf-8", "surrogateescape") + b"\n"
    found: list[Statement] = []
    statements = Statements(found.append, escapes=escapes)
    statements.update(text)
    try:
        statements.finish(needs_delimiter=False)
    except ContentInvalid as error:
        raise sql.failed(error.problem) from error
    line, place = 1, 0
    for one in found:
        line += text.count(b"\n", place, one.start)
        place = one.start
        yield _Step(sql, text[one.start : one.end - len(one.delimiter)], line)


@contextlib.contextmanager
def _ended_by(kill: t.Callable[[], None], sql: RunSql, runner: Runner) -> t.Iterator[None]:
    """Call ``kill`` at the timeout, or if the run is stopped."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(runner.stopping(kill))
        if sql.seconds is not None:
            timer = threading.Timer(sql.seconds, kill)
            timer.daemon = True
            timer.start()
            stack.callback(timer.join)
            stack.callback(timer.cancel)
        yield


def _kill(login: Login, number: int) -> None:
    with contextlib.suppress(BackupError), connecting(login) as connection:
        execute(connection, f"KILL {number}")


def _run(connection: pymysql.Connection[t.Any], step: _Step, sql: RunSql, deadline: float, runner: Runner) -> None:
    import pymysql
    from pymysql.cursors import SSCursor

    try:
        with connection.cursor(SSCursor) as cursor:  # reads rows one by one
            cursor.execute(step.statement.decode("utf-8", "surrogateescape"))
            while cursor.fetchmany(_ROWS) or cursor.nextset():
                pass
    except (pymysql.MySQLError, OSError, UnicodeError) as error:
        raise _error(error, step, sql, deadline, runner) from error
    if runner.is_stopped() or time.monotonic() >= deadline:
        raise _error(None, step, sql, deadline, runner)


def _error(error: Exception | None, step: _Step, sql: RunSql, deadline: float, runner: Runner) -> BackupError:
    if runner.is_stopped():
        return Interrupted("The run was ended during run_sql.", "Nothing was replaced; run it again.")
    if error is None or time.monotonic() >= deadline:
        return sql.late()
    number, words = number_of(error), words_of(error).rpartition(" (error ")[0] or words_of(error)
    if number == _SYNTAX:
        match = _NEAR.search(words)
        return step.failed(_NEAR.sub("", words), number, step.line + int(match[1]) - 1 if match is not None else None)
    return step.failed(_VALUE.sub("'...'", words, count=1) if number in _WITH_VALUES else words, number)
