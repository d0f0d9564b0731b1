"""The accounts of a server as SQL: its users and roles, their privileges, and the digests of their passwords."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.content import GLOBALS_TITLE, TRAILER
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Server
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError

if t.TYPE_CHECKING:
    import pymysql

_MARIADB = "SELECT User, Host, is_role, default_role FROM mysql.user ORDER BY is_role DESC, User, Host"
_MYSQL = "SELECT User, Host FROM mysql.user ORDER BY User, Host"
# The server creates these itself, and refuses to create them again.
_OWN = ("mariadb.sys", "mysql.infoschema", "mysql.session", "mysql.sys")
_PUBLIC = "PUBLIC"


class AccountsContent:
    """The accounts as a dump. A server has few enough to hold them in memory."""

    def __init__(self, connection: pymysql.Connection[t.Any], server: Server) -> None:
        statements = _of_mariadb(connection) if server.product == "MariaDB" else _of_mysql(connection)
        text = "".join(f"{statement};\n" for statement in statements)
        head = GLOBALS_TITLE + b"/*!40101 SET NAMES utf8mb4 */;\n"
        self._rest = memoryview(head + text.encode("utf-8", "surrogateescape") + b"\n" + TRAILER)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def finish(self) -> None:
        pass


def _of_mariadb(connection: pymysql.Connection[t.Any]) -> t.Iterator[str]:
    """Yield the statements, those of roles first, since users may have roles, and default roles."""
    accounts = [row for row in query(connection, _MARIADB) if row[0] not in _OWN]
    roles = [name for name, _host, is_role, _default in accounts if is_role == "Y" and name.upper() != _PUBLIC]
    users = [(name, host, default) for name, host, is_role, default in accounts if is_role != "Y"]
    yield from (f"CREATE ROLE IF NOT EXISTS {quote_identifier(role)}" for role in roles)
    for name, host, _default in users:
        [(statement,)] = query(connection, f"SHOW CREATE USER {_account(name, host)}")
        yield _if_not_exists(str(statement), "USER")
    for role in roles:
        yield from _grants(connection, quote_identifier(role))
    for name, host, default in users:
        yield from _grants(connection, _account(name, host))
        if default:
            yield f"SET DEFAULT ROLE {quote_identifier(default)} FOR {_account(name, host)}"


def _of_mysql(connection: pymysql.Connection[t.Any]) -> t.Iterator[str]:
    """Yield the statements. MySQL stores roles as users."""
    with contextlib.suppress(BackupError):  # before MySQL 8.0.17
        execute(connection, "SET print_identified_with_as_hex = ON")  # otherwise digests would be raw bytes within text
    accounts = [_account(name, host) for name, host in query(connection, _MYSQL) if name not in _OWN]
    for account in accounts:
        [(statement,)] = query(connection, f"SHOW CREATE USER {account}")
        # The server refuses a default role that does not exist yet.
        before, default, after = str(statement).partition(" DEFAULT ROLE ")
        yield _if_not_exists(before + (" REQUIRE" + after.partition(" REQUIRE")[2] if default else ""), "USER")
    for account in accounts:
        yield from _grants(connection, account)
    for account in accounts:
        [(statement,)] = query(connection, f"SHOW CREATE USER {account}")
        _before, default, after = str(statement).partition(" DEFAULT ROLE ")
        if default:
            yield f"ALTER USER {account} DEFAULT ROLE {after.partition(' REQUIRE')[0]}"


def _if_not_exists(statement: str, kind: str) -> str:
    return statement.replace(f"CREATE {kind} ", f"CREATE {kind} IF NOT EXISTS ", 1)


def _grants(connection: pymysql.Connection[t.Any], account: str) -> t.Iterator[str]:
    for (statement,) in sorted(query(connection, f"SHOW GRANTS FOR {account}")):
        if not str(statement).startswith("SET DEFAULT ROLE"):
            yield str(statement)


def _account(name: str, host: str) -> str:
    return f"{quote_identifier(name)}@{quote_identifier(host)}"


def accounts_of(connection: pymysql.Connection[t.Any]) -> set[tuple[str, str]]:
    """Return the users and roles, each by its name and host. A role of MariaDB has an empty host."""
    return {(str(name), str(host)) for name, host in query(connection, _MYSQL)}
