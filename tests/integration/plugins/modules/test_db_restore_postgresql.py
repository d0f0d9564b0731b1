"""db_restore to real PostgreSQL servers: what comes back, and what a restore that goes wrong leaves."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.lastgood.database.tests.support.everything import everything, likeness, roles_on
from ansible_collections.lastgood.database.tests.support.impostor import Impostor
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    manifest_path,
    payload,
    payloads,
    rewrite_manifest,
    runs,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.places import common_disk, only_root
from ansible_collections.lastgood.database.tests.support.postgresql import (
    CONTENT,
    PASSWORD,
    VERSIONS,
    Site,
    database_on,
    drop,
    dump_of,
    every_version,
    login,
    restore_plain,
)
from ansible_collections.lastgood.database.tests.support.postgresql import restore as restore_archive
from ansible_collections.lastgood.database.tests.support.restores import (
    as_it_was,
    connected,
    databases,
    held,
    nothing_else_left,
    oid_of,
    remains,
    restore,
    restoring,
)
from tools.throwaway_postgresql import Server, installation

COMPRESSIONS = ["gzip", "zstd", "none"]


@pytest.fixture(autouse=True)
def nothing_else(request: pytest.FixtureRequest) -> Iterator[None]:
    with nothing_else_left(request.getfixturevalue("site")) if "site" in request.fixturenames else contextlib.nullcontext():
        yield


# --- There and back -------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_what_was_backed_up_comes_back(site: Site, form: str, compression: str) -> None:
    site.sql(CONTENT)
    before = dump_of(site.server, site.database)
    site.back_up(format=form, compression=compression)
    site.sql("drop table item cascade; update t set n = 99")
    outcome = restore(site, if_exists="replace")
    assert outcome.changed
    assert outcome.result["restored"]["filename"] == payload(site.directory).name
    assert outcome.result["previous"] is None
    assert dump_of(site.server, site.database) == before


@every_version
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_everything_that_a_database_can_hold_comes_back(server: Server, tmp_path: Path, form: str) -> None:
    with roles_on(server), database_on(server, sql=everything(server)) as source:
        site = Site(server, source, tmp_path / "backups")
        site.back_up(format=form)
        try:
            assert restore(site, database="copy", source_database=source).changed
            assert likeness(server, "copy") == likeness(server, source)
        finally:
            drop(server, "copy")


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("server, newer", list(zip(VERSIONS, VERSIONS[1:])), indirect=["server"])
def test_everything_comes_back_in_a_newer_server(
    server: Server, servers: Callable[[int], Server], tmp_path: Path, form: str, newer: int
) -> None:
    target = servers(newer)
    with roles_on(server), roles_on(target), database_on(server, sql=everything(server, target)) as source:
        site = Site(server, source, tmp_path / "backups")
        site.back_up(format=form)
        by_hand = restore_archive if form == "custom" else restore_plain
        try:
            assert restore(site._replace(server=target), database="copy", source_database=source).changed
            ours = likeness(target, "copy")
            assert ours.content == likeness(server, source).content
            # A newer server writes views in other words.
            target.create_database("copy_by_hand")
            by_hand(target, payload(site.directory), into="copy_by_hand")
            assert ours.schema == likeness(target, "copy_by_hand").schema
        finally:
            drop(target, "copy")
            drop(target, "copy_by_hand")


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("server, newer", list(zip(VERSIONS, VERSIONS[1:])), indirect=["server"])
def test_it_goes_back_into_a_newer_server(site: Site, servers: Callable[[int], Server], form: str, newer: int) -> None:
    site.sql(CONTENT)
    site.back_up(format=form)
    other = site._replace(server=servers(newer), database="copy")
    outcome = restore(other, source_database=site.database)
    try:
        assert outcome.changed
        assert other.sql("select count(*), sum(id), max(at) from item") == site.sql("select count(*), sum(id), max(at) from item")
    finally:
        drop(other.server, "copy")


@pytest.mark.parametrize("server", VERSIONS[:1], indirect=True)
def test_a_server_older_than_the_dump_is_refused_before_the_start(site: Site, servers: Callable[[int], Server]) -> None:
    newer = site._replace(server=servers(VERSIONS[-1]), database="postgres")
    newer.back_up(format="plain")
    with as_it_was(site):
        for check in (True, False):
            outcome = restore(site, source_database="postgres", if_exists="replace", check=check)
            assert outcome.error_code == "server_too_old"
            assert f"version {VERSIONS[-1]}" in outcome.msg


PROPERTIES = """
create role keeper; create role "odd ""role;";
alter database {0} owner to keeper; alter database {0} connection limit 33;
alter database {0} set work_mem to '7MB'; alter database {0} set search_path to 'a;b', 'x''y';
alter role "odd ""role;" in database {0} set work_mem to '9MB';
comment on database {0} is 'it''s; \\ "quoted" on two
lines';
revoke connect on database {0} from public; grant connect on database {0} to "odd ""role;" with grant option;
set session authorization "odd ""role;"; grant connect on database {0} to keeper; reset session authorization;
"""


@every_version
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_what_belongs_to_the_database_itself_comes_along(site: Site, form: str) -> None:
    site.server.psql(PROPERTIES.format(site.database))
    try:
        before = site.server.run("pg_dump", "--create", "--schema-only", database=site.database).stdout
        settings = "select setrole::regrole, setconfig from pg_db_role_setting s join pg_database d on d.oid = setdatabase"
        seen = site.server.psql(f"{settings} where datname = '{site.database}' order by 1")
        site.back_up(format=form)
        outcome = restore(site, if_exists="replace")
        assert outcome.changed
        assert [("plain dump" in warning) for warning in outcome.warnings] == [True] * (form == "plain")
        after = site.server.run("pg_dump", "--create", "--schema-only", database=site.database).stdout
        assert strip(after) == strip(before)
        assert site.server.psql(f"{settings} where datname = '{site.database}' order by 1") == seen
    finally:
        drop(site.server, site.database)
        site.server.psql('drop role keeper; drop role "odd ""role;"')


def strip(dump: str) -> str:
    return "\n".join(line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("state", ["closed", "broken"])
def test_a_database_that_nobody_can_connect_to_or_dump_is_replaced(site: Site, form: str, state: str) -> None:
    site.server.psql(f"alter database {site.database} set work_mem to '7MB'")
    site.back_up(format=form)
    if state == "closed":
        site.server.psql(f"alter database {site.database} allow_connections false")
    else:
        site.sql("delete from pg_namespace where nspname = 'public'")
    assert restore(site, if_exists="replace").changed
    assert site.sql("select n from t; show work_mem").split() == ["1", "7MB"]


def test_encoding_and_locale_are_the_archives(site: Site) -> None:
    drop(site.server, site.database)
    site.server.psql(f"create database {site.database} template template0 encoding 'LATIN1' locale 'C'")
    site.sql("create table t as select 'caf\u00e9'::text as n")
    site.back_up()
    drop(site.server, site.database)
    assert restore(site).changed
    facts = "select pg_encoding_to_char(encoding), datcollate from pg_database where datname = "
    assert site.server.psql(f"{facts}'{site.database}'") == "LATIN1|C"
    assert site.sql("select n from t") == "caf\u00e9"


@pytest.mark.parametrize("server", VERSIONS[:1], indirect=True)
def test_a_locale_of_icu_is_the_archives(server: Server, tmp_path: Path) -> None:
    server.psql("create database copy_icu template template0 locale_provider icu icu_locale 'de-AT' locale 'C'")
    try:
        site = Site(server, "copy_icu", tmp_path / "backups")
        site.back_up()
        assert restore(site, if_exists="replace").changed
        found = server.psql("select datlocprovider, daticulocale from pg_database where datname = 'copy_icu'")
        assert found == "i|de-AT"
    finally:
        drop(server, "copy_icu")


def test_a_plain_dump_without_a_database_to_replace_says_what_it_lacks(site: Site) -> None:
    site.back_up(format="plain")
    outcome = restore(site, database="copy", source_database=site.database)
    assert outcome.changed
    assert any("defaults" in warning for warning in outcome.warnings)
    with pytest.raises(Exception, match="permission denied"), connected(site, "copy") as connection:
        connection.cursor().execute("set role pg_monitor; select * from t")


HOSTILE_NAMES = [
    "two words",
    "single ' quote",
    'double " quote',
    "../../../../tmp/up",
    "-dash",
    "dbname=postgres host=/nonexistent",
    "postgres://postgres@nowhere/postgres",
    "$(touch x)",
    "back\\slash\\",
    "%s %(x)s",
    "\u00e9" * 31 + "x",  # 63 bytes
    "app_restoring_20260101t000000z",
]


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_names_are_data_and_nothing_else(server: Server, tmp_path: Path, form: str) -> None:
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(HOSTILE_NAMES):
            stack.enter_context(database_on(server, name, f"create table t as select {number} as n"))
        outcome = run_module(
            "db_backup", directory=str(tmp_path), databases=HOSTILE_NAMES, format=form, compression="none", **login(server)
        )
        assert outcome.changed
        before = databases(server)
        for number, name in enumerate(HOSTILE_NAMES):
            server.psql("update t set n = -1", name)
            restored = run_module("db_restore", directory=str(tmp_path), database=name, if_exists="replace", **login(server))
            assert restored.changed, name
            assert server.psql("select n from t", name) == str(number), name
        assert databases(server) == before
        refused = run_module(
            "db_restore", directory=str(tmp_path), backup=payloads(tmp_path)[0].name, database="new\nline", **login(server)
        )
        assert refused.error_code == "name_refused"


@pytest.mark.parametrize("over, jobs", [({"jobs": 3}, 3), ({}, 2)], ids=["three", "by default"])
def test_as_many_jobs_fill_it_as_asked_for(site: Site, tmp_path: Path, over: dict[str, Any], jobs: int) -> None:
    site.sql(CONTENT)
    before = dump_of(site.server, site.database)
    site.back_up()
    record = 'if any(one.startswith("--dbname") for one in arguments):\n    note("argv", "\\n".join(arguments))\ngo_on()'
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, record, program="pg_restore")
    assert restore(site, if_exists="replace", bin_directory=str(impostor.bin_directory), **over).changed
    argv = (impostor.notes / "argv").read_text().splitlines()
    assert [one for one in argv if one.startswith(("-j", "--jobs"))] == [f"--jobs={jobs}"]
    assert dump_of(site.server, site.database) == before


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_statistics_are_collected_unless_left_out(site: Site, form: str) -> None:
    site.sql(CONTENT)
    site.back_up(format=form)
    for over, analyzed in (({}, "t"), ({"analyze": False}, "f")):
        assert restore(site, if_exists="replace", **over).changed
        assert site.sql("select last_analyze is not null from pg_stat_user_tables where relname = 'item'") == analyzed


def test_statistics_that_can_not_be_collected_are_a_warning(site: Site) -> None:
    site.sql(
        """
        create function f(n int) returns int immutable language plpgsql as $$ begin
            if current_setting('application_name') = 'lastgood.database' then raise 'out of luck'; end if; return n; end $$;
        create index on t (f(n));
        """
    )
    site.back_up()
    outcome = restore(site, if_exists="replace")
    assert outcome.changed
    assert any("were analyzed: " in warning and "out of luck" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("keep_old", [True, False])
def test_logical_slots_of_the_old_database_are_a_warning(tmp_path: Path, keep_old: bool) -> None:
    with Server.start(installation(VERSIONS[-1]), settings={"wal_level": "logical"}) as server, database_on(server) as database:
        site = Site(server, database, tmp_path / "backups")
        site.back_up()
        site.sql("select pg_create_logical_replication_slot('feed', 'pgoutput')")
        outcome = restore(site, if_exists="replace", keep_old=keep_old)
        assert outcome.changed
        assert any("feed" in warning for warning in outcome.warnings)
        assert server.psql("select count(*) from pg_replication_slots") == str(int(keep_old))
        if keep_old:
            server.psql("select pg_drop_replication_slot('feed')", outcome.result["previous"])


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_that_needs_a_search_path_of_its_own_names_the_function_and_what_to_do(site: Site, form: str) -> None:
    site.sql(
        """
        create table allowed as select 'hunter2'::text as word;
        create function known(word text) returns bool language plpgsql as $$ begin
            return exists (select from allowed a where a.word = known.word); end $$;
        create table checked (word text check (known(word))); insert into checked values ('hunter2');
        """
    )
    site.back_up(format=form)
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
        assert outcome.error_code == "program_failed"
        for words in ("public.known(text)", "COPY checked, line 1", "ALTER FUNCTION", "search_path"):
            assert words in outcome.msg, words
        assert "hunter2" not in str(outcome.result)


# --- What there is already ------------------------------------------------------------------------


def test_a_database_that_is_there_is_an_error_unless_told_what_to_do(site: Site) -> None:
    site.back_up()
    site.sql("update t set n = 2")
    with as_it_was(site):
        for check in (True, False):
            outcome = restore(site, check=check)
            assert outcome.error_code == "database_exists"
            assert "if_exists=replace" in outcome.msg
        kept = restore(site, if_exists="keep")
        assert (kept.changed, kept.result["restored"]) == (False, None)
    assert restore(site, if_exists="replace").changed
    assert site.sql("select n from t") == "1"


def test_the_old_one_is_kept_when_asked_for(site: Site) -> None:
    site.back_up()
    site.sql("update t set n = 2")
    outcome = restore(site, if_exists="replace", keep_old=True)
    previous = outcome.result["previous"]
    assert previous.startswith(f"{site.database}_replaced_")
    assert (site.sql("select n from t"), site.server.psql("select n from t", previous)) == ("1", "2")
    assert restore(site, if_exists="replace").changed  # and what is kept is nothing that is swept
    assert site.server.psql("select n from t", previous) == "2"


def test_check_mode_changes_nothing_and_diff_says_what_comes(site: Site) -> None:
    site.back_up()
    with as_it_was(site):
        before = state_of(site.directory)
        outcome = restore(site, if_exists="replace", check=True, diff=True)
        assert outcome.changed
        assert outcome.result["restored"]["filename"] == payload(site.directory).name
        assert outcome.result["diff"]["before"] == "as it was\n"
        assert payload(site.directory).name in outcome.result["diff"]["after"]
        assert state_of(site.directory) == before
    kept = restore(site, if_exists="keep", check=True, diff=True)
    assert kept.changed is False
    assert kept.result["diff"]["before"] == kept.result["diff"]["after"]


def test_sessions_are_named_in_the_error(site: Site) -> None:
    site.back_up()
    with as_it_was(site), connected(site):
        for check in (True, False):
            outcome = restore(site, if_exists="replace", check=check)
            assert outcome.error_code == "database_in_use"
            assert "the shop" in outcome.msg
            assert "terminate_sessions" in outcome.msg
            assert len(outcome.result["error"]["sessions"]) == 1


def test_a_session_that_comes_while_it_runs_is_an_error_and_all_is_as_it_was(site: Site, tmp_path: Path) -> None:
    site.back_up()
    with as_it_was(site), held(site, tmp_path / "fake", if_exists="replace") as (process, impostor), connected(site):
        impostor.say("go")
        outcome = process.wait()
        assert outcome.error_code == "database_in_use"
        assert "the shop" in outcome.msg


def test_sessions_are_ended_when_asked_for_and_others_find_the_restored_one(site: Site) -> None:
    site.back_up()
    site.sql("update t set n = 2")
    with connected(site) as connection:
        outcome = restore(site, if_exists="replace", terminate_sessions=True)
        assert outcome.changed
        with pytest.raises(psycopg2.Error):
            connection.cursor().execute("select 1")
    with connected(site) as connection, connection.cursor() as cursor:
        cursor.execute("select n from t")
        assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize("terminate", [False, True], ids=["nobody there", "with a session"])
def test_the_time_in_which_clients_find_no_database_is_told(site: Site, terminate: bool) -> None:
    site.back_up()
    with contextlib.ExitStack() as stack:
        if terminate:
            stack.enter_context(connected(site))
        outcome = restore(site, if_exists="replace", terminate_sessions=terminate)
    assert outcome.changed
    assert 0 < outcome.result["swap_seconds"] <= outcome.result["seconds"]


def waits(server: Server, command: str) -> bool:
    """Whether a session waits for another's lock, or for its transaction, in a command that begins like this."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike"
    return server.psql(f"{waiting} '{command}%'") != "0"


def test_the_target_s_name_is_there_through_the_swap(site: Site) -> None:
    site.back_up()

    def look_when_it_commits() -> list[str]:
        with looker.cursor() as cursor:
            cursor.execute("lock table pg_database in share mode")  # which a session that renames has to give back first
            cursor.execute("select datname from pg_database")
            return [name for (name,) in cursor.fetchall()]

    with (
        ThreadPoolExecutor() as threads,
        connected(site, "postgres") as looker,
        connected(site, "postgres") as holder,
        restoring(site, if_exists="replace") as process,
    ):
        holder.cursor().execute(f"comment on database {site.database} is 'nobody takes my name away'")
        wait_until(lambda: waits(site.server, "alter database") or process.ended)
        seen = threads.submit(look_when_it_commits)
        wait_until(lambda: waits(site.server, "lock table") or process.ended)
        holder.rollback()
        names = seen.result()
        looker.rollback()
        assert site.database in names
        assert any(name.startswith(f"{site.database}_replaced_") for name in names)
        assert process.wait().changed


def test_a_session_that_is_ended_in_the_swap_leaves_all_as_it_was(site: Site) -> None:
    site.back_up()
    with as_it_was(site), connected(site, "postgres") as holder, restoring(site, if_exists="replace") as process:
        # The new database has the name already when the old one gets this row, too: it waits for what becomes of ours.
        holder.cursor().execute(f"insert into pg_shdescription values ({oid_of(site)}, 'pg_database'::regclass, 'ours')")
        wait_until(lambda: waits(site.server, "comment on database") or process.ended)
        site.server.psql("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'comment on database%'")
        assert process.wait().error_code == "query_failed"


def test_the_database_that_we_are_connected_to_is_refused(site: Site) -> None:
    site.back_up()
    with as_it_was(site):
        outcome = restore(site, if_exists="replace", login_db=site.database)
    assert outcome.error_code == "argument_invalid"
    assert "login_db" in outcome.msg


# --- Which backup ---------------------------------------------------------------------------------


def test_latest_is_the_newest_good_one(site: Site) -> None:
    site.back_up()
    first = payload(site.directory).name
    site.sql("update t set n = 2")
    second = site.back_up().backups[0]["filename"]
    site.sql("update t set n = 3")
    rotten = site.back_up().backups[0]["path"]
    with open(rotten, "ab") as file:
        file.write(b"x")
    assert restore(site, if_exists="replace").result["restored"]["filename"] == second
    assert site.sql("select n from t") == "2"
    assert restore(site, if_exists="replace", backup=first).changed
    assert site.sql("select n from t") == "1"


def test_latest_of_several_origins_is_an_error_that_lists_them(site: Site) -> None:
    site.back_up(origin="db7")
    site.back_up(origin="db8")
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
    assert outcome.error_code == "backup_ambiguous"
    assert "db7" in outcome.msg and "db8" in outcome.msg
    name = next(one["filename"] for one in site.facts()["files"] if one["origin"] == "db8")
    assert f"the newest is {name}." in outcome.msg
    assert restore(site, if_exists="replace", backup=name).changed


@pytest.mark.parametrize(
    "over, code",
    [
        ({"backup": "backup_nothing_2026-01-01_00-00-00.dump.gz"}, "backup_missing"),
        ({"backup": "../../etc/passwd"}, "backup_missing"),
        ({"source_database": "no such"}, "backup_missing"),
        ({"directory": "/nonexistent"}, "backup_missing"),
        ({"directory": "relative"}, "argument_invalid"),
        ({"jobs": 0}, "argument_invalid"),
        ({"include_globals": True}, "backup_missing"),
    ],
)
def test_what_is_not_there_is_an_error(site: Site, over: dict[str, Any], code: str) -> None:
    site.back_up()
    with as_it_was(site):
        for check in (True, False):
            assert restore(site, if_exists="replace", check=check, **over).error_code == code


def test_a_backup_without_a_manifest_is_refused(site: Site) -> None:
    site.back_up()
    manifest_path(payload(site.directory)).unlink()
    with as_it_was(site):
        outcome = restore(site, if_exists="replace", backup=payload(site.directory).name)
    assert outcome.error_code == "backup_missing"
    assert "backup_verify" in outcome.msg


# --- Who restores ---------------------------------------------------------------------------------


@every_version
def test_a_user_who_is_no_superuser_restores_a_database_of_his_own(site: Site) -> None:
    site.server.psql("create role tenant login createdb")
    try:
        site.server.psql(f"alter database {site.database} owner to tenant")
        site.sql(f"alter table t owner to tenant; alter database {site.database} set work_mem to '7MB'")
        site.back_up(login_user="tenant")
        with connected(site, user="tenant"):
            outcome = restore(site, login_user="tenant", if_exists="replace", terminate_sessions=True)
        assert outcome.changed
        with connected(site), as_it_was(site):
            refused = restore(site, login_user="tenant", if_exists="replace", terminate_sessions=True)
            assert refused.error_code == "query_failed"
    finally:
        drop(site.server, site.database)
        site.server.psql("drop role tenant")


def test_a_role_that_is_changed_to_owns_what_it_restores(site: Site) -> None:
    site.server.psql("create role tenant createdb; create role person login noinherit; grant tenant to person")
    try:
        site.back_up()
        outcome = restore(
            site, login_user="person", session_role="tenant", no_owner=True, database="copy", source_database=site.database
        )
        assert outcome.changed
        assert site.server.psql("select tableowner from pg_tables where tablename = 't'", "copy") == "tenant"
    finally:
        drop(site.server, "copy")
        site.server.psql("drop role person; drop role tenant")


# --- Roles ----------------------------------------------------------------------------------------


@pytest.fixture
def owned(site: Site) -> Iterator[Site]:
    """A database whose owner and grants need roles that the server then lacks."""
    roles = "create role keeper login password 'digest me'; create role reader; grant reader to keeper"
    site.server.psql(f"{roles}; alter database {site.database} owner to keeper")
    site.sql("alter table t owner to keeper; grant select on t to reader; create policy p on t to reader using (true)")
    try:
        yield site
    finally:
        drop(site.server, site.database)
        for name in databases(site.server):
            if name.startswith("copy"):
                drop(site.server, name)
        site.server.psql("drop role if exists keeper; drop role if exists reader")


def forget(site: Site) -> None:
    drop(site.server, site.database)
    site.server.psql("drop role keeper; drop role reader")


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_roles_that_are_missing_are_named_before_the_start(owned: Site, form: str) -> None:
    owned.back_up(format=form)
    forget(owned)
    outcome = restore(owned)
    assert outcome.error_code == "roles_missing"
    assert outcome.result["error"]["roles"] == ["keeper", "reader"]
    assert "include_globals" in outcome.msg
    assert owned.database not in databases(owned.server)


@every_version
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_globals_bring_the_roles_that_are_missing_and_leave_the_others(owned: Site, form: str) -> None:
    owned.back_up(format=form, include_globals=True)
    digest = owned.server.psql("select rolpassword from pg_authid where rolname = 'keeper'")
    forget(owned)
    owned.server.psql("create role reader login password 'another'")
    reader = owned.server.psql("select rolcanlogin, rolpassword from pg_authid where rolname = 'reader'")
    outcome = restore(owned, include_globals=True)
    assert outcome.changed
    assert owned.server.psql("select rolpassword from pg_authid where rolname = 'keeper'") == digest
    assert owned.server.psql("select pg_has_role('keeper', 'reader', 'member')") == "t"
    assert owned.server.psql("select rolcanlogin, rolpassword from pg_authid where rolname = 'reader'") == reader
    assert owned.sql("select tableowner from pg_tables where tablename = 't'") == "keeper"
    assert "SCRAM" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("server", VERSIONS[-1:], indirect=True)
def test_a_membership_whose_grantor_may_not_grant_it_on_this_server_is_made_by_us(owned: Site) -> None:
    owned.server.psql("create role granter; grant reader to granter with admin option; revoke reader from keeper")
    owned.server.psql("set role granter; grant reader to keeper")
    owned.back_up(include_globals=True)
    drop(owned.server, owned.database)
    owned.server.psql("revoke reader from granter cascade; drop role keeper; drop role reader")
    try:
        outcome = restore(owned, include_globals=True)
        assert outcome.changed
        assert owned.server.psql("select pg_has_role('keeper', 'reader', 'member')") == "t"
        assert any("another grantor" in warning for warning in outcome.warnings)
    finally:
        owned.server.psql("drop role granter")


def test_roles_that_were_made_go_when_the_restore_fails(owned: Site) -> None:
    owned.sql("create function f(n int) returns int language sql as $$ select 1 / n $$")
    owned.sql("create table checked (n int check (f(n) is not null)); create table late (n int)")
    owned.sql("insert into checked values (1); create or replace function f(n int) returns int language sql as $$ select 1/0 $$")
    owned.back_up(include_globals=True)
    forget(owned)
    outcome = restore(owned, include_globals=True)
    assert outcome.error_code == "program_failed"
    assert "division by zero" in outcome.msg
    assert owned.server.psql("select count(*) from pg_roles where rolname in ('keeper', 'reader')") == "0"


def test_roles_and_tablespaces_that_were_made_go_when_one_can_not_be_made(owned: Site, open_folder: Path) -> None:
    owned.server.psql(f"create tablespace close owner keeper location '{open_folder}'")
    owned.server.psql("set allow_in_place_tablespaces = on; create tablespace far location ''")
    try:
        owned.back_up(include_globals=True)
    finally:
        owned.server.psql("drop tablespace far")
        owned.server.psql("drop tablespace close")
    forget(owned)
    outcome = restore(owned, include_globals=True)
    assert outcome.error_code == "query_failed"
    assert owned.server.psql("select count(*) from pg_tablespace where spcname in ('close', 'far')") == "0"
    assert owned.server.psql("select count(*) from pg_roles where rolname in ('keeper', 'reader')") == "0"


def test_owners_and_grants_can_be_left_out(owned: Site) -> None:
    owned.sql("drop policy p on t")
    owned.back_up()
    forget(owned)
    assert restore(owned, no_owner=True).changed
    assert owned.sql("select tableowner, relacl from pg_tables, pg_class where tablename = 't' and relname = 't'") == "postgres|"


# --- Backups that are not what they were ----------------------------------------------------------


@pytest.mark.parametrize("place", ["start", "middle", "end"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_one_bit_is_enough_to_refuse_a_backup(site: Site, form: str, compression: str, place: str) -> None:
    site.sql(CONTENT)
    site.back_up(format=form, compression=compression)
    one = payload(site.directory)
    data = bytearray(one.read_bytes())
    data[{"start": 0, "middle": len(data) // 2, "end": -1}[place]] ^= 1
    one.write_bytes(data)
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
        assert outcome.error_code == "payload_corrupt"
        assert str(one) in outcome.msg


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("said", [False, True], ids=["with the old manifest", "with a manifest that is true of it"])
def test_a_payload_that_was_cut_is_refused(site: Site, compression: str, said: bool) -> None:
    site.sql(CONTENT)
    site.back_up(format="plain", compression=compression)
    one = payload(site.directory)
    data = one.read_bytes()[:-100]
    one.write_bytes(data)
    if said:
        rewrite_manifest(one, payload_bytes=len(data), payload_sha256=hashlib.sha256(data).hexdigest())
    with as_it_was(site):
        outcome = restore(site, if_exists="replace", backup=one.name)
        assert outcome.error_code == "payload_corrupt"


def test_payload_and_manifest_of_two_databases_are_told_apart(site: Site) -> None:
    site.back_up()
    mine = payload(site.directory)
    with database_on(site.server, sql="create table other as select 2 as n") as other:
        site.back_up(databases=[other])
        [theirs] = [path for path in site.directory.glob("backup_*.gz") if path != mine]
        data = mine.read_bytes()
        mine.write_bytes(theirs.read_bytes())
        theirs.write_bytes(data)
        with as_it_was(site):
            assert restore(site, if_exists="replace", backup=mine.name).error_code == "payload_corrupt"
        text = manifest_path(theirs).read_bytes()
        mine.write_bytes(data)
        manifest_path(mine).write_bytes(text)
        with as_it_was(site):
            assert restore(site, if_exists="replace", backup=mine.name).error_code == "backup_missing"


def put_at_the_end(of: Path, dump: bytes, sql: bytes) -> None:
    """Make another backup of a plain dump, with SQL of one's own at its end and a manifest that is true of it."""
    before, title, after = dump.rpartition(b"--\n-- PostgreSQL database dump complete")
    data = before + sql + title + after
    of.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    sizes = {"payload_bytes": len(data), "content_bytes": len(data)}
    rewrite_manifest(of, payload_sha256=digest, content_sha256=None, content_blake3=None, **sizes)


def test_a_plain_dump_that_leads_elsewhere_is_refused(site: Site) -> None:
    site.back_up(format="plain", compression="none")
    one = payload(site.directory)
    put_at_the_end(one, one.read_bytes(), b"\\connect postgres\n")  # as pg_dump --create has it
    with as_it_was(site):
        outcome = restore(site, if_exists="replace", backup=one.name)
        assert outcome.error_code == "content_invalid"
        assert "\\connect" in outcome.msg


@every_version
def test_a_plain_dump_runs_no_command_of_psql_s(site: Site, tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    shell = f"\\! touch {harm}\n".encode()
    site.back_up(format="plain", compression="none")
    one = payload(site.directory)
    dump = one.read_bytes()
    key = dump.split(b"\\restrict ")[1].split(b"\n")[0]
    for sql in (
        b" " + shell,
        b"SELECT 1 " + shell,
        b"SELECT 1\n" + shell + b";",
        b"SELECT E'\\'' " + shell + b" -- ';\n",
        b"SET standard_conforming_strings = off;\nSELECT '\\'' " + shell + b" -- ';\n",
        b"/* /* */ " + b"*/ " + shell,
        b"SELECT 1 \\g |touch " + bytes(harm) + b"\n",
        b"SELECT 1 \\unrestrict " + key + b"\n " + shell,
        b"SELECT 1 \\connect postgres\nCREATE TABLE harm (n int);\n",
        b"SELECT 1 \\copy t to program 'touch " + bytes(harm) + b"'\n",
    ):
        put_at_the_end(one, dump, sql)
        with as_it_was(site):
            outcome = restore(site, if_exists="replace")
            assert not harm.exists(), sql
            assert outcome.error_code == "content_invalid", (sql, outcome.msg)


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_the_rows_of_a_dump_that_fails_are_not_told(site: Site, form: str) -> None:
    site.sql(
        """
        create function f(word text) returns bool language plpgsql as $$ begin
            if current_database() like '%restoring%' then raise 'out of luck'; end if; return true; end $$;
        create table checked (word text check (f(word))); insert into checked values ('hunter2');
        """
    )
    site.back_up(format=form)
    outcome = restore(site, if_exists="replace")
    assert outcome.error_code == "program_failed"
    assert "out of luck" in outcome.msg
    assert "hunter2" not in str(outcome.result)


def test_the_sql_of_a_dump_that_fails_is_not_told(site: Site) -> None:
    site.back_up(format="plain", compression="none")
    one = payload(site.directory)
    put_at_the_end(one, one.read_bytes(), b"CREATE SUBSCRIPTION s CONNECTION 'password=hunter2' PUBLICATION p nonsense;\n")
    outcome = restore(site, if_exists="replace")
    assert outcome.error_code == "program_failed"
    assert "syntax error" in outcome.msg
    assert "hunter2" not in str(outcome.result["error"]) + outcome.msg


def test_a_psql_without_a_restricted_mode_is_refused(site: Site, tmp_path: Path) -> None:
    site.back_up(format="plain")
    older = Impostor(
        tmp_path / "fake",
        site.server.bin_directory,
        r"arguments = [one.replace('\\restrict', '\\restrict_is_not_known_to') for one in arguments]; go_on()",
        program="psql",
    )
    with as_it_was(site):
        outcome = restore(site, if_exists="replace", bin_directory=str(older.bin_directory))
        assert outcome.error_code == "program_missing"
        assert "August 2025" in outcome.msg


@every_version
def test_rows_and_texts_with_backslashes_come_back(site: Site) -> None:
    site.sql(
        r"""
        create table said (line text);
        insert into said values (E'\\! touch x'), (E'\\restrict a'), (E'a\n\\unrestrict a\n'), (E'\\.'), ('\');
        comment on table said is E'a\n\\connect postgres\n\\! touch x';
        create function f() returns text language sql as $$ select E'\\' -- \! touch x
        $$;
        """
    )
    before = dump_of(site.server, site.database)
    site.back_up(format="plain")
    site.sql("drop table said; drop function f")
    assert restore(site, if_exists="replace").changed
    assert dump_of(site.server, site.database) == before


# --- Restores that go wrong -----------------------------------------------------------------------

BREAKS_ON_THE_WAY = """
create function f(n int) returns int language plpgsql as $$ begin
    if current_database() like '%restoring%' and n > 500 then raise 'out of luck'; end if; return n; end $$;
create table checked (n int check (f(n) > 0)); insert into checked select generate_series(1, 1000);
"""


@every_version
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_that_fails_half_way_leaves_all_as_it_was(site: Site, form: str) -> None:
    site.sql(BREAKS_ON_THE_WAY)
    site.back_up(format=form)
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
        assert outcome.error_code == "program_failed"
        assert "out of luck" in outcome.msg
        assert "the database is as it was" in outcome.msg


def test_what_a_killed_restore_left_is_removed_by_the_next(site: Site, tmp_path: Path) -> None:
    site.back_up()
    before = oid_of(site), databases(site.server), dump_of(site.server, site.database)
    with held(site, tmp_path / "fake", if_exists="replace") as (process, impostor):
        [left] = remains(site)
        process.kill()
        assert remains(site) == [left]
        with database_on(site.server) as another:
            site.back_up(databases=[another])
            outcome = restore(site, database=another, if_exists="replace")
            assert outcome.changed
            assert any(left in warning for warning in outcome.warnings)
    wait_until(lambda: not runs(impostor.pid()))
    assert (oid_of(site), databases(site.server), dump_of(site.server, site.database)) == before


def test_what_a_living_restore_has_is_left_alone_and_a_second_of_the_same_database_is_refused(site: Site, tmp_path: Path) -> None:
    site.back_up()
    with held(site, tmp_path / "fake", if_exists="replace") as (process, impostor):
        [theirs] = remains(site)
        assert restore(site, if_exists="replace").error_code == "locked"
        assert restore(site, database="copy", source_database=site.database, login_db="template1").changed
        assert remains(site) == [theirs]
        impostor.say("go")
        assert process.wait().changed


def test_one_that_was_killed_before_it_could_mark_the_new_database_leaves_nothing_for_long(site: Site) -> None:
    site.back_up()
    left = f"{site.database}_restoring_20260101t000000z"
    site.server.psql(f'create database "{left}" template template0 allow_connections false')  # as it is for a moment
    outcome = restore(site, if_exists="replace")
    assert any(left in warning for warning in outcome.warnings)
    assert remains(site) == []


def test_an_old_database_that_was_kept_and_closed_is_never_removed(site: Site) -> None:
    site.back_up()
    old = restore(site, if_exists="replace", keep_old=True).result["previous"]
    site.server.psql(f'alter database "{old}" allow_connections false')
    assert restore(site, if_exists="replace").changed
    assert old in databases(site.server)
    drop(site.server, old)


def test_a_database_of_such_a_name_that_is_not_ours_is_never_removed(site: Site) -> None:
    site.back_up()
    with database_on(site.server, f"{site.database}_restoring_20260101t000000z") as mine:
        assert restore(site, if_exists="replace").changed
        assert site.server.psql("select n from t", mine) == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_restore_that_is_told_to_stop_removes_what_it_made(site: Site, tmp_path: Path, number: signal.Signals) -> None:
    site.back_up()
    with as_it_was(site), held(site, tmp_path / "fake", if_exists="replace") as (process, impostor):
        process.send_signal(number)
        outcome = process.wait()
        assert outcome.error_code == "interrupted"
        assert not runs(impostor.pid())


@pytest.mark.parametrize("form, program", [("custom", "pg_restore"), ("plain", "psql")])
def test_a_server_that_dies_in_mid_restore_is_an_error_and_the_next_run_cleans_up(
    server: Server, tmp_path: Path, form: str, program: str
) -> None:
    with Server.start(server.installation) as mortal, database_on(mortal) as database:
        site = Site(mortal, database, tmp_path / "backups")
        site.back_up(format=form)
        before = dump_of(mortal, database)
        with held(site, tmp_path / "fake", program=program, if_exists="replace") as (process, impostor):
            mortal.kill()
            impostor.say("go")
            outcome = process.wait()
        assert outcome.error_code == "program_failed"
        assert "The next restore removes the database" in outcome.msg
        mortal.restart()
        assert dump_of(mortal, database) == before
        [left] = remains(site)
        again = restore(site, if_exists="replace")
        assert again.changed
        assert any(left in warning for warning in again.warnings)
        assert remains(site) == []


def test_no_room_for_the_unpacked_backup_is_told_before_the_start(site: Site, small_disk: Callable[[str], Path]) -> None:
    site = site._replace(directory=small_disk("size=3m"))
    site.sql("create table big as select repeat('x', 1000000) as raw from generate_series(1, 6)")
    site.back_up()
    with as_it_was(site):
        for check in (True, False):
            outcome = restore(site, if_exists="replace", check=check)
            assert outcome.error_code == "no_space"
            assert str(site.directory) in outcome.msg


def test_a_disk_that_fills_up_while_unpacking_leaves_all_as_it_was(site: Site, small_disk: Callable[[str], Path]) -> None:
    site = site._replace(directory=small_disk("size=3m"))
    site.sql("create table big as select repeat('x', 1000000) as raw from generate_series(1, 6)")
    site.back_up()
    rewrite_manifest(payload(site.directory), content_bytes=None)
    with as_it_was(site):
        outcome = restore(site, if_exists="replace")
        assert outcome.error_code == "no_space"


@contextlib.contextmanager
def nearly_full(folder: Path, form: str) -> Iterator[tuple[Site, Path]]:
    """A database of 30 MB that has a backup, on a server with 25 MB left, and the file that takes up the rest of its disk."""
    with (
        common_disk("200m") as disk,
        Server.start(installation(VERSIONS[-1]), base=disk) as server,
        database_on(server) as database,
    ):
        site = Site(server, database, folder / "backups")
        site.grow(30)
        site.back_up(format=form)
        server.psql("vacuum full; checkpoint", database)
        free = shutil.disk_usage(disk).free
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - 25 * 1024 * 1024)
        yield site, ballast


@only_root
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_no_room_for_the_new_database_is_told_before_the_start(tmp_path: Path, form: str) -> None:
    with nearly_full(tmp_path, form) as (site, ballast):
        with as_it_was(site):
            for check in (True, False):
                outcome = restore(site, if_exists="replace", check=check)
                assert outcome.error_code == "no_space"
                assert f"The server's {site.server.data_directory} has" in outcome.msg
        ballast.unlink()
        assert restore(site, if_exists="replace").changed


@only_root
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_server_whose_disk_fills_up_keeps_the_database_as_it_was(tmp_path: Path, form: str) -> None:
    with nearly_full(tmp_path, form) as (site, ballast):
        rewrite_manifest(payload(site.directory), content_bytes=None)  # or it would be told before the start
        with as_it_was(site):
            outcome = restore(site, if_exists="replace")
            assert outcome.error_code == "program_failed"
            assert "No space left on device" in outcome.msg
        ballast.unlink()
        assert restore(site, if_exists="replace").changed


def test_missing_programs_are_an_error_that_says_what_to_install(site: Site, tmp_path: Path) -> None:
    site.back_up()
    with as_it_was(site):
        outcome = restore(site, if_exists="replace", bin_directory=str(tmp_path))
        assert outcome.error_code == "program_missing"
        assert f"postgresql-client-{site.server.major}" in outcome.msg


# --- Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form, program", [("custom", "pg_restore"), ("plain", "psql")])
def test_the_password_opens_the_server_and_is_seen_nowhere(guarded: Server, tmp_path: Path, form: str, program: str) -> None:
    record = (
        'note("argv", repr(arguments))\n'
        'note("environment", "".join("%s=%s\\n" % item for item in os.environ.items()))\n'
        'note("cmdline", open("/proc/%d/cmdline" % os.getppid()).read())\n'
        "go_on()"
    )
    impostor = Impostor(tmp_path / "fake", guarded.bin_directory, record, program=program)
    access = {
        "login_host": "127.0.0.1",
        "login_port": guarded.port,
        "login_user": guarded.user,
        "login_password": PASSWORD,
        "bin_directory": str(impostor.bin_directory),
    }
    directory = str(tmp_path / "backups")
    assert run_module("db_backup", directory=directory, databases=["postgres"], format=form, **access).changed
    for attempt in ("restored", "fails"):
        outcome = run_module("db_restore", directory=directory, database="copy", source_database="postgres", diff=True, **access)
        assert (outcome.status == 0) == (attempt == "restored")
        assert "quo:ted" not in outcome.stdout + outcome.stderr
    guarded.psql("drop database copy")
    assert "PGPASSFILE=/dev/fd/" in (impostor.notes / "environment").read_text()
    for path in (one for one in tmp_path.rglob("*") if one.is_file() and not one.is_symlink()):
        assert b"quo:ted" not in path.read_bytes(), path
