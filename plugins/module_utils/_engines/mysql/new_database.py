"""Makes a new database from a dump. The dump is first written to a file without a name, and executed when all of it was read."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.client import execute_script
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import (
    LOCK_SECONDS,
    Login,
    cancel,
    execute,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.shape import Shape
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.table_selection import TableSelection
from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseLocked, QueryFailed, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import write_all
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import pymysql

_LOCK_WAIT_TIMEOUT = 1205
_TABLES_WITH_ROWS = """
SELECT TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA = %s AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_NAME <> %s ORDER BY 1
"""


class NewDatabase:
    """Collects a dump of the database ``source``, and makes a database from it."""

    def __init__(
        self,
        runner: Runner,
        client: Program,
        login: Login,
        file: int,
        name: str,
        *,
        source: str | None,
        selection: TableSelection | None = None,
    ) -> None:
        self.name = name
        self.shape = Shape(selection, client.product, source)
        self._runner = runner
        self._client = client
        self._login = login
        self._file = file

    def write(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        with store_errors("Writing the unpacked backup"):
            write_all(self._file, data)
        self.shape.update(data)

    def read(self) -> None:
        """End the dump. Raises ContentInvalid if it is not the dump of a database, PartsMissing if it lacks a selected table."""
        self.shape.finish()

    def fill(self, connection: pymysql.Connection[t.Any], settings: str = "", *, with_objects: bool = False) -> None:
        """Make the database. Without ``with_objects`` it has only tables: other objects may name the database of the dump."""
        [(session,)] = query(connection, "SELECT CONNECTION_ID()")
        with self._runner.stopping(lambda: cancel(self._login, session)):
            self._create(connection, settings)
        edits = () if with_objects else self.shape.edits
        execute_script(self._runner, self._client, self._login, self.name, self._file, edits)

    def _create(self, connection: pymysql.Connection[t.Any], settings: str) -> None:
        try:
            execute(connection, f"CREATE DATABASE {quote_identifier(self.name)} {settings}")
            databases.mark(connection, self.name)
        except QueryFailed as error:
            if error.details.get("number") != _LOCK_WAIT_TIMEOUT:
                raise
            raise DatabaseLocked(
                f"Another session locked the whole server for more than {LOCK_SECONDS} seconds, as FLUSH TABLES WITH READ LOCK "
                f"does: {error.problem}",
                "See in SHOW FULL PROCESSLIST which one, such as a backup of the whole server, and run again when it has ended.",
            ) from error

    def count(self, connection: pymysql.Connection[t.Any]) -> tuple[int, int]:
        """Return the numbers of tables and of their rows."""
        tables = [name for (name,) in query(connection, _TABLES_WITH_ROWS, self.name, databases.MARK_TABLE)]
        rows = 0
        for table in tables:
            [(count,)] = query(connection, f"SELECT count(*) FROM {quote_identifier(self.name)}.{quote_identifier(table)}")
            rows += count
        return len(tables), rows

    def remove(self, connection: pymysql.Connection[t.Any]) -> None:
        """Drop the database, if it was made, and end what still runs in it."""
        if not databases.exists(connection, self.name):  # even then a DROP would wait for the locks of other sessions
            return
        databases.end_sessions(connection, self.name)
        databases.drop(connection, self.name)
