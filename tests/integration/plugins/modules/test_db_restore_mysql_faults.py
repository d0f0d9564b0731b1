"""db_restore to MariaDB and MySQL while others lock the server or make databases, and of payloads that are damaged."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, connecting, execute
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.new_database import NewDatabase
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Database
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.swap import Names, Swap
from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseLocked, QueryFailed
from ansible_collections.lastgood.database.tests.support.contexts import NoPrograms
from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite, database_on
from ansible_collections.lastgood.database.tests.support.mysql_sessions import session, sessions_of
from ansible_collections.lastgood.database.tests.support.observe import payload, wait_until
from tools.throwaway_mysql import Installation, Server, find_mariadb, find_mysql

LOCK = "flush tables with read lock"


@pytest.fixture(params=["mariadb", "mysql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database of each product with a backup. Afterwards the server has the databases and sessions that it had."""
    server: Server = request.getfixturevalue(request.param)
    names, sessions = server.names(), sessions_of(server)
    with database_on(server) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        assert site.back_up().changed
        site.sql("insert into t values (2)")
        yield site
        assert site.sql("select count(*) from t") in ("1", "2")
    assert server.names() == names
    wait_until(lambda: sessions_of(server) <= sessions)


def test_a_database_that_somebody_makes_during_the_restore_is_not_dropped(site: MysqlSite) -> None:
    """Nobody has the name when the restore begins. It is stopped before it makes its own database."""
    server, name = site.server, f"{site.database}_new"
    with contextlib.ExitStack() as locked:
        locked.enter_context(session(server, LOCK))
        with site.restoring(database=name, if_exists="fail") as process:
            wait_until(lambda: is_waiting(server) or process.ended)
            process.send_signal(signal.SIGSTOP)
            locked.close()
            with database_on(server, name, "create table theirs as select 7 as n"):
                process.send_signal(signal.SIGCONT)
                outcome = process.wait()
                assert outcome.error_code == "database_exists" and name in outcome.msg
                assert server.sql("select n from theirs", name) == "7"


def test_a_database_that_somebody_makes_just_before_the_swap_is_not_dropped(site: MysqlSite) -> None:
    server, name = site.server, f"{site.database}_new"
    restoring = f"{name}_restoring"

    class Overtaken(Swap):
        def _prepare(self, new: Database) -> None:
            super()._prepare(new)
            server.sql(f"create database {name}; create table {name}.theirs as select 7 as n")

    with database_on(server, restoring), connecting(Login(unix_socket=str(server.socket), user=server.user)) as connection:
        try:
            swap = Overtaken(connection, Names(restoring, name, f"{name}_replaced"), (), lambda: False, may_replace=False)
            with pytest.raises(QueryFailed, match="1007"):
                swap.run()
            assert server.sql(f"select n from {name}.theirs") == "7"
        finally:
            server.sql(f"drop database if exists {name}")


def test_a_restore_that_is_ended_while_it_waits_for_a_lock_makes_no_database_later(site: MysqlSite) -> None:
    with session(site.server, LOCK), site.restoring() as process:
        wait_until(lambda: is_waiting(site.server) or process.ended)
        process.send_signal(signal.SIGTERM)
        assert process.wait().error_code == "interrupted"
        assert not is_waiting(site.server)


def test_a_server_that_somebody_locks_too_long_is_named_as_the_cause(site: MysqlSite) -> None:
    login = Login(unix_socket=str(site.server.socket), user=site.server.user)
    program = Program(site.server.installation.client, "MariaDB", ())
    new = NewDatabase(NoPrograms(lambda: False), program, login, -1, f"{site.database}_new", source=None)
    with session(site.server, LOCK), connecting(login) as connection:
        execute(connection, "set lock_wait_timeout = 1")
        with pytest.raises(DatabaseLocked, match="FLUSH TABLES WITH READ LOCK"):
            new.fill(connection)


def test_a_new_database_that_a_killed_run_had_not_marked_is_removed_only_if_it_is_empty(site: MysqlSite) -> None:
    empty, used = (f"{site.database}_restoring_20260102t03040{number}z" for number in (5, 6))
    try:
        site.server.sql(f"create database {empty}; create database {used}; create table {used}.t (a int)")
        assert site.restore().changed
        assert empty not in site.server.names() and used in site.server.names()
    finally:
        site.server.sql(f"drop database if exists {empty}; drop database if exists {used}")


@pytest.mark.parametrize("find", [find_mariadb, find_mysql])
def test_a_server_that_dies_while_a_restore_fills_has_the_old_database(
    tmp_path: Path, find: Callable[[], Installation | None]
) -> None:
    installation = find()
    if installation is None:
        pytest.skip("no such server on this machine")
    with Server.start(installation) as server:
        server.sql("create database app; create table app.t as select 1 as n")
        site = MysqlSite(server, "app", tmp_path / "backups")
        site.grow(60)
        assert site.back_up().changed
        site.sql("insert into t values (2)")
        names = server.names()
        with site.restoring() as process:
            wait_until(lambda: any("_restoring_" in name for name in server.names()))
            server.kill()
            outcome = process.wait()
        assert outcome.error_code == "connection_lost", outcome.msg
        server.launch()
        assert site.sql("select count(*) from t") == "2"
        assert site.restore().changed
        assert (server.names(), site.sql("select count(*) from t")) == (names, "1")


def test_sessions_of_others_are_not_ended_unless_asked_for(site: MysqlSite) -> None:
    server = site.server
    with session(server, "select 1", site.database):
        before = sessions_of(server)
        outcome = site.restore()
        assert outcome.error_code == "database_in_use" and "user root" in outcome.msg
        assert sessions_of(server) == before
        assert site.restore(terminate_sessions=True).changed
        wait_until(lambda: not sessions_of(server) & before)


def test_a_payload_with_a_flipped_bit_is_not_restored(site: MysqlSite) -> None:
    path = payload(site.directory)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    outcome = site.restore()
    assert outcome.error_code == "payload_corrupt" and path.name in outcome.msg
    assert site.sql("select count(*) from t") == "2"


def test_a_payload_that_ends_between_two_statements_is_not_restored(site: MysqlSite) -> None:
    """To the client it looks whole, and its manifest has its digests."""
    _begin, end = gzip.decompress(payload(site.directory).read_bytes()).split(b" ENABLE KEYS */;\n")
    site.rewrite(end, b"")
    outcome = site.restore()
    assert outcome.error_code in ("content_invalid", "payload_corrupt"), outcome.msg
    assert site.sql("select count(*) from t") == "2"


def is_waiting(server: Server) -> bool:
    """Return whether a restore waits for the right to make its database."""
    waiting = "info like 'create database%' and state like 'Waiting%' and id <> connection_id()"
    return server.sql(f"select count(*) from information_schema.processlist where {waiting}") == "1"
