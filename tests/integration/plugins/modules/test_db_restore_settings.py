"""db_restore on servers that are set up for something else: timeouts, read-only transactions, a standby, what others left."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.postgresql import (
    CONTENT,
    VERSIONS,
    Site,
    database_on,
    drop,
    dump_of,
    every_version,
)
from ansible_collections.lastgood.database.tests.support.restores import as_it_was, databases, locked, restore
from tools.throwaway_postgresql import Server, installation

TIMEOUTS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 14,
    "transaction_timeout": 17,
}


@pytest.fixture
def role(site: Site) -> Iterator[str]:
    """A superuser whose settings a test may change."""
    site.server.psql("create role person superuser login")
    try:
        yield "person"
    finally:
        site.server.psql("drop role person")


# --- Settings for applications --------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_timeouts_of_the_role_end_no_restore(site: Site, role: str, form: str) -> None:
    site.sql(CONTENT)
    # A check that takes longer than the timeouts keeps one of the two workers busy, and the other one idle.
    site.sql(
        """
        create function slow(n int) returns bool language plpgsql as $$ begin
            if current_database() like '%restoring%' then perform pg_sleep(1); end if; return true; end $$;
        create table a (n int check (slow(n))); insert into a values (1);
        """
    )
    before = dump_of(site.server, site.database)
    site.back_up(format=form)
    for name, since in TIMEOUTS.items():
        if site.server.major >= since:
            site.server.psql(f"alter role {role} set {name} = '300ms'")
    assert restore(site, if_exists="replace", login_user=role).changed
    assert dump_of(site.server, site.database) == before


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("of", ["role person", "database postgres"])
def test_read_only_transactions_by_default_keep_nothing_from_being_restored(site: Site, role: str, form: str, of: str) -> None:
    site.back_up(format=form, include_globals=True)
    site.sql("update t set n = 2")
    site.server.psql(f"alter {of} set default_transaction_read_only = on")
    try:
        assert restore(site, if_exists="replace", login_user=role, include_globals=True).changed
        assert site.sql("select n from t") == "1"
    finally:
        site.server.psql(f"set default_transaction_read_only = off; alter {of} reset default_transaction_read_only")


def test_a_standby_is_an_error_before_the_start(tmp_path: Path) -> None:
    with Server.start(installation(VERSIONS[-1])) as server, database_on(server) as database:
        site = Site(server, database, tmp_path / "backups")
        site.back_up()
        server.kill()
        (server.data_directory / "standby.signal").touch()
        server.restart()
        for check in (True, False):
            outcome = restore(site, if_exists="replace", check=check)
            assert outcome.error_code == "server_read_only"
            assert "standby" in outcome.msg
            assert "rights" not in outcome.msg and "removed" not in outcome.msg
        server.kill()
        (server.data_directory / "standby.signal").unlink()
        server.restart()


def test_a_prepared_transaction_is_named_before_the_start(tmp_path: Path) -> None:
    with (
        Server.start(installation(VERSIONS[-1]), settings={"max_prepared_transactions": "5"}) as server,
        database_on(server) as database,
    ):
        site = Site(server, database, tmp_path / "backups")
        site.back_up()
        site.sql("begin; insert into t values (2); prepare transaction 'half done'")
        with as_it_was(site):
            for check in (True, False):
                outcome = restore(site, if_exists="replace", terminate_sessions=True, check=check)
                assert outcome.error_code == "database_in_use"
                assert "half done, of postgres" in outcome.msg
        site.sql("rollback prepared 'half done'")
        assert restore(site, if_exists="replace").changed


# --- What earlier restores left -------------------------------------------------------------------


SUBSCRIPTION = "create subscription one connection 'dbname=nowhere' publication p with (connect = false)"


def test_an_old_database_with_a_subscription_is_dropped(site: Site) -> None:
    site.sql(SUBSCRIPTION)
    site.back_up()
    before = databases(site.server)
    outcome = restore(site, if_exists="replace")
    assert outcome.changed
    assert outcome.warnings == []
    assert databases(site.server) == before
    site.sql("alter subscription one set (slot_name = none); drop subscription one")


def test_an_old_database_that_is_a_template_is_dropped(site: Site) -> None:
    site.server.psql(f"alter database {site.database} is_template true")
    site.back_up()
    try:
        assert restore(site, if_exists="replace").warnings == []
        assert site.server.psql("select count(*) from pg_database where datname like '%replaced%'") == "0"
        assert site.server.psql(f"select datistemplate from pg_database where datname = '{site.database}'") == "t"
    finally:
        site.server.psql(f"alter database {site.database} is_template false")


def test_a_restore_that_fails_with_a_subscription_leaves_nothing(site: Site) -> None:
    site.sql(SUBSCRIPTION)
    site.back_up()
    with as_it_was(site), locked(site):
        assert restore(site, if_exists="replace").error_code == "database_locked"
    site.sql("alter subscription one set (slot_name = none); drop subscription one")


def test_what_can_not_be_removed_is_a_warning_and_keeps_nobody_from_restoring(site: Site) -> None:
    left = "big_restoring_20260101t000000z"
    site.server.psql(f"create role tenant login createdb; create database {left} allow_connections false")
    try:
        site.server.psql(f"alter database {site.database} owner to tenant")
        site.sql("alter table t owner to tenant")
        site.back_up(login_user="tenant")
        outcome = restore(site, if_exists="replace", login_user="tenant")
        assert outcome.changed
        assert [left in warning for warning in outcome.warnings] == [True]
        assert left in databases(site.server)
    finally:
        drop(site.server, left)
        drop(site.server, site.database)
        site.server.psql("drop role tenant")


# --- What the owner of a database can do to who restores it ---------------------------------------


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_functions_that_the_owner_puts_before_the_servers_are_not_called(site: Site, form: str) -> None:
    site.sql(
        """
        create schema evil; create table evil.called (what text);
        create function evil.set_config(text, text, bool) returns text language plpgsql as $$ begin
            insert into evil.called values ('set_config'); return $2; end $$;
        create function evil.pg_terminate_backend(int) returns bool language plpgsql as $$ begin
            insert into evil.called values ('pg_terminate_backend'); return true; end $$;
        """
    )
    site.sql(SUBSCRIPTION)
    site.server.psql(f"alter database {site.database} set search_path = evil, pg_catalog")
    site.back_up(format=form)
    outcome = restore(site, if_exists="replace", keep_old=True)
    assert outcome.changed
    previous = outcome.result["previous"]
    assert site.sql("select count(*) from evil.called") == "0"
    assert site.server.psql("select count(*) from evil.called", previous) == "0"
    for database in (site.database, previous):
        site.server.psql("alter subscription one set (slot_name = none); drop subscription one", database)
    drop(site.server, previous)
