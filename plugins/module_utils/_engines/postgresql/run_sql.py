"""Runs a user's SQL in the new database, in one transaction that the SQL can't end.

Each text is executed by PL/pgSQL's EXECUTE, in which the server refuses every command that begins, ends or prepares a
transaction, that can't run within one (DROP DATABASE, VACUUM), or that reads rows from the client. psql's commands are not SQL.
https://www.postgresql.org/docs/current/plpgsql-statements.html#PLPGSQL-STATEMENTS-EXECUTING-DYN
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    execute,
    until,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import (
    protect_session,
    set_encoding,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_literal
from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import RunSql, Sql
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import psycopg2.extensions

_DEFAULT_SEARCH_PATH = '"$user", public'
_CANCELED = "57014"
_MARGIN_SECONDS = 0.1  # so that the deadline has passed when the server ends a statement
_GRACE_SECONDS = 5.0  # the server ends a statement at its timeout, unless the statement catches that
_BECOME_OWNER = """
SELECT pg_catalog.set_config('role', (
    SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
), true)
"""
_END = Sql("The end of run_sql", "SET CONSTRAINTS ALL IMMEDIATE")  # deferred constraints are checked before the COMMIT


def run_sql(login: Login, database: str, search_path: str | None, sql: RunSql, runner: Runner) -> None:
    """Run the SQL in a database. ``search_path`` is the database's own setting, as SQL.

    Raises RunSqlFailed, ProgramTimeout or Interrupted, and then the transaction is not committed.
    """
    deadline = sql.deadline()
    with connecting(dataclasses.replace(login, database=database), readonly=False) as connection:
        protect_session(connection)
        set_encoding(connection)
        databases.begin(connection)
        execute(connection, f"SET LOCAL search_path TO {search_path or _DEFAULT_SEARCH_PATH}")
        if sql.as_owner:
            execute(connection, _BECOME_OWNER)
        for one in (*sql.texts, _END):
            _run(connection, one, sql, deadline, runner)
        databases.commit(connection)


def _run(connection: psycopg2.extensions.connection, one: Sql, sql: RunSql, deadline: float, runner: Runner) -> None:
    import psycopg2

    left = deadline - time.monotonic()
    if left <= 0:
        raise sql.late()
    if sql.seconds is not None:
        execute(connection, f"SET LOCAL statement_timeout = {int((left + _MARGIN_SECONDS) * 1000)}")
    body = f"BEGIN EXECUTE {quote_literal(one.text)}; END"
    try:
        with until(deadline + _GRACE_SECONDS, runner.is_stopped), connection.cursor() as cursor:
            cursor.execute(f"DO LANGUAGE plpgsql {quote_literal(body)}")
    except ConnectionFailed as error:
        raise sql.late() from error
    except UnicodeError as error:
        raise one.failed(f"it has characters that can't be sent: {error}") from error
    except psycopg2.Error as error:
        if error.pgcode == _CANCELED and time.monotonic() >= deadline:
            raise sql.late() from error
        # The detail and the context are left out: they may have rows and the SQL itself.
        words = error.diag.message_primary or str(error).strip()
        raise one.failed(f"{words.rstrip('.')}{_line(error.diag, one)}.", sqlstate=error.pgcode) from error
    if time.monotonic() >= deadline:
        raise sql.late()


def _line(diagnostics: psycopg2.extensions.Diagnostics, one: Sql) -> str:
    """Return in which line of a text the server found an error, as words for the message, if it reports the place."""
    if diagnostics.internal_position is None or diagnostics.internal_query != one.text:
        return ""
    line = one.text.count("\n", 0, int(diagnostics.internal_position) - 1) + 1
    return f" (line {line})" if "\n" in one.text.strip() else ""
