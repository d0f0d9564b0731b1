"""Queries a server's version and databases, and what a dump of them must take into account."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import (
    Login,
    Product,
    Rows,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier, quote_text
from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseClosed, DatabaseMissing

if t.TYPE_CHECKING:
    import pymysql

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
_PROVIDERS_OWN = ("innodb", "tmp")  # of hosted servers
_NO_DATABASE = "#mysql50#"  # begins the listed name of a folder that is not a database, such as lost+found
_NAMED = 5  # tables or objects in a warning
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_VARIABLES = ("version", "hostname", "port", "server_uuid", "server_uid", "lower_case_table_names", "log_bin")

_VIEWS_AND_TABLES = """
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES
WHERE TABLE_SCHEMA IN %s
AND (TABLE_TYPE = 'SYSTEM VERSIONED' OR ENGINE NOT IN (SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'))
ORDER BY 1, 2
"""
# In these character sets a character may end in the byte of a backslash or a backquote (seen: MariaDB 10.11, MySQL 9.7).
_MIXED_OBJECTS = """
SELECT db, name, charset FROM (
    SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name, CHARACTER_SET_CLIENT AS charset, VIEW_DEFINITION AS text
    FROM information_schema.VIEWS
    UNION ALL SELECT TRIGGER_SCHEMA, TRIGGER_NAME, CHARACTER_SET_CLIENT, ACTION_STATEMENT FROM information_schema.TRIGGERS
    UNION ALL SELECT ROUTINE_SCHEMA, ROUTINE_NAME, CHARACTER_SET_CLIENT, ROUTINE_DEFINITION FROM information_schema.ROUTINES
    UNION ALL SELECT EVENT_SCHEMA, EVENT_NAME, CHARACTER_SET_CLIENT, EVENT_DEFINITION FROM information_schema.EVENTS
) AS objects
WHERE db IN %s AND charset IN ('big5', 'cp932', 'gb18030', 'gbk', 'sjis') AND LENGTH(text) <> CHAR_LENGTH(text) ORDER BY 1, 2
"""
_COUNTS = """
SELECT
    (SELECT count(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s),
    (SELECT count(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s),
    (SELECT count(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s),
    (SELECT count(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s)
"""


@dataclass(frozen=True)
class Database:
    """A database: its name and settings."""

    name: str
    charset: str
    collation: str
    comment: str = ""
    encrypted: bool = False

    def settings(self) -> str:
        """Return the settings as CREATE DATABASE and ALTER DATABASE take them."""
        comment = f" /*M!100502 COMMENT {quote_text(self.comment)} */" if self.comment else ""
        encryption = " /*!80016 ENCRYPTION 'Y' */" if self.encrypted else ""
        return f"CHARACTER SET {self.charset} COLLATE {self.collation}{comment}{encryption}"

    def script(self) -> bytes:
        """Return SQL that applies the settings to the database in use."""
        text = f"/*!40101 SET NAMES utf8mb4 */;\nALTER DATABASE {self.settings()};\n"
        return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Server:
    """A server: its product, version, and databases."""

    product: Product
    version: str
    number: tuple[int, ...]
    instance: str
    source: str
    databases: dict[str, Database] = field(default_factory=dict)
    has_binary_log: bool = False


class Counts(t.NamedTuple):
    """How many objects of each kind a database has, beside its tables."""

    views: int
    triggers: int
    routines: int
    events: int


def ask(connection: pymysql.Connection[t.Any], login: Login) -> Server:
    """Query a server's identity, version and databases."""
    placeholders = ", ".join(["%s"] * len(_VARIABLES))
    variables = {
        str(name): value
        for name, value in query(connection, f"SHOW VARIABLES WHERE Variable_name IN ({placeholders})", *_VARIABLES)
    }
    version = str(variables["version"])
    address = login.with_defaults()
    source = address.unix_socket or f"{address.host}:{address.port}"
    local = f"{variables.get('hostname')}:{variables.get('port')}"
    return Server(
        product="MariaDB" if "mariadb" in version.lower() else "MySQL",
        version=version,
        number=version_number(version),
        instance=str(variables.get("server_uuid") or variables.get("server_uid") or local),
        source=source,
        databases=all_databases(connection),
        has_binary_log=variables.get("log_bin") == "ON",
    )


def version_number(version: str | None) -> tuple[int, ...]:
    """Return the numbers of a version, empty if it has none."""
    match = _VERSION.match(version or "")
    return () if match is None else tuple(int(part) for part in match.groups() if part is not None)


def all_databases(connection: pymysql.Connection[t.Any]) -> dict[str, Database]:
    """Return all databases that the user may see, by name."""
    return {one.name: one for one in _databases(connection)}


def _databases(connection: pymysql.Connection[t.Any]) -> t.Iterator[Database]:
    from pymysql.cursors import DictCursor

    with connection.cursor(DictCursor) as cursor:
        cursor.execute("SELECT * FROM information_schema.SCHEMATA")
        rows = cursor.fetchall()
    for row in rows:
        values = {name.upper(): value for name, value in row.items()}
        yield Database(
            name=values["SCHEMA_NAME"],
            charset=values["DEFAULT_CHARACTER_SET_NAME"],
            collation=values["DEFAULT_COLLATION_NAME"],
            comment=values.get("SCHEMA_COMMENT") or "",
            encrypted=values.get("DEFAULT_ENCRYPTION") == "YES",
        )


def wanted_databases(server: Server, databases: t.Sequence[str] | None, exclude: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of the databases to dump, including those that do not exist, and warnings about those left out."""
    warnings: list[str] = []
    if databases is not None:
        names = list(dict.fromkeys(databases))
    else:
        own = [name for name in server.databases if name.lower() not in SYSTEM]
        names = [name for name in own if name not in _PROVIDERS_OWN and not name.startswith(_NO_DATABASE)]
        warnings += [
            f"The database {name} was left out: it is the provider's own, or no database." for name in own if name not in names
        ]
    return [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)], warnings


def check_dumpable(name: str, server: Server) -> None:
    """Raise an error if the server has no such database, or it is the system's."""
    if name.lower() in SYSTEM:
        raise DatabaseClosed(
            f"The database {name} is the server's own, which no dump can put back.",
            "Leave it out; include_globals backs up users, roles and grants.",
        )
    if name not in server.databases:
        raise DatabaseMissing(
            f"There is no database {name} on the server, or the user may not see it.", "Correct the name, or make the database."
        )


def special_tables(connection: pymysql.Connection[t.Any], names: t.Sequence[str]) -> Rows:
    """Return the tables that no snapshot includes, or that have a history: database, table, type and engine."""
    return query(connection, _VIEWS_AND_TABLES, tuple(names)) if names else []


def mixed_objects(connection: pymysql.Connection[t.Any], names: t.Sequence[str]) -> Rows:
    """Return the views, triggers, routines and events that a client may split at a wrong place: database, name, character set."""
    return query(connection, _MIXED_OBJECTS, tuple(names)) if names else []


def warnings_of(name: str, tables: Rows, mixed: Rows) -> list[str]:
    """Return a warning about the tables of a database that are not transactional, and one about its mixed objects."""
    warnings = []
    found = [
        f"{table} ({engine})"
        for schema, table, kind, engine in tables
        if schema == name and kind != "SYSTEM VERSIONED" and engine
    ]
    if found:
        warnings.append(
            f"Tables of the database {name} are not transactional, so that the backup may have them as of another moment than "
            f"the rest: {_some(found)}. Make them InnoDB, or back up while nobody writes to them."
        )
    found = [f"{title} ({charset})" for schema, title, charset in mixed if schema == name]
    if found:
        warnings.append(
            f"Objects of the database {name} are stored in a character set in which a character may end in a backslash, and "
            f"such a backup may not be restorable: {_some(found)}. Make them again with SET NAMES utf8mb4, and verify the backup."
        )
    return warnings


def _some(found: t.Sequence[str]) -> str:
    others = f" and {len(found) - _NAMED} others" if len(found) > _NAMED else ""
    return f"{', '.join(found[:_NAMED])}{others}"


def has_history(name: str, tables: Rows) -> bool:
    """Return whether a database has system-versioned tables."""
    return any(schema == name and kind == "SYSTEM VERSIONED" for schema, _table, kind, _engine in tables)


def count_objects(connection: pymysql.Connection[t.Any], name: str) -> Counts:
    """Count the objects that a dump of a database must have."""
    [counts] = query(connection, _COUNTS, name, name, name, name)
    return Counts(*counts)


def use(name: str) -> str:
    """Return the statement that selects a database for the session."""
    return f"USE {quote_identifier(name)}"
