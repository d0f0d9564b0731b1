"""db_backup of MariaDB and MySQL that is cut short, that meets locks of other sessions, or damaged tables, or no server."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite, database_on
from ansible_collections.lastgood.database.tests.support.mysql_sessions import session, sessions_of
from ansible_collections.lastgood.database.tests.support.observe import assert_whole, contents, wait_until
from tools.throwaway_mysql import Installation, Server, find_mariadb, find_mysql

METADATA_LOCK = "Waiting for table metadata lock"
LONG_SELECT = "select sleep(600) from t"


@pytest.fixture(params=["mariadb", "mysql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database of each product with a backup, which it has changed since."""
    server: Server = request.getfixturevalue(request.param)
    with database_on(server) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        assert site.back_up().changed
        site.sql("insert into t values (2)")
        yield site


@contextlib.contextmanager
def all_else_unharmed(site: MysqlSite) -> Iterator[None]:
    """Expect that backups and sessions are as before, and that none of a run remains."""
    backups, sessions = contents(site.directory), sessions_of(site.server)
    yield
    assert contents(site.directory) == backups
    assert_whole(site.directory)
    wait_until(lambda: sessions_of(site.server) <= sessions)
    assert sessions_of(site.server) == sessions


def is_writing(site: MysqlSite) -> bool:
    """Return whether a run has begun to write a backup."""
    return any(path.stat().st_size for path in site.directory.glob(".backup_*.partial"))


def installed(find: Callable[[], Installation | None]) -> Installation:
    installation = find()
    if installation is None:
        pytest.skip("no such server on this machine")
    return installation


def test_a_disk_that_fills_up_in_mid_dump_leaves_the_last_backup(site: MysqlSite, small_disk: Callable[[str], Path]) -> None:
    site = site._replace(directory=small_disk("size=2m"))
    assert site.back_up().changed
    site.grow(8)
    with all_else_unharmed(site):
        outcome = site.back_up()
        assert outcome.error_code == "no_space", outcome.msg
    site.sql("drop table noise; insert into t values (3)")
    assert site.back_up().outcomes == ["created"]


def test_a_connection_that_is_killed_in_mid_dump_leaves_the_last_backup(site: MysqlSite) -> None:
    site.grow(30)
    with all_else_unharmed(site), site.backing_up() as process:
        wait_until(lambda: is_writing(site))
        process.send_signal(signal.SIGSTOP)  # the program then waits for its reader
        dumping = "from information_schema.processlist where info like 'SELECT /*!40001 SQL_NO_CACHE */%'"
        site.server.sql(f"kill {site.server.sql(f'select id {dumping}')}")
        process.send_signal(signal.SIGCONT)
        outcome = process.wait()
        assert outcome.error_code == "connection_lost", outcome.msg


def test_a_run_that_is_ended_in_mid_dump_leaves_the_last_backup(site: MysqlSite) -> None:
    site.grow(30)
    with all_else_unharmed(site), site.backing_up() as process:
        wait_until(lambda: is_writing(site))
        process.send_signal(signal.SIGTERM)
        assert process.wait().error_code == "interrupted"


def test_what_a_run_that_was_killed_in_mid_dump_left_is_removed_by_the_next(site: MysqlSite) -> None:
    site.grow(30)
    sessions, before = sessions_of(site.server), sorted(site.directory.glob("backup_*"))
    with site.backing_up() as process:
        wait_until(lambda: is_writing(site))
        process.kill()
    assert sorted(site.directory.glob("backup_*")) == before
    wait_until(lambda: sessions_of(site.server) <= sessions)
    assert site.back_up().outcomes == ["created"]
    assert not list(site.directory.glob(".*.partial"))
    assert_whole(site.directory)


@pytest.mark.parametrize("find", [find_mariadb, find_mysql])
def test_a_server_that_dies_in_mid_dump_leaves_the_last_backup(tmp_path: Path, find: Callable[[], Installation | None]) -> None:
    with Server.start(installed(find)) as server:
        server.sql("create database app; create table app.t as select 1 as n")
        site = MysqlSite(server, "app", tmp_path / "backups")
        assert site.back_up().changed
        server.stop()
        server.launch()
        assert site.back_up().outcomes == ["unchanged"]
        site.grow(60)
        before = contents(site.directory)
        with site.backing_up() as process:
            wait_until(lambda: is_writing(site))
            process.send_signal(signal.SIGSTOP)
            server.kill()
            process.send_signal(signal.SIGCONT)
            outcome = process.wait()
        assert outcome.error_code == "connection_lost", outcome.msg
        assert site.back_up().error_code == "connection_failed"
        assert contents(site.directory) == before
        server.launch()
        assert site.back_up().outcomes == ["created"]


def test_a_table_locked_by_another_session_fails_the_backup_until_it_is_unlocked(site: MysqlSite) -> None:
    with session(site.server, "lock tables t write", site.database), all_else_unharmed(site):
        outcome = site.back_up(lock_timeout="1s")
        assert outcome.error_code == "source_busy" and METADATA_LOCK in outcome.msg
    assert site.back_up().outcomes == ["created"]


def test_a_table_that_another_session_waits_to_alter_fails_the_backup(site: MysqlSite) -> None:
    """MySQL ends the dump at once, since it sees a deadlock."""
    with (
        session(site.server, "begin; select * from t", site.database),
        session(site.server, "alter table t add column more int", site.database, state=METADATA_LOCK),
        all_else_unharmed(site),
    ):
        outcome = site.back_up(lock_timeout="1s")
        assert outcome.error_code == "source_busy" and ("metadata lock" in outcome.msg or "1213" in outcome.msg)


def test_a_table_that_another_session_waits_to_flush_fails_the_backup_of_mysql(mysql: Server, tmp_path: Path) -> None:
    with database_on(mysql) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        assert site.back_up().changed
        with (
            session(mysql, LONG_SELECT, database, state="User sleep"),
            session(mysql, "flush tables", state="Waiting for table flush"),
            all_else_unharmed(site),
        ):
            outcome = site.back_up(lock_timeout="1s")
            assert outcome.error_code == "source_busy" and "Waiting for table flush" in outcome.msg


def test_a_table_that_another_session_flushes_in_a_long_query_does_not_hold_up_mariadb(mysql_site: MysqlSite) -> None:
    server = mysql_site.server
    with session(server, LONG_SELECT, mysql_site.database, state="User sleep"), session(server, "flush tables"):
        assert mysql_site.back_up(lock_timeout="1s").changed


def test_a_server_that_another_session_locks_for_reading_is_backed_up(site: MysqlSite) -> None:
    with session(site.server, "flush tables with read lock"):
        before = sessions_of(site.server)
        assert site.back_up(lock_timeout="1s").changed
        wait_until(lambda: sessions_of(site.server) == before)


def test_a_run_that_is_ended_while_it_waits_for_a_lock_leaves_no_session(site: MysqlSite) -> None:
    waiting = f"select count(*) from information_schema.processlist where db = '{site.database}' and state = '{METADATA_LOCK}'"
    with session(site.server, "lock tables t write", site.database), all_else_unharmed(site), site.backing_up() as process:
        wait_until(lambda: site.server.sql(waiting) == "1" or process.ended)
        process.send_signal(signal.SIGTERM)
        assert process.wait().error_code == "interrupted"


def test_a_session_that_waits_as_the_dump_does_is_not_taken_for_it(site: MysqlSite) -> None:
    """Two sessions of one user wait for the same lock then, and the statement of the other may be any."""
    with (
        session(site.server, "lock tables t write", site.database),
        session(site.server, "select * from t", site.database, state=METADATA_LOCK),
    ):
        before = sessions_of(site.server)
        assert site.back_up(lock_timeout="1s").error_code == "source_busy"
        assert sessions_of(site.server) >= before


@pytest.mark.parametrize(
    ("over", "code", "words"),
    [
        ({"login_user": "nobody", "login_password": "wrong"}, "authentication_failed", "1045"),
        ({"login_unix_socket": "/nonexistent/socket"}, "connection_failed", "No such file"),
    ],
    ids=["a wrong password", "no server"],
)
def test_a_server_that_lets_nobody_in_leaves_the_earlier_backup(
    site: MysqlSite, over: dict[str, str], code: str, words: str
) -> None:
    with all_else_unharmed(site):
        outcome = site.back_up(**over)
        assert outcome.error_code == code and words in outcome.msg, outcome.msg


@pytest.mark.parametrize(
    ("product", "engine", "ending", "words"),
    [
        ("mariadb", "MyISAM", "MYD", "1194"),
        ("mariadb", "Aria", "MAD", "1030"),
        ("mysql", "MyISAM", "MYD", "1194"),
    ],
)
def test_a_table_that_has_lost_its_rows_is_reported_as_damaged(
    request: pytest.FixtureRequest, tmp_path: Path, product: str, engine: str, ending: str, words: str
) -> None:
    server: Server = request.getfixturevalue(product)
    rows = "insert into damaged values (1, repeat('x', 100)); " + "insert into damaged select a + 1, b from damaged; " * 6
    with database_on(
        server, sql=f"create table damaged (a int, b varchar(100)) engine = {engine}; {rows} flush tables"
    ) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        assert site.back_up().changed
        path = server.data_directory / database / f"damaged.{ending}"
        os.truncate(path, path.stat().st_size // 2)
        site.sql("flush tables")
        with all_else_unharmed(site):
            outcome = site.back_up()
        assert outcome.error_code == "source_invalid" and words in outcome.msg and "damaged" in outcome.msg, outcome.msg


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_a_table_whose_file_has_another_beginning_is_reported_as_damaged(mariadb: Server, tmp_path: Path, engine: str) -> None:
    with database_on(mariadb, sql=f"create table damaged (a int) engine = {engine}; flush tables") as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up().changed
        path = mariadb.data_directory / database / f"damaged.{'MYI' if engine == 'MyISAM' else 'MAI'}"
        whole = path.read_bytes()
        path.write_bytes(os.urandom(60) + whole[60:])
        site.sql("flush tables")
        with all_else_unharmed(site):
            outcome = site.back_up()
        path.write_bytes(whole)  # else the database could not be dropped
        assert outcome.error_code == "source_invalid" and "130" in outcome.msg, outcome.msg


def test_a_damaged_page_of_innodb_is_reported_as_such(tmp_path: Path) -> None:
    with Server.start(installed(find_mariadb)) as server:
        server.sql("create database app; create table app.t as select 1 as n")
        site = MysqlSite(server, "app", tmp_path / "backups")
        site.sql("create table wide (a int primary key, b varchar(900))")
        site.sql("insert into wide select seq, repeat('x', 900) from seq_1_to_900")
        assert site.back_up().changed
        server.stop()
        with (server.data_directory / "app" / "wide.ibd").open("r+b") as file:
            for page in range(20, 30):
                file.seek(page * 16384 + 100)
                file.write(os.urandom(4000))
        server.launch()
        with all_else_unharmed(site):
            outcome = site.back_up()
        assert outcome.error_code == "source_invalid" and "wide" in outcome.msg, outcome.msg
