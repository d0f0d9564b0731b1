"""The options of the modules, converted for MariaDB and MySQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._engines.parts import Parts
from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import RunSql


@dataclass(frozen=True)
class MysqlDumpOptions:
    """Which databases of a server are dumped, and how.

    ``databases`` of None selects all but the system's; ``include_globals`` of None includes the accounts if all databases are
    selected. Times are seconds. ``binlog_position`` of None records the position if the server gives it without a lock.
    """

    login: Login
    databases: tuple[str, ...] | None = None
    exclude_databases: tuple[str, ...] = ()
    include_globals: bool | None = None
    bin_directory: str | None = None
    timeout: float | None = None
    lock_timeout: float = 60.0
    binlog_position: bool | None = None

    @property
    def with_globals(self) -> bool:
        return self.databases is None if self.include_globals is None else self.include_globals


@dataclass(frozen=True)
class MysqlRestoreOptions:
    """Which database is restored, where, and how. Without ``may_replace``, one that is created meanwhile is not replaced."""

    login: Login
    database: str
    keep_old: bool = False
    terminate_sessions: bool = False
    may_replace: bool = True
    bin_directory: str | None = None
    run_sql: RunSql | None = None
    parts: Parts | None = None


@dataclass(frozen=True)
class MysqlExaminationOptions:
    """The directory of the programs, and the server to restore into; a ``login`` of None is a server of our own.

    In ``check_mode`` nothing is restored into a server that others use.
    """

    bin_directory: str | None = None
    login: Login | None = None
    check_mode: bool = False
