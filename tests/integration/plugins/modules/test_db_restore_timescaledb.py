"""db_restore of a database with TimescaleDB.

The extension of these tests is a small one with that name, made of SQL alone: like the real one, it lets content into its own
tables only between the calls of its two functions.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, Site, database_on
from ansible_collections.lastgood.database.tests.support.restores import as_it_was, nothing_else_left, restore
from tools.throwaway_postgresql import Server, installation

CONTROL = "default_version = '2.0'\nrelocatable = false\n"
SCRIPT = """
create schema _timescaledb_catalog;
create table _timescaledb_catalog.hypertable (name text);
select pg_extension_config_dump('_timescaledb_catalog.hypertable', '');
create function _timescaledb_catalog.guard() returns trigger language plpgsql as $$ begin
    if coalesce(current_setting('timescaledb.restoring', true), '') <> 'on' then raise 'the catalog takes no backup now'; end if;
    return new; end $$;
create trigger guard before insert on _timescaledb_catalog.hypertable for each row execute function _timescaledb_catalog.guard();
create function @extschema@.timescaledb_pre_restore() returns bool language plpgsql as $$ begin
    execute format('alter database %I set timescaledb.restoring = ''on''', current_database()); return true; end $$;
create function @extschema@.timescaledb_post_restore() returns bool language plpgsql as $$ begin
    if exists (select from pg_catalog.pg_class where relname = 'refuse') then raise 'out of luck'; end if;
    execute format('alter database %I reset timescaledb.restoring', current_database()); return true; end $$;
"""
SETTINGS = "select count(*) from pg_db_role_setting where setconfig::text ~ 'timescaledb'"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="ext-") as folder:
        extensions = Path(folder) / "extension"
        extensions.mkdir()
        (extensions / "timescaledb.control").write_text(CONTROL)
        (extensions / "timescaledb--2.0.sql").write_text(SCRIPT)
        for path in (extensions, extensions.parent):
            path.chmod(0o755)
        with Server.start(installation(VERSIONS[-1]), settings={"extension_control_path": f"$system:{folder}"}) as server:
            yield server


@pytest.fixture
def site(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    schema = getattr(request, "param", "public")
    sql = f"""create schema if not exists {schema}; create extension timescaledb schema {schema};
        set timescaledb.restoring = 'on'; insert into _timescaledb_catalog.hypertable values ('metrics');
        create table metrics as select n from generate_series(1, 100) n"""
    with database_on(server, sql=sql) as database:
        yield Site(server, database, tmp_path / "backups")


@pytest.mark.parametrize(("site", "form"), [("public", "custom"), ("public", "plain"), ("ts", "custom")], indirect=["site"])
def test_its_own_tables_come_back(site: Site, form: str) -> None:
    site.back_up(format=form)
    site.sql("drop table metrics")
    with nothing_else_left(site):
        assert restore(site, if_exists="replace").changed
    assert site.sql("select name, count(*) from _timescaledb_catalog.hypertable, metrics group by 1") == "metrics|100"
    assert site.server.psql(SETTINGS) == "0"


@pytest.mark.parametrize("site", ["ts"], indirect=True)
def test_a_plain_dump_with_it_in_another_schema_is_refused(site: Site) -> None:
    site.back_up(format="plain")
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
    assert outcome.error_code == "extension_unavailable"
    assert "in the schema ts" in outcome.msg


def test_where_it_refuses_to_go_on_nothing_is_replaced(site: Site) -> None:
    site.sql("create table refuse ()")
    site.back_up()
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
    assert outcome.error_code == "query_failed"
    assert "out of luck" in outcome.msg
