"""Checks the privileges that a dump needs. Without some of them the dump would lack objects, and no program would report that."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import query
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Server
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BinaryLogOff,
    GrantMissing,
    QueryFailed,
)

if t.TYPE_CHECKING:
    import pymysql

_NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_SHOW_CREATE_ROUTINE_SINCE = (11, 3)  # of MariaDB
# For the position in the binary log, MySQL's program locks all tables for a moment. Any privilege of a pair suffices.
_NEEDED_TO_LOCK = (("RELOAD", "FLUSH_TABLES"), ("REPLICATION CLIENT", "SUPER"))
_ALL = ("ALL PRIVILEGES", "ALL")
_GRANT = re.compile(r"GRANT (.+?) ON (?:TABLE )?(\*|`(?:[^`]|``)*`)\.(\*|`(?:[^`]|``)*`) TO ", re.DOTALL)
_COLUMNS = re.compile(r"\([^)]*\)")


class Privileges:
    """The privileges of a session's user, by database and table; ``*`` stands for all."""

    def __init__(self, statements: t.Iterable[str]) -> None:
        self._held: list[tuple[str, str, frozenset[str]]] = []
        for statement in statements:
            match = _GRANT.match(statement)
            if match is not None and not _COLUMNS.search(match[1]):
                held = frozenset(privilege.strip().upper() for privilege in match[1].split(","))
                self._held.append((_unquoted(match[2]), _unquoted(match[3]), held))

    def has(self, privilege: str, database: str, table: str = "*") -> bool:
        """Return whether the user has a privilege on a whole database, or on a table."""
        return any(
            (privilege in held or not held.isdisjoint(_ALL)) and _covers(pattern, database) and its_table in ("*", table)
            for pattern, its_table, held in self._held
        )


def _unquoted(name: str) -> str:
    return name if name == "*" else name[1:-1].replace("``", "`")


def _covers(pattern: str, database: str) -> bool:
    """Return whether a grant's database, in which % and _ are wildcards, matches a database."""
    if pattern in ("*", database):
        return True
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wild.get(part, re.escape(part[-1])) for part in parts), database, re.DOTALL) is not None


def privileges(connection: pymysql.Connection[t.Any]) -> Privileges:
    """Return the privileges of a session's user, including those of the session's active roles."""
    return Privileges(str(statement) for (statement,) in query(connection, "SHOW GRANTS"))


def check_privileges(held: Privileges, name: str, server: Server, user: str) -> None:
    """Raise GrantMissing unless the user may read everything that a dump of the database needs."""
    missing = [privilege for privilege in _NEEDED if not held.has(privilege, name)]
    grants = [f"GRANT {', '.join(missing)} ON {quote_identifier(name)}.* TO {user}"] if missing else []
    if not _sees_routines(held, name, server):
        missing.append("the source of routines")
        grants.append(_grant_of_routines(server, name, user))
    if missing:
        raise GrantMissing(
            f"The user {user} lacks privileges on the database {name}: {', '.join(missing)}. A dump would leave out objects.",
            f"Grant them: {'; '.join(grants)};",
        )


def check_position_available(held: Privileges, server: Server, user: str) -> None:
    """Raise an error unless the server has a binary log, and the user may do what the dump program does to get the position."""
    if not server.has_binary_log:
        raise BinaryLogOff(
            "binlog_position is set, but the server writes no binary log.",
            "Enable it by log_bin in the server's settings, or leave binlog_position out.",
        )
    if server.product == "MariaDB":
        return
    missing = [pair[0] for pair in _NEEDED_TO_LOCK if not any(held.has(privilege, "*") for privilege in pair)]
    if missing:
        names = ", ".join(missing)
        raise GrantMissing(
            f"The user {user} lacks privileges that binlog_position needs: {names}.",
            f"Grant them, or leave binlog_position out: GRANT {names} ON *.* TO {user};",
        )


def _sees_routines(held: Privileges, name: str, server: Server) -> bool:
    if server.product == "MySQL":
        return held.has("SHOW_ROUTINE", "*") or held.has("SELECT", "*")
    return held.has("SELECT", "mysql", "proc") or held.has("SHOW CREATE ROUTINE", name)


def _grant_of_routines(server: Server, name: str, user: str) -> str:
    if server.product == "MySQL":
        return f"GRANT SHOW_ROUTINE ON *.* TO {user}"
    if server.number >= _SHOW_CREATE_ROUTINE_SINCE:
        return f"GRANT SHOW CREATE ROUTINE ON {quote_identifier(name)}.* TO {user}"
    return f"GRANT SELECT ON mysql.proc TO {user}"


def current_user(connection: pymysql.Connection[t.Any]) -> str:
    """Return the account of a session as SQL spells it."""
    [(account,)] = query(connection, "SELECT CURRENT_USER()")
    name, _at, host = str(account).rpartition("@")
    return f"{quote_identifier(name)}@{quote_identifier(host)}"


def may_read_accounts(connection: pymysql.Connection[t.Any]) -> bool:
    """Return whether the user may read the accounts of the server."""
    try:
        query(connection, "SELECT User FROM mysql.user LIMIT 1")
    except QueryFailed:
        return False
    return True
