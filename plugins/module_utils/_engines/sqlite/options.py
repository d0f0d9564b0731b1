# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What the options of the modules come to for SQLite. An examination has none."""

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
