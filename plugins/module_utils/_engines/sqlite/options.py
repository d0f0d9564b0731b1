"""What the options of the modules come to for SQLite. An examination has none."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SqliteDumpOptions:
    """Which database files are dumped, less those that match a pattern, and how many seconds to wait for a writer."""

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    lock_timeout: float = 60.0


@dataclass(frozen=True)
class SqliteRestoreOptions:
    """Which database file is restored, and whether the old one is retained beside it."""

    database: str
    keep_old: bool = False
