"""The moment in which db_restore gives the new database its name: locks, signals, and a connection that is lost."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import psycopg2
import pytest

from ansible_collections.lastgood.database.tests.support.commit_proxy import Fault, commit_proxy
from ansible_collections.lastgood.database.tests.support.modules import ModuleProcess
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on, drop
from ansible_collections.lastgood.database.tests.support.restores import (
    as_it_was,
    connected,
    databases,
    locked,
    nothing_else_left,
    restore,
    restoring,
)


@pytest.fixture(autouse=True)
def nothing_else(site: Site) -> Iterator[None]:
    with nothing_else_left(site):
        yield


def waits(site: Site) -> bool:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'alter database%'"
    return site.server.psql(waiting) != "0"


def longest_wait_of_a_client(site: Site, process: ModuleProcess) -> float:
    """Connect to the target again and again until the restore ends, and return the longest time that took, in seconds."""
    longest = 0.0
    while not process.ended:
        began = time.monotonic()
        with contextlib.closing(
            psycopg2.connect(host=str(site.server.socket_directory), port=site.server.port, user="postgres", dbname=site.database)
        ):
            longest = max(longest, time.monotonic() - began)
        time.sleep(0.05)
    return longest


# --- A lock on the target -------------------------------------------------------------------------


def test_a_lock_on_the_target_ends_it_with_the_name_of_who_has_it_and_clients_come_in_meanwhile(site: Site) -> None:
    site.back_up()
    with locked(site), connected(site) as client, as_it_was(site):
        with restoring(site, if_exists="replace", terminate_sessions=True) as process:
            assert longest_wait_of_a_client(site, process) < 5
            outcome = process.wait()
        assert outcome.error_code == "database_locked"
        assert "the shop" in outcome.msg and "on the database postgres" in outcome.msg
        assert len(outcome.result["error"]["holders"]) == 1
        client.cursor().execute("select 1")  # nobody was thrown out for nothing


def test_a_lock_that_is_given_back_in_time_holds_it_up_and_no_more(site: Site) -> None:
    site.back_up()
    with locked(site) as holder, restoring(site, if_exists="replace") as process:
        wait_until(lambda: waits(site) or process.ended)
        holder.rollback()
        assert process.wait().changed


def test_a_session_on_the_target_that_has_the_lock_is_ended_where_sessions_are(site: Site) -> None:
    site.back_up()
    with connected(site) as holder:
        holder.cursor().execute(f"comment on database {site.database} is 'nobody takes my name away'")
        assert restore(site, if_exists="replace", terminate_sessions=True).changed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_it_waits_for_the_lock(site: Site, number: signal.Signals) -> None:
    site.back_up()
    with locked(site), as_it_was(site), restoring(site, if_exists="replace") as process:
        wait_until(lambda: waits(site) or process.ended)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait().error_code == "interrupted"
        assert time.monotonic() - began < 5


def test_a_run_that_is_killed_while_it_waits_for_the_lock_leaves_no_session_that_waits(site: Site) -> None:
    site.back_up()
    with locked(site):
        with restoring(site, if_exists="replace") as process:
            wait_until(lambda: waits(site) or process.ended)
            process.kill()
        began = time.monotonic()
        ours = "select count(*) from pg_stat_activity where application_name = 'lastgood.database'"
        wait_until(lambda: site.server.psql(ours) == "0")
        assert time.monotonic() - began < 5
        with connected(site) as client:
            client.cursor().execute("select 1")
    with database_on(site.server) as other:
        site.back_up(databases=[other])
        assert restore(site, database=other, if_exists="replace").changed  # and takes away what the killed one has left
    assert not [name for name in databases(site.server) if "_restoring_" in name]


# --- The COMMIT -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_old", [False, True], ids=["", "the old one is kept"])
def test_a_connection_that_is_lost_after_the_commit_is_a_warning(site: Site, keep_old: bool) -> None:
    site.back_up()
    site.sql("update t set n = 2")
    with commit_proxy(site.server, "lost before its answer comes") as proxy:
        outcome = restore(site, if_exists="replace", keep_old=keep_old, login_unix_socket=str(proxy.directory))
    assert proxy.fired.is_set()
    assert outcome.changed
    assert any("its session was lost" in warning for warning in outcome.warnings)
    assert site.sql("select n from t") == "1"
    assert (outcome.result["previous"] is not None) == keep_old
    assert len([name for name in databases(site.server) if "_replaced_" in name]) == keep_old


def test_a_connection_that_is_lost_before_the_commit_is_an_error_and_all_is_as_it_was(site: Site) -> None:
    site.back_up()
    fault: Fault = "lost before the server has it"
    with as_it_was(site), commit_proxy(site.server, fault) as proxy:
        outcome = restore(site, if_exists="replace", login_unix_socket=str(proxy.directory))
        assert proxy.fired.is_set()
        assert outcome.error_code == "query_failed"
        assert "COMMIT" in outcome.msg and "as it was" in outcome.msg


def test_a_new_database_whose_commit_is_lost_is_not_there_and_nothing_of_it(site: Site) -> None:
    site.back_up()
    fault: Fault = "lost before the server has it"
    with as_it_was(site), commit_proxy(site.server, fault) as proxy:
        through = str(proxy.directory)
        outcome = restore(site, database="copy", source_database=site.database, login_unix_socket=through)
        assert outcome.error_code == "query_failed"


def test_a_lock_on_a_role_of_its_grants_is_named_as_one_on_the_database_is(site: Site) -> None:
    site.server.psql(f"create role reader; grant connect on database {site.database} to reader")
    site.back_up()
    site.server.psql(f"revoke connect on database {site.database} from reader")
    try:
        with as_it_was(site), connected(site, "postgres") as holder:
            holder.cursor().execute("drop role reader")
            outcome = restore(site, if_exists="replace")
            assert outcome.error_code == "database_locked"
            assert "the shop" in outcome.msg
            holder.rollback()
        assert restore(site, if_exists="replace").changed
    finally:
        drop(site.server, site.database)
        site.server.psql("drop role reader")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_the_commit_comes_too_late_to_take_anything_back(site: Site, number: signal.Signals) -> None:
    site.server.psql(f"create role keeper; create role person login; alter database {site.database} owner to keeper")
    site.sql("alter table t owner to keeper")
    site.back_up(include_globals=True)
    drop(site.server, site.database)
    site.server.psql("drop role keeper; drop role person; ")
    process: ModuleProcess

    def stop() -> None:
        process.send_signal(number)
        time.sleep(0.3)

    try:
        with (
            commit_proxy(site.server, "none", stop) as proxy,
            restoring(site, include_globals=True, login_unix_socket=str(proxy.directory)) as process,
        ):
            outcome = process.wait()
        assert proxy.fired.is_set()
        assert outcome.changed
        assert site.sql("select n from t") == "1"
        assert site.server.psql("select count(*) from pg_roles where rolname in ('keeper', 'person')") == "2"
    finally:
        drop(site.server, site.database)
        site.server.psql("drop role if exists keeper; drop role if exists person")
