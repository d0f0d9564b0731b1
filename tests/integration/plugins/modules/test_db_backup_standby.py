"""db_backup from a standby, made by pg_basebackup, that cancels dumps and falls behind."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg2
import pytest

from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, Site
from tools.throwaway_postgresql import Server, installation

CONFLICTS = "select sum(confl_lock) from pg_stat_database_conflicts where datname = 'postgres'"


class Pair(NamedTuple):
    primary: Server
    standby: Server

    def sync(self) -> None:
        """Wait until the standby has replayed everything."""
        position = self.primary.psql("select pg_current_wal_flush_lsn()")
        wait_until(lambda: self.standby.psql(f"select pg_last_wal_replay_lsn() >= '{position}'") == "t")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary server and its standby, which cancels at once whatever is in the way of the replay."""
    with Server.start(installation(VERSIONS[-1])) as primary:
        primary.psql("create table a as select 1 as n; create table b as select 2 as n; create role nightly login")
        primary.psql("grant pg_read_all_data to nightly")
        with primary.start_standby({"max_standby_streaming_delay": "0"}) as standby:
            yield Pair(primary, standby)


@contextlib.contextmanager
def locking(server: Server, table: str) -> Iterator[None]:
    """Hold a lock on a table, which the standby takes over."""
    login = {"host": str(server.socket_directory), "port": server.port, "user": "postgres", "dbname": "postgres"}
    with contextlib.closing(psycopg2.connect(**login)) as connection:
        connection.cursor().execute(f"lock table {table} in access exclusive mode")
        server.psql("checkpoint")  # or nothing would send the lock to the standby before a commit
        yield


@pytest.mark.parametrize("user", ["postgres", "nightly"])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_dump_that_the_standby_cancels_is_made_again(pair: Pair, tmp_path: Path, retries: int, user: str) -> None:
    standby, site = pair.standby, Site(pair.standby, "postgres", tmp_path / "backups")
    before = int(standby.psql(CONFLICTS))
    waits = "select count(*) from pg_locks where not granted and relation = 'b'::regclass"
    with contextlib.ExitStack() as locks:
        locks.enter_context(locking(pair.primary, "b"))
        pair.sync()
        with site.backing_up(retries=retries, login_user=user) as process:
            wait_until(lambda: process.ended or standby.psql(waits) == "1")  # it has locked table a
            locks.enter_context(locking(pair.primary, "a"))
            wait_until(lambda: int(standby.psql(CONFLICTS)) > before)
            locks.close()
            outcome = process.wait()
    if retries == 0:
        assert outcome.error_code == "recovery_conflict"
        assert "max_standby_streaming_delay (now 0)" in outcome.msg and "hot_standby_feedback (now off)" in outcome.msg
        assert list(tmp_path.glob("backups/backup_*")) == []
    else:
        assert outcome.outcomes == ["created"]
        [warning] = outcome.warnings
        assert "attempt 2 succeeded" in warning


def test_a_failure_without_a_conflict_is_not_taken_for_one(pair: Pair, tmp_path: Path) -> None:
    site = Site(pair.standby, "postgres", tmp_path / "backups")
    with locking(pair.primary, "b"):
        pair.sync()
        assert site.back_up(lock_timeout="1s").error_code == "source_busy"


def test_a_run_waits_until_the_standby_has_replayed_what_the_primary_had_written(pair: Pair, tmp_path: Path) -> None:
    site = Site(pair.standby, "postgres", tmp_path / "backups")
    assert site.back_up(wait_for_replay="30s").outcomes == ["created"]
    pair.standby.psql("select pg_wal_replay_pause()")
    try:
        pair.primary.psql("create table new as select 3 as n")
        received = pair.primary.psql("select pg_current_wal_flush_lsn()")
        wait_until(lambda: pair.standby.psql(f"select pg_last_wal_receive_lsn() >= '{received}'") == "t")
        outcome = site.back_up(wait_for_replay="1s")
        assert outcome.error_code == "replay_behind"
        assert "pg_wal_replay_resume" in outcome.msg
        assert site.back_up(wait_for_replay="1s", check=True).outcomes == ["created"]
        with site.backing_up(wait_for_replay="60s", login_user="nightly") as process:
            waiting = "select count(*) from pg_stat_activity where usename = 'nightly'"
            wait_until(lambda: process.ended or pair.standby.psql(waiting) == "1")
            pair.standby.psql("select pg_wal_replay_resume()")
            outcome = process.wait()
    finally:
        pair.standby.psql("select pg_wal_replay_resume()")
    assert outcome.outcomes == ["created"]


def test_a_primary_has_nothing_to_wait_for(pair: Pair, tmp_path: Path) -> None:
    assert Site(pair.primary, "postgres", tmp_path / "backups").back_up(wait_for_replay="1s").outcomes == ["created"]


def test_a_standby_without_its_primary_is_an_error(pair: Pair, tmp_path: Path) -> None:
    site = Site(pair.standby, "postgres", tmp_path / "backups")
    pair.primary.stop()
    try:
        wait_until(lambda: pair.standby.psql("select count(*) from pg_stat_wal_receiver") == "0")
        outcome = site.back_up(wait_for_replay="1s")
        assert outcome.error_code == "replay_behind"
        assert "not connected to its primary" in outcome.msg
    finally:
        pair.primary.restart()
