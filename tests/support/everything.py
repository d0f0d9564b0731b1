"""A database with one object of each kind, and the comparison of two such databases.

with roles_on(server), database_on(server, sql=everything(server)) as source:
    ...                     # back it up, restore it into another database
    assert likeness(server, other) == likeness(server, source)
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.throwaway_postgresql import Server

_ROLES = ('"o\'owner"', "reader")
_SQL = Path(__file__).with_name("everything.sql")

# Objects of newer versions.
_SINCE = {
    16: "create table shop.squeezed (body text storage main); insert into shop.squeezed values ('one')",
    17: """create table shop.numbered (id int generated always as identity, at int) partition by range (at);
        create table shop.numbered_low partition of shop.numbered for values from (minvalue) to (10);
        insert into shop.numbered (at) values (1), (2)""",
    18: """create table shop.room (id int4range, held int4range, price int, twice int generated always as (price * 2) virtual,
        constraint known not null price no inherit, primary key (id, held without overlaps));
        insert into shop.room values ('[1,2)', '[3,9)', 21)""",
}
# Objects of extensions. Some installations lack some extensions.
_EXTENSIONS = {
    "vector": """create table shop.v (at vector(3)); insert into shop.v values ('[1,2.5,-3]');
        create index on shop.v using hnsw (at vector_l2_ops)""",
    "hstore": """create table shop.h (pairs hstore); insert into shop.h values ('a=>"it''s", b=>NULL')""",
    "citext": "create table shop.c (email citext unique); insert into shop.c values ('A@b')",
    "ltree": "create table shop.l (path ltree); insert into shop.l values ('top.sub_1')",
    "pg_trgm": "create index on shop.customer using gin (email gin_trgm_ops)",
}

_CONTENT = """
set search_path to pg_catalog;
select format(case relkind when 'S' then 'select %L, last_value, is_called from %s' else
    'select %L, count(*), md5(string_agg(row, '','' order by row)) from (select md5((whole.*)::text) as row from only %s whole) t'
    end, oid::regclass, oid::regclass)
from pg_class where relkind in ('r', 'm', 'S') and relispopulated
    and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
order by oid::regclass::text \\gexec
select 'large object ' || oid, length(lo_get(oid)), md5(lo_get(oid)) from pg_largeobject_metadata order by oid;
"""


class Likeness(NamedTuple):
    """The schema and the content of a database, equal for equal databases.

    ``content`` has a line for each table (how many rows, and a digest of them in any order), sequence and large object.
    """

    schema: list[str]
    content: list[str]


def everything(server: Server, *others: Server) -> str:
    """Return the SQL of the database, as far as a server of that version can, with extensions that all of these have."""
    names = (set(one.psql("select name from pg_available_extensions").splitlines()) for one in (server, *others))
    there = set.intersection(*names)
    newer = [sql for major, sql in _SINCE.items() if server.major >= major]
    extensions = [f"create extension {name} schema public; {sql}" for name, sql in _EXTENSIONS.items() if name in there]
    return ";\n".join([_SQL.read_text(encoding="utf-8"), "set search_path to public", *newer, *extensions])


@contextlib.contextmanager
def roles_on(server: Server) -> Iterator[None]:
    """Make the roles that own things, and drop them in the end. Drop the databases before that."""
    for role in _ROLES:
        server.psql(f"create role {role}")
    try:
        yield
    finally:
        for role in _ROLES:
            server.psql(f"drop role {role}")


def likeness(server: Server, database: str) -> Likeness:
    """Return the schema and content of a database, less what differs between equal databases."""
    schema = server.run("pg_dump", "--schema-only", database=database).stdout
    schema = re.sub(r"^\\(?:un)?restrict .*\n", "", schema, flags=re.MULTILINE)
    return Likeness(schema.splitlines(), server.psql(_CONTENT, database).splitlines())
