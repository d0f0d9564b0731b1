"""db_restore where names, comments and settings are in another encoding than the database that the module connects to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, Site, database_on, drop, login
from ansible_collections.lastgood.database.tests.support.restores import restore
from tools.throwaway_postgresql import Server, installation

# All that belongs to the database itself, as bytes: what a session on a database of any encoding would print.
PROPERTIES = """
select encode(convert_to(coalesce(shobj_description(d.oid, 'pg_database'), ''), 'SQL_ASCII'), 'hex') from pg_database d
where datname = 'umlaut'
union all select encode(convert_to(rolname, 'SQL_ASCII'), 'hex') from pg_roles r join pg_database d on d.datdba = r.oid
where datname = 'umlaut'
union all select encode(convert_to(array_to_string(setconfig, ';'), 'SQL_ASCII'), 'hex') from pg_db_role_setting s
join pg_database d on d.oid = setdatabase where datname = 'umlaut'
union all select encode(convert_to(datacl::text, 'SQL_ASCII'), 'hex') from pg_database where datname = 'umlaut'
"""


@pytest.fixture(scope="module")
def mixed() -> Iterator[Server]:
    """A server of its own: a role whose name is in LATIN1 is in the way of other tests."""
    with Server.start(installation(VERSIONS[-1])) as server:
        yield server


@pytest.fixture(params=["LATIN1", "EUC_JP", "SQL_ASCII"])
def site(request: pytest.FixtureRequest, mixed: Server, tmp_path: Path) -> Iterator[Site]:
    """A database of another encoding that has it everywhere: in its comment, its settings, its owner and its grants."""
    mixed.psql(f"create database umlaut encoding '{request.param}' template template0 locale 'C'")
    word = "\u65e5\u672c" if request.param == "EUC_JP" else "j\u00fcrgen"
    site = Site(mixed, "umlaut", tmp_path / "backups")
    encoding = "set client_encoding = 'UTF8';" if request.param != "SQL_ASCII" else ""
    site.sql(
        f"""
        {encoding} create table t as select 1 as n;
        create role "{word}"; create role "{word} reads"; alter table t owner to "{word}"; grant select on t to "{word} reads";
        alter database umlaut owner to "{word}"; comment on database umlaut is 'f\u00fcr {word}';
        alter database umlaut set application_name to '{word}'; grant connect on database umlaut to "{word} reads";
        """.replace("f\u00fcr ", "" if request.param == "EUC_JP" else "f\u00fcr ")
    )
    try:
        yield site
    finally:
        with database_on(mixed, "cleaner", "select 1"):
            site.sql(f"{encoding} alter table t owner to postgres; alter database umlaut owner to postgres")
            site.sql(f'{encoding} drop owned by "{word} reads"')
            site.sql(f'{encoding} drop role "{word} reads"; drop role "{word}"')
        drop(mixed, "umlaut")


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_what_belongs_to_a_database_of_another_encoding_comes_back_byte_for_byte(site: Site, form: str) -> None:
    before = site.sql(PROPERTIES)
    site.back_up(format=form)
    site.sql("update t set n = 2")
    outcome = restore(site, if_exists="replace")
    assert outcome.changed
    assert site.sql("select n from t") == "1"
    assert len(outcome.warnings) == (form == "plain")
    assert site.sql(PROPERTIES) == before


def test_a_role_whose_name_is_in_another_encoding_keeps_no_other_database_from_being_restored(site: Site) -> None:
    with database_on(site.server) as other:
        site.back_up(databases=[other])
        assert restore(site, database=other, if_exists="replace").changed


def test_roles_that_are_missing_are_named_in_their_own_encoding(site: Site) -> None:
    site.back_up()
    with Server.start(site.server.installation) as other:
        outcome = restore(site, **login(other))
        assert outcome.error_code == "roles_missing"
        assert len(outcome.result["error"]["roles"]) == 2


def test_a_database_in_sql_ascii_is_one_to_connect_to(server: Server, tmp_path: Path) -> None:
    server.psql("create database ascii encoding 'SQL_ASCII' template template0 locale 'C'")
    try:
        with database_on(server, "b\u00fccher") as database:
            site = Site(server, database, tmp_path / "backups")
            site.back_up(login_db="ascii")
            for over in ({"if_exists": "replace"}, {"if_exists": "replace", "terminate_sessions": True}):
                assert restore(site, login_db="ascii", **over).changed
    finally:
        drop(server, "ascii")
