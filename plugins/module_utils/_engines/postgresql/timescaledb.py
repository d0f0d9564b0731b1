"""TimescaleDB, whose own tables take a backup's content only between two calls of its functions.

The extension is created first, then comes the rest of the backup, restored by one job.
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
    """Return the schema of the extension, None unless a backup with these extensions and the server both have it."""
    if NAME not in extensions:
        return None
    [(is_available,)] = query(connection, _IS_AVAILABLE)
    return extensions[NAME] if is_available else None


def split_entries(entries: str, schema: str) -> tuple[str, str]:
    """Return the entries of an archive's list that create the extension, and the others."""
    first = re.compile(rf"\d+; \d+ \d+ (?:EXTENSION - {NAME}|SCHEMA - {re.escape(schema)}) ")
    lines = entries.rstrip("\n").split("\n")  # a name may have other separators of lines in it
    chosen = [line for line in lines if first.match(f"{line} ")]
    return "".join(f"{line}\n" for line in chosen), "".join(f"{line}\n" for line in lines if line not in chosen)


@contextlib.contextmanager
def restoring(login: Login) -> t.Iterator[None]:
    """Let the extension in the login's database take the content of a backup, until the context is left without an error."""
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
    """Do the same for a plain dump, which has no entries to select: the extension is created before the dump does it."""
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
