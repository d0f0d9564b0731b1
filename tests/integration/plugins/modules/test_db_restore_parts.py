"""restore_only of db_restore: schemas and tables of an archive, with what belongs to them and what they need."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome
from ansible_collections.lastgood.database.tests.support.observe import payload
from ansible_collections.lastgood.database.tests.support.postgresql import Site, drop, every_version
from ansible_collections.lastgood.database.tests.support.restores import as_it_was, held, nothing_else_left, restore

CONTENT = """
create role reader;
create schema app; create schema lib; create schema "DATA"; create schema empty; grant usage on schema app to reader;
create type lib.mood as enum ('well', 'ill');
create domain lib.email as text check (value like '%@%');
create function lib.twice(int) returns int language sql immutable as 'select 2 * $1';
create function lib.stay() returns trigger language plpgsql as 'begin return new; end';
create table app.customer (
    id serial primary key, mood lib.mood, mail lib.email, number int default lib.twice(3));
insert into app.customer (mood, mail) values ('well', 'a@b.c'), ('ill', 'd@e.f');
create table app.orders (
    id int generated always as identity primary key, customer int references app.customer, x int check (lib.twice(x) > 0));
insert into app.orders (customer, x) values (1, 10), (1, 20), (2, 30);
create index by_twice on app.orders (lib.twice(x));
create trigger stays before insert on app.orders for each row execute function lib.stay();
alter table app.orders enable row level security;
create policy own on app.orders using (x > 0);
create policy known on app.orders using (exists (select from app.customer));
create statistics app.both on id, x from app.orders;
create view app.big as select * from app.orders where x > 10;
create materialized view app.sums as select sum(x) from app.orders;
grant select on app.orders to reader; grant select (id) on app.customer to reader;
comment on column app.orders.x is 'the comment';
create table part (k int, v text) partition by range (k);
create table part_low partition of part for values from (0) to (10) partition by range (k);
create table part_low_1 partition of part_low for values from (0) to (5);
create table part_high partition of part for values from (10) to (20);
create index on part (k); insert into part values (1, 'low'), (11, 'high');
create table base (z int); create table child (y int) inherits (base);
insert into base values (1); insert into child values (2, 3);
create table "DATA"."odd" (a int); create table "DATA"."odd one" (a int); insert into "DATA"."odd one" values (4);
create table "DATA"."with.dot" as select 6 as a; create table app.odd (a int);
create table "DATA".apart as select lib.twice(1) as n; create index apart_index on "DATA".apart (lib.twice(n));
select lo_from_bytea(0, 'a');
"""


@pytest.fixture
def full(site: Site) -> Iterator[Site]:
    """A database whose tables need each other, and its backup."""
    with nothing_else_left(site):
        try:
            site.sql(CONTENT)
            yield site
        finally:
            drop(site.server, "copy")
            drop(site.server, site.database)
            site.server.psql("drop role if exists reader")


def restore_parts(site: Site, *, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
    parts = {one: over.pop(one) for one in ("schemas", "tables") if one in over}
    return restore(
        site, check=check, diff=diff, **{"database": "copy", "source_database": site.database, "restore_only": parts, **over}
    )


def relations(site: Site) -> set[str]:
    """Return all tables, views, sequences and indexes of the copy that are not the server's own."""
    sql = """select c.oid::regclass from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname !~ '^pg_|^information_schema'"""
    return set(site._replace(database="copy").sql(f"set search_path = ''; {sql}").splitlines()) - {"SET"}


@every_version
def test_a_table_comes_with_what_belongs_to_it_and_what_it_needs(full: Site) -> None:
    full.back_up()
    outcome = restore_parts(full, tables=["app.orders"])
    assert outcome.changed, outcome.msg
    copy = full._replace(database="copy")
    assert relations(full) == {"app.orders", "app.orders_id_seq", "app.orders_pkey", "app.by_twice"}
    assert copy.sql("insert into app.orders (x) values (40) returning id, x").splitlines()[0] == "4|40"
    assert copy.sql("select count(*) from app.orders") == "4"
    assert copy.sql("select string_agg(polname, ' ') from pg_policy") == "own"
    assert copy.sql("select relrowsecurity from pg_class where relname = 'orders'") == "t"
    assert copy.sql("select stxname from pg_statistic_ext") == "both"
    assert copy.sql("select tgname from pg_trigger where not tgisinternal") == "stays"
    assert copy.sql("select conname from pg_constraint where contype in ('c', 'f') and conrelid <> 0") == "orders_x_check"
    assert copy.sql("select has_table_privilege('reader', 'app.orders', 'select')") == "t"
    assert copy.sql("select has_schema_privilege('reader', 'app', 'usage')") == "t"
    assert copy.sql("select col_description('app.orders'::regclass, 3)") == "the comment"
    assert copy.sql("select count(*) from pg_type where typname in ('mood', 'email')") == "0"
    [lost] = [warning for warning in outcome.warnings if warning.startswith("Not restored")]
    assert "FK CONSTRAINT app orders orders_customer_fkey" in lost and "POLICY app orders known" in lost
    assert any("large objects" in warning for warning in outcome.warnings)


def test_types_sequences_and_extensions_come_with_the_tables_that_need_them(full: Site) -> None:
    full.back_up()
    outcome = restore_parts(full, tables=["app.customer", "app.orders", "child"])
    copy = full._replace(database="copy")
    assert outcome.changed, outcome.msg
    assert copy.sql("insert into app.customer (mood) values ('ill') returning id, number").splitlines()[0] == "3|6"
    assert copy.sql("select count(*) from pg_constraint where contype = 'f'") == "1"
    assert copy.sql("select count(*), count(y) from base left join child using (z)") == "1|1"  # the parent is there for its child
    assert copy.sql("select count(*) from only base") == "0"
    assert [warning for warning in outcome.warnings if "without rows" in warning and "TABLE public base" in warning]


def test_a_table_comes_with_its_partitions_and_a_partition_with_its_empty_parent(full: Site) -> None:
    full.back_up()
    assert restore_parts(full, tables=["public.part"]).changed
    copy = full._replace(database="copy")
    assert copy.sql("select v from part order by k").split() == ["low", "high"]
    assert copy.sql("select count(*) from pg_inherits") == "6"  # of tables and of their indexes
    drop(full.server, "copy")
    assert restore_parts(full, tables=["part_high"]).changed
    assert copy.sql("select v from part") == "high"


def test_a_schema_comes_whole_and_with_what_it_needs(full: Site) -> None:
    full.back_up()
    assert restore_parts(full, schemas=["app", "empty"]).changed
    copy = full._replace(database="copy")
    for query in ("select count(*) from app.big", "select * from app.sums", "select count(*), sum(id) from app.customer"):
        assert copy.sql(query) == full.sql(query)
    schemas = "select string_agg(nspname, ' ' order by nspname) from pg_namespace where nspname !~ '^pg_|^information_schema'"
    assert copy.sql(schemas) == "app empty lib public"
    assert copy.sql("select to_regproc('lib.stay') is not null and to_regclass('part') is null") == "t"


def test_names_are_compared_exactly(full: Site) -> None:
    full.back_up()
    assert restore_parts(full, tables=["DATA.odd one", "DATA.with.dot", "app.odd"]).changed
    assert relations(full) == {'"DATA"."odd one"', '"DATA"."with.dot"', "app.odd"}
    copy = full._replace(database="copy")
    assert copy.sql('select a from "DATA"."odd one" union select a from "DATA"."with.dot" order by 1').split() == ["4", "6"]
    ambiguous = restore_parts(full, tables=["odd"], database="copy2")
    assert ambiguous.error_code == "argument_invalid"
    assert "TABLE DATA odd" in ambiguous.msg and "TABLE app odd" in ambiguous.msg


def test_what_the_backup_does_not_have_is_listed_and_nothing_is_made(full: Site) -> None:
    full.back_up()
    with as_it_was(full):
        outcome = restore_parts(full, schemas=["nowhere", "app"], tables=["app.order", "od*", "public.orders"])
        assert outcome.error_code == "parts_missing"
        assert outcome.result["error"]["missing"] == ["schema nowhere", "table app.order", "table od*", "table public.orders"]


def test_a_type_that_a_partial_backup_lacks_is_named_and_nothing_is_made(full: Site) -> None:
    full.back_up(extra_args=["--schema=app"])
    with as_it_was(full):
        outcome = restore_parts(full, tables=["app.customer"], backup=payload(full.directory).name)
        assert outcome.error_code == "program_failed"
        assert 'schema "lib" does not exist' in outcome.msg  # of the type lib.mood
        assert "from a whole one" in outcome.msg


def test_it_never_replaces_a_database(full: Site) -> None:
    full.back_up()
    with as_it_was(full):
        for check in (True, False):
            replacing = restore_parts(full, tables=["app.orders"], if_exists="replace", check=check)
            assert replacing.error_code == "argument_invalid"
            assert "replace" in replacing.msg
            existing = restore_parts(full, tables=["app.orders"], database=full.database, check=check)
            assert existing.error_code == "database_exists"
        planned = restore_parts(full, tables=["app.orders"], schemas=["lib"], check=True, diff=True)
        assert "only the schema lib, the table app.orders" in planned.result["diff"]["after"]


def test_only_archives_have_parts(full: Site) -> None:
    full.back_up(format="plain")
    with as_it_was(full):
        for check in (True, False):
            outcome = restore_parts(full, tables=["app.orders"], check=check)
            assert outcome.error_code == "argument_invalid"
            assert "plain dump" in outcome.msg


def test_a_database_that_comes_into_being_meanwhile_is_not_replaced(full: Site, tmp_path: Path) -> None:
    full.back_up()
    each: dict[str, dict[str, Any]] = {"part": {"restore_only": {"tables": ["app.orders"]}}, "whole": {}}
    for name, over in each.items():
        with held(full, tmp_path / name, database="copy", source_database=full.database, **over) as (process, impostor):
            full.server.psql("create database copy")
            impostor.say("go")
            assert process.wait().error_code == "database_exists"
        assert full._replace(database="copy").sql("select to_regclass('app.orders') is null") == "t"
        drop(full.server, "copy")
