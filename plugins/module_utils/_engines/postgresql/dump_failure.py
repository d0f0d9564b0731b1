"""Explains why pg_dump failed. It hands on the server's words, in the server's language, and no code."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ProgramFailed, SourceBusy

_READS_ALL_SINCE = 14  # the version with the role pg_read_all_data
_READING = re.compile("query was: (?:LOCK TABLE|SELECT|COPY)", re.IGNORECASE)
_LOCKING = re.compile("query was: LOCK TABLE", re.IGNORECASE)
# What pg_dump reads: tables, partitioned tables and sequences.
_UNREADABLE = """
SELECT current_user::text, n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT (
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
ORDER BY 2, 3
"""


def explained(error: ProgramFailed, title: str, login: Login, *, major: int, seconds: float, lock_timeout: float) -> BackupError:
    """Return the error that a failed pg_dump is. It ran for ``seconds``; ``login`` leads to its database."""
    # pg_dump limits how long its LOCK TABLE may take; it fails at once for any other cause.
    if seconds >= lock_timeout and _LOCKING.search(error.problem):
        return SourceBusy(
            f"A table of {title} was locked for more than {lock_timeout:g} seconds: {error.problem}",
            "See in pg_locks who holds it, or raise lock_timeout.",
        )
    if _READING.search(error.problem) is None:
        return error
    unreadable: list[tuple[str, str, str]] = []  # of each the user, the schema and the table
    with contextlib.suppress(BackupError), connecting(login) as connection:
        unreadable += query(connection, _UNREADABLE)
    if unreadable:
        return ProgramFailed(error.problem, _grant(unreadable, major, login.database), **error.details)
    return error


def _grant(unreadable: list[tuple[str, str, str]], major: int, database: str) -> str:
    user = quote_identifier(unreadable[0][0])
    if major >= _READS_ALL_SINCE:
        return f"Let the user read every table, as a superuser: GRANT pg_read_all_data TO {user};"
    schemas = ", ".join(dict.fromkeys(quote_identifier(schema) for _user, schema, _table in unreadable))
    return (
        f"Let the user read every table, as a superuser in the database {database}: GRANT USAGE ON SCHEMA {schemas} TO {user}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schemas} TO {user}; "
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schemas} TO {user};"
    )
