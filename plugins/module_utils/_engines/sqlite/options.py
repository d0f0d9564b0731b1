"""SQLite's options, converted from those of the modules. An examination has none."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import RunSql


@dataclass(frozen=True)
class SqliteDumpOptions:
    """The database files to dump, except those that match a pattern, and the seconds to wait for a writer."""

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    lock_timeout: float = 60.0


@dataclass(frozen=True)
class SqliteRestoreOptions:
    """The database file to restore, whether the old one is retained beside it, and SQL to run in the new one.

    Without ``may_replace``, a file that is created meanwhile is not replaced.
    """

    database: str
    keep_old: bool = False
    run_sql: RunSql | None = None
    may_replace: bool = True
