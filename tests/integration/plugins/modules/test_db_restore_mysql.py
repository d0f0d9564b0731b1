"""db_restore to a real MariaDB server."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.mysql import (
    CONTENT,
    HOSTILE,
    MysqlSite,
    database_on,
    dump_of,
    quoted,
)
from tools.throwaway_mysql import Server

SECONDS = 20


@pytest.fixture
def everything(mariadb: Server, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database with one of each object, and a backup of it."""
    with database_on(mariadb, sql=CONTENT) as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up().changed
        yield site


@pytest.fixture(autouse=True)
def nothing_is_left(mariadb: Server) -> Iterator[None]:
    """Expect that each test leaves the databases that there were."""
    before = mariadb.names()
    yield
    assert mariadb.names() == before


def test_a_restore_brings_everything_back(everything: MysqlSite) -> None:
    server, name = everything.server, everything.database
    before = dump_of(server, name)
    everything.sql(
        "drop table log; drop procedure texts; drop view again; alter database collate latin1_bin; create table more (a int)"
    )
    assert everything.restore(check=True).changed
    assert everything.restore(if_exists="keep").result["changed"] is False
    assert everything.restore(if_exists="fail").error_code == "database_exists"
    outcome = everything.restore()
    assert outcome.changed and outcome.result["previous"] is None and 0 < outcome.result["swap_seconds"] < SECONDS
    assert dump_of(server, name) == before
    # The foreign key leads to the new table, and the triggers run in their order.
    everything.sql("insert into child values (7, 1)")
    assert everything.sql("select group_concat(x order by x) from log").endswith("7,107")
    assert "1452" in server.run("mariadb", name, "-e", "insert into child values (8, 99)", check=False).stderr
    assert everything.back_up().outcomes == ["created"]


def test_the_old_database_is_retained_with_what_belongs_to_it(everything: MysqlSite) -> None:
    server, name = everything.server, everything.database
    everything.sql("drop event nightly; insert into item (body) values ('newer')")
    old = dump_of(server, name)
    outcome = everything.restore(keep_old=True)
    previous = outcome.result["previous"]
    assert previous.startswith(f"{name}_replaced_")
    assert dump_of(server, previous) == old != dump_of(server, name)
    server.sql(f"drop database {quoted(previous)}")


def test_a_restore_to_another_name_leaves_its_source(everything: MysqlSite) -> None:
    """One of the triggers, and a function in a view, name the database that they were made in."""
    server, name = everything.server, everything.database
    everything.sql(f"create trigger {name}.named before insert on {name}.log for each row set new.x = new.x")
    everything.sql("create view using_it as select half(4) as two")
    assert everything.back_up().changed
    source = dump_of(server, name)
    assert everything.restore(database="elsewhere").changed
    try:
        assert dump_of(server, name) == source
        assert server.sql("select count(*) from information_schema.triggers where trigger_schema = 'elsewhere'") == "3"
        assert server.sql("select two from using_it", "elsewhere").startswith("2")
    finally:
        server.sql("drop database elsewhere")


@pytest.mark.parametrize("name", HOSTILE[:3])
def test_hostile_names_are_restored(mariadb: Server, tmp_path: Path, name: str) -> None:
    with database_on(mariadb, name, "create table `t``\n;x` (`a``\nb` int); insert into `t``\n;x` values (1)") as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up().changed
        before = dump_of(mariadb, name)
        site.sql("drop table `t``\n;x`")
        assert site.restore().changed
        assert dump_of(mariadb, name) == before


def test_a_failure_after_the_rename_is_undone(everything: MysqlSite) -> None:
    """A view that reads what the server lacks can be made only with the tables in their place."""
    server, name = everything.server, everything.database
    everything.rewrite(b"VIEW `again` AS select `bodies`.`id` AS `id`", b"VIEW `again` AS select `bodies`.`no` AS `id`")
    everything.sql("insert into item (body) values ('newer')")
    before = dump_of(server, name)
    outcome = everything.restore()
    assert outcome.error_code == "query_failed" and "again" in outcome.msg
    assert dump_of(server, name) == before


def test_sessions_are_named_and_ended_only_if_asked_for(mysql_site: MysqlSite) -> None:
    server = mysql_site.server
    assert mysql_site.back_up().changed
    using = ("mariadb", "--no-defaults", f"--socket={server.socket}", "--user=root", mysql_site.database)
    with subprocess.Popen((*using, "-e", "select sleep(60)"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            wait_for(lambda: server.sql("select count(*) from information_schema.processlist where state = 'User sleep'") == "1")
            outcome = mysql_site.restore()
            assert outcome.error_code == "database_in_use" and "user root" in outcome.msg
            assert mysql_site.restore(terminate_sessions=True).changed
            assert other.wait(SECONDS) != 0
        finally:
            other.kill()


def test_a_lock_on_a_table_leaves_the_database_as_it_was(everything: MysqlSite) -> None:
    """Its session uses another database, so that nothing shows that it uses this one."""
    server, name = everything.server, everything.database
    before = dump_of(server, name)
    locking = ("mariadb", "--no-defaults", f"--socket={server.socket}", "--user=root", "-e")
    script = f"begin; select * from {name}.item; select sleep(60)"
    with subprocess.Popen((*locking, script), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            wait_for(lambda: server.sql("select count(*) from information_schema.processlist where state = 'User sleep'") == "1")
            outcome = everything.restore()
        finally:
            other.kill()
    assert outcome.error_code == "database_locked"
    assert dump_of(server, name) == before


def test_foreign_keys_of_other_databases_are_an_error(everything: MysqlSite) -> None:
    server, name = everything.server, everything.database
    with database_on(server, sql=f"create table c (p int, foreign key (p) references {name}.parent (id))") as other:
        outcome = everything.restore()
        assert outcome.error_code == "database_in_use" and f"{other}.c" in outcome.msg


def test_what_leaves_its_database_is_not_executed(mysql_site: MysqlSite) -> None:
    assert mysql_site.back_up().changed
    for statement in (
        b"USE `mysql`;\n",
        b"CREATE USER mallory;\n",
        b"INSERT INTO `mysql`.`proc` VALUES (1);\n",
        b"SET GLOBAL x = 1;\n",
        b"DELIMITER //\nINSERT INTO `t` VALUES (1); DROP DATABASE mysql//\nDELIMITER ;\n",
        b"INSERT INTO `t` VALUES (1 /*!999999 ' */); DROP DATABASE mysql; -- ' );\n",
        b"/*+\n; DROP DATABASE mysql; */\n",
        b"INSERT INTO `t` VALUES (1 --\0 '\n); DROP DATABASE mysql; -- ' );\n",
    ):
        marker = b"/*!40000 ALTER TABLE `t` DISABLE KEYS */;\n"
        mysql_site.rewrite(marker, statement + marker)
        assert mysql_site.restore().error_code == "content_invalid", statement
        mysql_site.rewrite(statement + marker, marker)
    assert mysql_site.restore().changed


def test_a_run_that_is_ended_while_it_fills_leaves_the_database(mysql_site: MysqlSite) -> None:
    server, name = mysql_site.server, mysql_site.database
    mysql_site.grow(60)
    assert mysql_site.back_up().changed
    before = server.names()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with mysql_site.restoring() as process:
            wait_for(lambda: any("_restoring_" in one for one in server.names()) or process.ended)
            process.send_signal(number)
            if number == signal.SIGTERM:
                assert process.wait().error_code == "interrupted"
                wait_for(lambda: server.names() == before)
            else:
                process.kill()
    assert mysql_site.sql("select count(*) from noise") == str(60 * 1024)
    wait_for(lambda: server.sql(f"select count(*) from information_schema.processlist where db like '{name}%'") == "0")
    assert any("_restoring_" in one for one in server.names())
    assert mysql_site.restore().changed
    assert server.names() == before


def test_what_a_run_took_before_it_was_killed_is_made_again(everything: MysqlSite) -> None:
    """The run is killed while it waits for the lock that its rename needs: the triggers are dropped by then."""
    server, name = everything.server, everything.database
    before = dump_of(server, name)
    locking = ("mariadb", "--no-defaults", f"--socket={server.socket}", "--user=root", "-e")
    with subprocess.Popen((*locking, f"begin; select * from {name}.item; select sleep(60)"), stdout=subprocess.DEVNULL) as other:
        try:
            wait_for(lambda: server.sql("select count(*) from information_schema.processlist where state = 'User sleep'") == "1")
            with everything.restoring() as process:
                count = f"select count(*) from information_schema.triggers where trigger_schema = '{name}'"
                wait_for(lambda: server.sql(count) == "0" or process.ended)
                process.kill()
        finally:
            other.kill()
    wait_for(lambda: server.sql(f"select count(*) from information_schema.processlist where info like 'rename%{name}%'") == "0")
    assert any("_replaced_" in one for one in server.names())
    assert dump_of(server, name) != before
    everything.rewrite(b"\n-- Dump completed\n", b"\nUSE `mysql`;\n-- Dump completed\n")
    assert everything.restore().error_code == "content_invalid"
    assert dump_of(server, name) == before
    assert not any("_replaced_" in one or "_restoring_" in one for one in server.names())


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
