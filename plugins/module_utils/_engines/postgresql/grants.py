"""Finds what a user may not read of a database and pg_dump has to, and says which GRANT helps.

pg_dump locks and reads each table, reads each sequence and each large object, and refuses a table whose rows a policy may hide.
https://www.postgresql.org/docs/current/app-pgdump.html, "Notes"
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import query
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.inside import query_bytes
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import GrantMissing

if t.TYPE_CHECKING:
    import psycopg2.extensions

_READS_ALL_SINCE = 14  # the major version that has pg_read_all_data
_NAMED = 5  # tables in a message
_IS_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
# Of an extension, pg_dump reads only the tables that it declares as configuration.
_RELATIONS = """
SELECT quote_ident(n.nspname), quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (
        NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig))
    )
"""
_UNREADABLE = f"""{_RELATIONS}
    AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
        WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)
ORDER BY 1, 2
"""
_HIDDEN_ROWS = f"""{_RELATIONS}
    AND c.relkind IN ('r', 'p') AND row_security_active(c.oid)
ORDER BY 1, 2
"""
_UNREADABLE_OBJECTS = """
SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m WHERE NOT EXISTS (
    SELECT 1 FROM aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) granted
    WHERE granted.privilege_type = 'SELECT' AND (granted.grantee = 0 OR pg_has_role(granted.grantee, 'USAGE'))
)
"""


def is_superuser(connection: psycopg2.extensions.connection) -> bool:
    [(answer,)] = query(connection, _IS_SUPERUSER)
    return bool(answer)


def missing_grants(connection: psycopg2.extensions.connection, database: str, user: str, major: int) -> t.Iterator[GrantMissing]:
    """Yield an error for each kind of thing that the user may not read. The connection is one to the database."""
    quoted = quote_identifier(user)
    relations = _names(connection, _UNREADABLE)
    if relations:
        schemas = list(dict.fromkeys(schema for schema, _name in relations))
        yield GrantMissing(
            f"{user} may not read {_listed([name for _schema, name in relations])} of the database {database}.",
            f"As a superuser in that database: {_grant(quoted, schemas, major)}",
        )
    hidden = _names(connection, _HIDDEN_ROWS)
    if hidden:
        yield GrantMissing(
            f"Policies (row-level security) hide rows of {_listed([name for _schema, name in hidden])} of the database "
            f"{database} from {user}, and pg_dump refuses such tables.",
            f"As a superuser: ALTER ROLE {quoted} BYPASSRLS;",
        )
    [(objects,)] = query(connection, _UNREADABLE_OBJECTS)
    if objects:
        grant = f"'GRANT SELECT ON LARGE OBJECT %s TO %I', oid, '{user.replace(chr(39), chr(39) * 2)}'"
        yield GrantMissing(
            f"{user} may not read {objects} large objects of the database {database}.",
            f"As a superuser in that database, in psql: SELECT format({grant}) FROM pg_largeobject_metadata \\gexec",
        )


def passwords_unreadable(user: str, database: str) -> GrantMissing:
    """Return the error for a backup of globals that lacks the digests of passwords. ``database`` is the one to connect to."""
    return GrantMissing(
        f"The backup of the globals is without the roles' password digests: {user} may not read pg_authid.",
        f"As a superuser in the database {database}: GRANT SELECT ON pg_catalog.pg_authid TO {quote_identifier(user)};",
    )


def _names(connection: psycopg2.extensions.connection, sql: str) -> list[tuple[str, str]]:
    """Return schemas and names, quoted for SQL: as Python has the arguments of programs."""
    rows = query_bytes(connection, 2, sql)
    return [tuple((text or b"").decode("utf-8", "surrogateescape") for text in row) for row in rows]  # type: ignore[misc]


def _listed(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _grant(user: str, schemas: list[str], major: int) -> str:
    if major >= _READS_ALL_SINCE:
        return f"GRANT pg_read_all_data TO {user};"
    listed = ", ".join(schemas)
    return (
        f"GRANT USAGE ON SCHEMA {listed} TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA {listed} TO {user}; "
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {listed} TO {user};"
    )
