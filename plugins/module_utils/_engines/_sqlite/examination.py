# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Look at a backup of an SQLite database: SQLite's own check, on a private copy that is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines._sqlite.opening import is_lacking
from ansible_collections.lastgood.database.plugins.module_utils._engines.base import WHOLE, Found, Look
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, Inconclusive, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._process import temporary_directory, write_all

_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_VIRTUAL = re.compile("CREATE VIRTUAL ", re.IGNORECASE)


class SqliteExamination:
    """The content of one backup."""

    def looking(self) -> t.ContextManager[Look]:
        return self._looking(counts=False)

    def restoring(self) -> t.ContextManager[Look]:
        return self._looking(counts=True)

    @contextlib.contextmanager
    def _looking(self, *, counts: bool) -> t.Iterator[Look]:
        # A file without a name would do, but SQLite opens by name.
        with contextlib.ExitStack() as stack:
            parent = temporary_directory()
            with store_errors(f"Making a folder in {parent}"):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lastgood-look-", dir=parent))
            path = os.path.join(folder, "copy.db")
            with store_errors(f"Making {path}"):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            yield _CopyLook(path, descriptor, counts)


@dataclass(frozen=True)
class _CopyLook:
    """The copy."""

    path: str
    descriptor: int
    counts: bool

    def write(self, data: bytes | memoryview) -> None:
        try:
            write_all(self.descriptor, data)
        except OSError as error:
            raise Inconclusive(
                f"Writing a copy to {os.path.dirname(self.path)}: {error.strerror}.",
                "Make room there, or set TMPDIR for the task to a directory with more.",
            ) from error

    def finish(self) -> Found:
        said = self._ask("PRAGMA integrity_check(3)")
        if said != [("ok",)]:
            raise ContentInvalid(
                f"SQLite's integrity check says: {'; '.join(str(row[0]) for row in said)}.", "Take another backup."
            )
        return self._count() if self.counts else WHOLE

    def _count(self) -> Found:
        """Count the rows of the tables that are SQLite's own: a virtual one is its module's."""
        tables = [name for name, sql in self._ask(_TABLES) if not _VIRTUAL.match(sql or "")]
        counts = [self._ask(f"SELECT count(*) FROM main.{_quote(name)}")[0][0] for name in tables]
        return Found(f"It was restored: {len(tables)} tables with {sum(counts)} rows.", len(tables), sum(counts))

    def _ask(self, sql: str) -> list[tuple[t.Any, ...]]:
        # Nobody else writes: without locks and journals, whatever mode the database was in.
        uri = f"file:{urllib.parse.quote(os.fsencode(self.path))}?mode=ro&immutable=1"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
                connection.execute("PRAGMA trusted_schema=OFF")
                return connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            if is_lacking(error):
                raise Inconclusive(
                    f"This host's SQLite, {sqlite3.sqlite_version}, lacks what the database uses: {error}.",
                    "Look at it with the application that has it.",
                ) from error
            raise ContentInvalid(f"SQLite says of the database: {error}.", "Take another backup.") from error


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
