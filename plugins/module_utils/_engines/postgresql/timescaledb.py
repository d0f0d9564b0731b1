"""Restores databases with TimescaleDB: a backup's content can be restored only between calls of two of its functions.

The extension is created first. One job then restores the rest of the backup.
https://www.tigerdata.com/docs/self-hosted/latest/backup-and-restore/logical-backup
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    execute,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import protect_session
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import ExtensionUnavailable

if t.TYPE_CHECKING:
    import psycopg2.extensions

NAME = "timescaledb"

_IN_EVERY_DATABASE = "public"
_IS_AVAILABLE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'timescaledb')"
_SCHEMA = """
SELECT n.nspname::text FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'timescaledb'
"""


def schema_among(connection: psycopg2.extensions.connection, extensions: t.Mapping[str, str]) -> str | None:
    """Return the schema of the extension if it is among a backup's extensions and the server has it too, else None."""
    if NAME not in extensions:
        return None
    [(is_available,)] = query(connection, _IS_AVAILABLE)
    return extensions[NAME] if is_available else None


def split_entries(entries: str, schema: str) -> tuple[str, str]:
    """Split an archive's list into the entries that create the extension, and the others."""
    first = re.compile(rf"\d+; \d+ \d+ (?:EXTENSION - {NAME}|SCHEMA - {re.escape(schema)}) ")
    lines = entries.rstrip("\n").split("\n")  # splitlines would also split at other separators, which names may have
    chosen = [line for line in lines if first.match(f"{line} ")]
    return "".join(f"{line}\n" for line in chosen), "".join(f"{line}\n" for line in lines if line not in chosen)


@contextlib.contextmanager
def restoring(login: Login) -> t.Iterator[None]:
    """Prepare the extension in the login's database for a backup's content. If the context ends without an error, finish that."""
    with _session(login) as connection:
        [(schema,)] = query(connection, _SCHEMA)
        execute(connection, f"SELECT {quote_identifier(schema)}.timescaledb_pre_restore()")
    yield
    with _session(login) as connection:
        execute(connection, f"SELECT {quote_identifier(schema)}.timescaledb_post_restore()")


@contextlib.contextmanager
def restoring_script(
    connection: psycopg2.extensions.connection, login: Login, extensions: t.Mapping[str, str]
) -> t.Iterator[None]:
    """Do the same for a plain dump. It has no entries to select, so the extension is created before the dump would create it."""
    schema = schema_among(connection, extensions)
    if schema is None:
        yield
        return
    if schema != _IN_EVERY_DATABASE:
        raise ExtensionUnavailable(
            f"The backup has the extension {NAME} in the schema {schema}. It has to be created before the rest of the backup, "
            "and a plain dump can't be restored in parts.",
            "A backup in the custom format can be restored.",
        )
    with _session(login) as session:
        execute(session, f"CREATE EXTENSION IF NOT EXISTS {NAME} WITH SCHEMA {quote_identifier(schema)}")
    with restoring(login):
        yield


@contextlib.contextmanager
def _session(login: Login) -> t.Iterator[psycopg2.extensions.connection]:
    with connecting(login, readonly=False) as connection:
        protect_session(connection)
        yield connection
