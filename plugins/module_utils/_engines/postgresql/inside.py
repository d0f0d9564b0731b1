"""Names and texts of one encoding on a server with databases of several.

All databases share the names of roles, and comments and settings of databases, as bytes: each is in the encoding of whichever
database it was made in. So what is not ASCII is said in a session on a database of the same encoding, or it becomes other bytes.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    execute,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import (
    protect_session,
    set_encoding,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

_SINGLE_BYTES = "LATIN1"  # every byte is a character of it
# In one round trip, which is one transaction: the setting ends with it.
_AS_BYTES = "SELECT set_config('client_encoding', 'SQL_ASCII', true); SELECT {} FROM ({}) AS found({})"


def query_bytes(connection: psycopg2.extensions.connection, columns: int, sql: str, *values: t.Any) -> list[list[bytes | None]]:
    """Run a query, and return each text as the bytes that the server stores, whatever their encoding."""
    names = [f"c{number}" for number in range(columns)]
    texts = ", ".join(f"encode(textsend({name}::text), 'hex')" for name in names)
    rows = query(connection, _AS_BYTES.format(texts, sql, ", ".join(names)), *values)
    return [[None if text is None else bytes.fromhex(text) for text in row] for row in rows]


def role_names(connection: psycopg2.extensions.connection) -> set[bytes]:
    """Return the names of the server's roles, as the bytes that they are."""
    return {name for [name] in query_bytes(connection, 1, "SELECT rolname FROM pg_catalog.pg_roles") if name is not None}


def tablespace_names(connection: psycopg2.extensions.connection) -> set[bytes]:
    """Return the names of the server's tablespaces, as the bytes that they are."""
    return {name for [name] in query_bytes(connection, 1, "SELECT spcname FROM pg_catalog.pg_tablespace") if name is not None}


def can_say(connection: psycopg2.extensions.connection, statement: str, encoding: str) -> bool:
    """Return whether a statement from a dump of that encoding means the same in this session."""
    return statement.isascii() or connection.info.parameter_status("server_encoding") == encoding


@contextlib.contextmanager
def inside(login: Login, database: str, encoding: str) -> t.Iterator[t.Callable[[str], None]]:
    """Connect to a database, and give what executes statements that came from a dump of that encoding."""
    with connecting(dataclasses.replace(login, database=database), readonly=False) as connection:
        protect_session(connection)
        # A database in SQL_ASCII takes any bytes as they come.
        any_bytes = encoding == "SQL_ASCII"
        set_encoding(connection, _SINGLE_BYTES if any_bytes else encoding)

        def say(statement: str) -> None:
            raw = statement.encode("utf-8", "surrogateescape").decode("latin-1")
            execute(connection, raw if any_bytes else statement)

        yield say
