"""Runs a user's SQL in a restored database, in one transaction that the SQL can't end.

It runs on a copy in a private folder: SQLite obeys the journals beside a file, and others may write to the folder of the
database. The copy has no journal, since it is thrown away after an error. An authorizer refuses what would end the
transaction or open another file.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import RunSql, Sql
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.inspection import HEAP_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import connect
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, Interrupted, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._scratch import (
    scratch_folder,
    sweep_scratch_folders,
    temporary_directory,
)
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space, free_bytes

_PREFIX = "lastgood-sql-"
_VERSIONS_AT, _NO_WAL = 18, b"\x01\x01"  # https://www.sqlite.org/fileformat2.html, section 1.3.3
_STEPS = 10_000  # SQLite checks the time after each so many of its instructions
_SETTINGS = (
    "journal_mode=OFF",
    "synchronous=OFF",
    "secure_delete=ON",  # deleted rows may be the reason to run SQL
    f"hard_heap_limit={HEAP_BYTES}",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "mmap_size=0",
)
# https://www.sqlite.org/c3ref/c_alter_table.html
_PRAGMA = 19
_REFUSED = {22: "a command that begins or ends a transaction", 24: "ATTACH", 25: "DETACH", 32: "SAVEPOINT"}
_REFUSED_PRAGMAS = ("data_store_directory", "hard_heap_limit", "journal_mode", "locking_mode", "temp_store_directory")


def run_sql(file: int, sql: RunSql, is_stopped: t.Callable[[], bool]) -> None:
    """Run the SQL in the database file of a descriptor. Raises RunSqlFailed, ProgramTimeout or Interrupted."""
    parent = temporary_directory()
    sweep_scratch_folders(parent, _PREFIX)
    size = os.fstat(file).st_size
    with scratch_folder(parent, _PREFIX) as folder, store_errors(f"Copying the restored database to {folder}"):
        path = os.path.join(folder, "copy.db")
        copy = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            free = free_bytes(copy, folder)
            check_space(folder, free, size, "a copy of the database, for run_sql", "Make room, or set TMPDIR for the task.")
            _copy(file, copy)
            versions = os.pread(copy, len(_NO_WAL), _VERSIONS_AT)
            if len(versions) == len(_NO_WAL):
                os.pwrite(copy, _NO_WAL, _VERSIONS_AT)
            with contextlib.closing(connect(path)) as connection:
                _Run(connection, sql, is_stopped).run()
            os.pwrite(copy, versions, _VERSIONS_AT)
            os.ftruncate(file, 0)
            _copy(copy, file)
        finally:
            close_quietly(copy)


def _copy(source: int, target: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(target, 0, os.SEEK_SET)
    while chunk := os.read(source, CHUNK_BYTES):
        write_all(target, chunk)


class _Run:
    """A transaction on a database."""

    def __init__(self, connection: sqlite3.Connection, sql: RunSql, is_stopped: t.Callable[[], bool]) -> None:
        self._connection = connection
        self._sql = sql
        self._is_stopped = is_stopped
        self._deadline = sql.deadline()
        self._refused: str | None = None
        self._is_guarded = False

    def run(self) -> None:
        for setting in _SETTINGS:
            self._execute(self._sql.texts[0], f"PRAGMA {setting}", "")
        self._connection.set_progress_handler(lambda: int(self._is_over()), _STEPS)
        self._connection.set_authorizer(self._authorize)
        self._execute(self._sql.texts[0], "BEGIN IMMEDIATE", "")
        self._is_guarded = True
        for one in self._sql.texts:
            for statement, line in _statements(one.text):
                self._execute(one, statement, f" (line {line})" if "\n" in one.text.strip() else "")
        self._is_guarded = False
        self._execute(self._sql.texts[-1], "COMMIT", "")

    def _execute(self, one: Sql, statement: str, place: str) -> None:
        try:
            for _row in self._connection.execute(statement):
                pass
        except MemoryError as error:
            raise one.failed(f"SQLite has no memory beyond {HEAP_BYTES >> 20} MiB{place}.") from error
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
            raise self._error(one, str(error), place) from error
        if self._is_over():
            raise self._error(one, "it was interrupted", place)

    def _error(self, one: Sql, words: str, place: str) -> BackupError:
        if self._is_stopped():
            return Interrupted("The run was ended during run_sql.", "Nothing was replaced; run it again.")
        if self._is_over():
            return self._sql.late()
        refused = f", {self._refused} is refused" if self._refused is not None else ""
        return one.failed(f"{words}{refused}{place}.")

    def _is_over(self) -> bool:
        return self._is_stopped() or time.monotonic() >= self._deadline

    def _authorize(self, action: int, first: str | None, *_others: str | None) -> int:
        if not self._is_guarded:
            return sqlite3.SQLITE_OK
        if action == _PRAGMA and str(first).lower() in _REFUSED_PRAGMAS:
            self._refused = f"PRAGMA {str(first).lower()}"
            return sqlite3.SQLITE_DENY
        self._refused = _REFUSED.get(action)
        return sqlite3.SQLITE_OK if self._refused is None else sqlite3.SQLITE_DENY


def _statements(text: str) -> t.Iterator[tuple[str, int]]:
    """Split SQL at the semicolons that complete a statement according to SQLite. Yield each statement and its first line."""
    statement, line = "", 1
    for piece in re.split(r"(?<=;)", text):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement, _first_line(statement, line)
            line += statement.count("\n")
            statement = ""
    if statement.strip():
        yield statement, _first_line(statement, line)


def _first_line(statement: str, line: int) -> int:
    """Return the line of a statement's first word; blank lines before it belong to it."""
    return line + statement[: len(statement) - len(statement.lstrip())].count("\n")
