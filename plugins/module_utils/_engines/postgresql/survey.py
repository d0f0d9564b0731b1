"""Asks a server for its databases, its version and its identity, and checks that a database can be dumped."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Connect,
    Login,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import (
    Program,
    client_packages,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DatabaseClosed,
    DatabaseMissing,
    NameRefused,
    ProgramMissing,
    QueryFailed,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

# As bytes, without a conversion, which might be refused: a name is of whatever encoding its database was made in.
_DATABASES = """
SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', true);
SELECT encode(textsend(datname::text), 'hex'), datistemplate, datallowconn, datconnlimit = -2,
    has_database_privilege(oid, 'CONNECT')
FROM pg_catalog.pg_database WHERE datname NOT IN ('template0', 'template1') ORDER BY datname
"""
_ABOUT = """
SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', true);
SELECT encode(textsend(current_user::text), 'hex'), has_table_privilege('pg_catalog.pg_authid', 'SELECT'), pg_is_in_recovery()
"""
# Databases that providers of managed servers keep on them, and let nobody connect to.
_PROVIDERS_OWN = ("azure_maintenance", "azure_sys", "cloudsqladmin", "rdsadmin")
# Some releases store an option on each column that no server accepts in SQL. Only a pg_dump as new as the server omits it.
# pg_dump writes the options of the columns of tables and materialized views, unless an extension makes them.
_UNKNOWN_COLUMN_OPTIONS = """
SELECT DISTINCT split_part(option, '=', 1)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid, unnest(a.attoptions) option
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT a.attisdropped
    AND split_part(option, '=', 1) NOT IN ('n_distinct', 'n_distinct_inherited')
    AND NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
    )
ORDER BY 1
"""


@dataclass(frozen=True)
class Database:
    """A database, as its server describes it."""

    name: str
    is_template: bool
    allows_connections: bool
    half_dropped: bool
    may_connect: bool


@dataclass(frozen=True)
class Server:
    """A server, as it describes itself."""

    version: str
    major: int
    instance: str
    source: str
    user: str
    reads_passwords: bool
    is_standby: bool
    databases: dict[str, Database]


def ask(connection: psycopg2.extensions.connection) -> Server:
    databases = [Database(_decoded(name), *facts) for name, *facts in query(connection, _DATABASES)]
    [(user, reads_passwords, is_standby)] = query(connection, _ABOUT)
    source = f"{connection.info.host}:{connection.info.port}"
    return Server(
        version=str(connection.info.parameter_status("server_version")).split()[0],
        major=connection.server_version // 10000,
        instance=_instance(connection) or source,
        source=source,
        user=_decoded(user),
        reads_passwords=reads_passwords,
        is_standby=is_standby,
        databases={database.name: database for database in databases},
    )


def _decoded(name: str) -> str:
    """Return a name as Python passes arguments to programs, which preserves bytes that are not UTF-8."""
    return bytes.fromhex(name).decode("utf-8", "surrogateescape")


def _instance(connection: psycopg2.extensions.connection) -> str | None:
    """Return the cluster's system identifier, None if the user may not query it."""
    try:
        [(identifier,)] = query(connection, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
    except QueryFailed:
        return None
    return str(identifier)


def wanted_databases(server: Server, databases: t.Sequence[str] | None, exclude: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of the databases to dump, including those that do not exist, and warnings of what was left out."""
    warnings: list[str] = []
    if databases is not None:
        names = list(dict.fromkeys(databases))
    else:
        found = [one for one in server.databases.values() if one.name not in _PROVIDERS_OWN]
        names = [one.name for one in found if one.allows_connections and not one.is_template]
        warnings += [f"The database {one.name} is a template, and was left out." for one in found if one.is_template]
        closed = [one.name for one in found if not one.allows_connections and not one.is_template]
        warnings += [f"The database {name} allows no connections, and was left out." for name in closed]
        foreign = [name for name in _PROVIDERS_OWN if name in server.databases]
        warnings += [f"The database {name} is the server's provider's own, and was left out." for name in foreign]
    return [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)], warnings


def check_dumpable(name: str, server: Server) -> None:
    if "\n" in name or "\r" in name:
        raise NameRefused(
            f"The database {name!r} has a line break in its name, and PostgreSQL's programs refuse such names.",
            "Rename it (ALTER DATABASE ... RENAME TO ...).",
        )
    database = server.databases.get(name)
    if database is None:
        raise DatabaseMissing(f"There is no database {name} on the server.", "Correct the name, or make the database.")
    if database.half_dropped:
        raise DatabaseClosed(
            f"The database {name} is half dropped.", f"End what was begun: DROP DATABASE {quote_identifier(name)}"
        )
    if not database.allows_connections:
        raise DatabaseClosed(
            f"The database {name} allows no connections.",
            f"Allow them: ALTER DATABASE {quote_identifier(name)} ALLOW_CONNECTIONS true",
        )
    if not database.may_connect:
        raise DatabaseClosed(
            f"The user may not connect to the database {name}.",
            f"Allow it: GRANT CONNECT ON DATABASE {quote_identifier(name)} TO {quote_identifier(server.user)}",
        )


def check_program(program: Program, server: Server, login: Login, connect: Connect) -> None:
    """Raise ProgramMissing if the program would write a dump of the login's database that no server accepts."""
    if program.knows_all_of(server.version):
        return
    with connect(login) as connection:
        options = [option for (option,) in query(connection, _UNKNOWN_COLUMN_OPTIONS)]
    if options:
        raise ProgramMissing(
            f"The server is PostgreSQL {server.version}, and columns of the database {login.database} have the option "
            f"{', '.join(options)}: {program} would write it into the dump, which no server would accept.",
            f"Install {client_packages(server.major)} of version {server.version} or newer, or say in bin_directory where its "
            "programs are.",
        )
