"""What belongs to a database itself, from the server's catalogs: for a dump that does not say it.

Nobody connects to the database for that, which may allow no connections, or be too broken for any program.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import query
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.inside import query_bytes
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.properties import Properties
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import (
    codec_of,
    quote_identifier,
    quote_literal,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

# Their values are lists of names, stored with the quotes that a name needs.
_LISTS = ("local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces")
_IN_LIST = re.compile(r'"((?:[^"]|"")*)"|([^,\s]+)')

_TRUE = "true"  # as a text, which the catalog's answers are

_ENCODING = "SELECT pg_encoding_to_char(encoding) FROM pg_catalog.pg_database WHERE datname = %s"
_DATABASE = """
SELECT d.oid, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, pg_get_userbyid(d.datdba), s.spcname, d.datconnlimit,
    d.datistemplate, shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL, {locale}
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace s ON s.oid = d.dattablespace WHERE d.datname = %s
"""
# The owner's grants come first: those of the others rest on them.
_GRANTS = """
SELECT CASE a.grantor WHEN d.datdba THEN NULL ELSE pg_get_userbyid(a.grantor) END,
    CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
FROM pg_catalog.pg_database d, aclexplode(d.datacl) a WHERE d.oid = %s ORDER BY a.grantor <> d.datdba
"""
_SETTINGS = """
SELECT r.rolname, one FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,
    unnest(s.setconfig) AS one WHERE s.setdatabase = %s ORDER BY 1 NULLS FIRST
"""
_LABELS = (
    "SELECT provider, label FROM pg_catalog.pg_shseclabel WHERE objoid = %s AND classoid = 'pg_catalog.pg_database'::regclass"
)


def properties_of(connection: psycopg2.extensions.connection, database: str) -> Properties:
    """Return the properties of a database of the server."""
    [(encoding,)] = query(connection, _ENCODING, database)
    properties = Properties()
    properties.encoding = encoding
    for statement in _statements(_Catalog(connection, codec_of(encoding)), database):
        properties.take(statement)
    return properties


@dataclass(frozen=True)
class _Catalog:
    """Asks for texts in the encoding of the database that they are about, which can be another one than the session's."""

    connection: psycopg2.extensions.connection
    codec: str

    def rows(self, columns: int, sql: str, *values: t.Any) -> list[list[t.Any]]:
        rows = query_bytes(self.connection, columns, sql, *values)
        return [[None if text is None else text.decode(self.codec, "surrogateescape") for text in row] for row in rows]


def _statements(catalog: _Catalog, database: str) -> t.Iterator[str]:
    """Yield the statements that make such a database, as pg_dump would write them."""
    [row] = catalog.rows(13, _DATABASE.format(locale=_locale_columns(catalog.connection)), database)
    oid, encoding, collate, ctype, owner, tablespace, limit, is_template, comment, has_grants, *locale = row
    name = quote_identifier(database)
    options = [f"ENCODING = {quote_literal(encoding)}", *_locale_options(*locale)]
    options += [f"LC_COLLATE = {quote_literal(collate)}", f"LC_CTYPE = {quote_literal(ctype)}"]
    options += [] if tablespace == "pg_default" else [f"TABLESPACE = {quote_identifier(tablespace)}"]
    yield f"CREATE DATABASE {name} WITH TEMPLATE = template0 {' '.join(options)}"
    yield f"ALTER DATABASE {name} OWNER TO {quote_identifier(owner)}"
    if int(limit) >= 0:
        yield f"ALTER DATABASE {name} CONNECTION LIMIT = {limit}"
    if is_template == _TRUE:
        yield f"ALTER DATABASE {name} IS_TEMPLATE = true"
    if has_grants == _TRUE:
        yield f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
        yield f"REVOKE ALL ON DATABASE {name} FROM {quote_identifier(owner)}"
        for grantor, grantee, privilege, grantable in catalog.rows(4, _GRANTS, oid):
            yield from _grant(name, grantor, grantee, f"{privilege} ON DATABASE", grantable == _TRUE)
    for role, setting in catalog.rows(2, _SETTINGS, oid):
        of = f"ALTER DATABASE {name}" if role is None else f"ALTER ROLE {quote_identifier(role)} IN DATABASE {name}"
        yield f"{of} SET {_assignment(setting)}"
    if comment is not None:
        yield f"COMMENT ON DATABASE {name} IS {quote_literal(comment)}"
    for provider, label in catalog.rows(2, _LABELS, oid):
        yield f"SECURITY LABEL FOR {quote_identifier(provider)} ON DATABASE {name} IS {quote_literal(label)}"


def _locale_columns(connection: psycopg2.extensions.connection) -> str:
    if connection.server_version < 150000:
        return "'c', NULL, NULL"
    locale = "d.datlocale" if connection.server_version >= 170000 else "d.daticulocale"
    rules = "d.daticurules" if connection.server_version >= 160000 else "NULL"
    return f"d.datlocprovider, {locale}, {rules}"


def _locale_options(provider: str, locale: str | None, rules: str | None) -> list[str]:
    if provider == "c" or locale is None:
        return []
    kind = {"i": "ICU", "b": "BUILTIN"}[provider]
    options = [f"LOCALE_PROVIDER = {kind.lower()}", f"{kind}_LOCALE = {quote_literal(locale)}"]
    return options if rules is None else [*options, f"ICU_RULES = {quote_literal(rules)}"]


def _grant(name: str, grantor: str | None, grantee: str | None, what: str, grantable: bool) -> t.Iterator[str]:
    to = "PUBLIC" if grantee is None else quote_identifier(grantee)
    statement = f"GRANT {what} {name} TO {to}{' WITH GRANT OPTION' if grantable else ''}"
    if grantor is None:
        yield statement
        return
    yield f"SET SESSION AUTHORIZATION {quote_identifier(grantor)}"
    yield statement
    yield "RESET SESSION AUTHORIZATION"


def _assignment(setting: str) -> str:
    name, _sign, value = setting.partition("=")
    values = [value]
    if name in _LISTS:
        values = [match[2] or match[1].replace('""', '"') for match in _IN_LIST.finditer(value)]
    variable = ".".join(map(quote_identifier, name.split(".")))
    return f"{variable} TO {', '.join(map(quote_literal, values))}"
