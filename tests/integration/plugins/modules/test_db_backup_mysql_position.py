"""The position in the binary log that db_backup records, on real servers of MariaDB and MySQL."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.examples import examples
from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.mysql import (
    CONTENT,
    CONTENT_OF_MYSQL,
    SERVERS,
    MysqlSite,
    database_on,
    dump_of,
    servers_by_name,
)
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import facts_of
from tools.throwaway_mysql import Server

MARIADB = [name for name in SERVERS if name.startswith("mariadb")]
LOGGING = ("--log-bin", "--server-id=5", "--log-output=TABLE", "--general-log=1")
CHANGING = """
delimiter //
create procedure fill() begin
    while true do
        insert into numbered (text) values (repeat('x', 50));
        update numbered set text = 'y' where n + 3 > last_insert_id() and n % 7 = 0;
    end while;
end//
call fill()//
"""


@pytest.fixture(scope="module")
def logging_mariadb() -> Iterator[Callable[[str], Server]]:
    """Servers of MariaDB with a binary log, and their statements in mysql.general_log."""
    with servers_by_name(lambda _installation: LOGGING) as server_of:
        yield server_of


@pytest.fixture(params=MARIADB)
def mariadb_with_log(request: pytest.FixtureRequest, logging_mariadb: Callable[[str], Server]) -> Server:
    return logging_mariadb(request.param)


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, logging_mariadb: Callable[[str], Server], mysql_servers: Callable[[str], Server]
) -> Server:
    """A server with a binary log, of each version."""
    return logging_mariadb(request.param) if request.param in MARIADB else mysql_servers(request.param)


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Iterator[MysqlSite]:
    with database_on(server, sql="create table numbered (n int auto_increment primary key, text varchar(50))") as database:
        yield MysqlSite(server, database, tmp_path / "backups")


def position_of(outcome: Outcome) -> dict[str, Any] | None:
    [backup] = outcome.backups
    found: dict[str, Any] | None = backup["position"]
    return found


def end_of_log(server: Server) -> tuple[str, int]:
    """Return the file and the offset at the end of the binary log."""
    statement = "show master status" if server.installation.product == "MariaDB" else "show binary log status"
    file, offset = server.sql(statement).split("\t")[:2]
    return file, int(offset)


def replay(site: MysqlSite, folder: Path, position: dict[str, Any], stop: tuple[str, int]) -> None:
    """Run the manual's command that replays the binary log from a position up to another one."""
    server = site.server
    is_mariadb = server.installation.product == "MariaDB"
    binlog, client, log = ("mariadb-binlog", "mariadb", "mariadb-bin") if is_mariadb else ("mysqlbinlog", "mysql", "mysql-bin")
    [text] = [one.text for one in examples("console") if one.text.startswith(f"{binlog} ")]
    script = text.partition("| less\n")[2]
    assert position["file"] == stop[0]
    for old, new in {
        "=4711": f"={position['offset']}",
        "=12345": f"={stop[1]}",
        f"/var/lib/mysql/{log}.000042": str(server.data_directory / position["file"]),
        "--database=app": f"--database={site.database}",
        f"{client} --binary-mode app": f"{server.installation.client} --no-defaults --socket={server.socket} --user=root "
        f"--binary-mode {site.database}",
        f"{binlog} --": f"{program_for_logs(server, binlog, folder)} --no-defaults --",
    }.items():
        assert old in script
        script = script.replace(old, new)
    subprocess.run(("/bin/bash", "-euo", "pipefail", "-c", script), check=True)


def program_for_logs(server: Server, name: str, folder: Path) -> str:
    """Return the program that prints binary logs. That of another Debian runs with its libraries, as the dump program does."""
    where = server.installation.bin_directory
    if where is None:
        return name
    dump = Path(server.installation.dump)
    script = folder / name
    script.write_text(dump.read_text().replace("${0%/*}", str(where)).replace(f"libexec/{dump.name}", f"bin/{name}"))
    script.chmod(0o755)
    return str(script)


@contextlib.contextmanager
def changing(site: MysqlSite) -> Iterator[None]:
    """Change the database all the time, each change a transaction of its own."""
    command = (site.server.installation.client, "--no-defaults", f"--socket={site.server.socket}", "--user=root", site.database)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdin is not None
        client.stdin.write(CHANGING)
        client.stdin.close()
        try:
            yield
        finally:
            for session in sessions(site):
                site.server.sql(f"kill {session}")
            client.wait()
    wait_until(lambda: not sessions(site))


def sessions(site: MysqlSite) -> list[str]:
    """Return the ids of the sessions that use the database."""
    where = f"where db = '{site.database}' and id <> connection_id()"
    return site.server.sql(f"select id from information_schema.processlist {where}").split()


def count(site: MysqlSite) -> int:
    return int(site.sql("select count(*) from numbered"))


@contextlib.contextmanager
def running(site: MysqlSite, statement: str) -> Iterator[None]:
    """Run a statement that takes long in another session."""
    command = (site.server.installation.client, "--no-defaults", f"--socket={site.server.socket}", "--user=root", site.database)
    with subprocess.Popen((*command, "-e", statement), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        wait_until(lambda: bool(sessions(site)))
        try:
            yield
        finally:
            for session in sessions(site):
                site.server.sql(f"kill {session}")
            client.wait()


def test_the_log_from_the_position_on_has_exactly_what_the_dump_lacks(site: MysqlSite, tmp_path: Path) -> None:
    with changing(site):
        wait_until(lambda: count(site) > 100)
        outcome = site.back_up(binlog_position=True)
        copied = count(site)
        wait_until(lambda: count(site) > copied + 100)
    assert outcome.changed, outcome.msg
    position = position_of(outcome)
    assert position is not None
    before, stop = dump_of(site.server, site.database), end_of_log(site.server)
    site.sql("delete from numbered")
    assert site.restore().changed
    assert dump_of(site.server, site.database) != before
    replay(site, tmp_path, position, stop)
    assert dump_of(site.server, site.database) == before


def test_the_position_moves_on_while_the_database_stays_unchanged(site: MysqlSite) -> None:
    first = site.back_up(binlog_position=True)
    with database_on(site.server):
        pass
    second = site.back_up(binlog_position=True)
    assert (first.outcomes, second.outcomes) == (["created"], ["unchanged"])
    before, after = position_of(first), position_of(second)
    assert before is not None and after is not None
    assert after["offset"] > before["offset"]
    assert (after["file"], after["offset"]) == end_of_log(site.server)
    without = site.back_up(binlog_position=False)
    assert (without.outcomes, position_of(without)) == (["unchanged"], after)
    assert [facts_of(site.directory)["files"][0]["position"]] == [after]


def test_a_backup_with_a_position_is_verified_and_restored(site: MysqlSite) -> None:
    is_mariadb = site.server.installation.product == "MariaDB"
    site.sql(CONTENT if is_mariadb else CONTENT_OF_MYSQL)
    before = dump_of(site.server, site.database)
    assert site.back_up(binlog_position=True).changed
    where = site.server.installation.bin_directory
    programs = {} if where is None else {"bin_directory": str(where)}
    for level in ("checksum", "structure", "restore"):
        [verdict] = site.verify(level, **programs).result["verified"]
        assert verdict["verdict"] == "passed", verdict["detail"]
    site.sql("delete from item")
    assert site.restore().changed
    assert dump_of(site.server, site.database) == before


def test_mariadb_records_the_position_by_default_without_a_lock_and_without_a_privilege(
    mariadb_with_log: Server, tmp_path: Path
) -> None:
    with database_on(mariadb_with_log) as database:
        site = MysqlSite(mariadb_with_log, database, tmp_path / "backups")
        is_older = mariadb_with_log.sql("select version()").startswith("10.")
        routines = "select on mysql.proc" if is_older else f"show create routine on {database}.*"
        mariadb_with_log.sql(
            f"create user reader@localhost; grant select, show view, trigger, event on {database}.* to reader@localhost;"
            f"grant {routines} to reader@localhost; truncate mysql.general_log"
        )
        try:
            position = position_of(site.back_up(login_user="reader"))
        finally:
            mariadb_with_log.sql("drop user reader@localhost")
        assert position is not None
        assert position["gtid"] == mariadb_with_log.sql(f"select binlog_gtid_pos('{position['file']}', {position['offset']})")
        statements = mariadb_with_log.sql("select argument from mysql.general_log")
        assert "CONSISTENT SNAPSHOT" in statements
        assert "FLUSH" not in statements.upper() and "LOCK TABLES" not in statements.upper().replace("UNLOCK TABLES", "")
        assert position_of(site.back_up(binlog_position=False, skip_unchanged=False)) is None


def test_mysql_locks_only_if_the_position_is_requested(mysql: Server, tmp_path: Path) -> None:
    with database_on(mysql) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        flushes = "show global status like 'Com_flush'"
        before = mysql.sql(flushes)
        assert position_of(site.back_up()) is None
        assert mysql.sql(flushes) == before
        assert position_of(site.back_up(binlog_position=True)) is not None
        assert mysql.sql(flushes) != before


def test_privileges_that_the_lock_of_mysql_needs_are_checked_first(mysql: Server, tmp_path: Path) -> None:
    with database_on(mysql) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        mysql.sql(
            f"create user reader@localhost; grant select, show view, trigger, event on {database}.* to reader@localhost;"
            "grant show_routine on *.* to reader@localhost"
        )
        try:
            options = {"login_user": "reader", "binlog_position": True}
            outcome = site.back_up(**options)
            assert (outcome.error_code, outcome.outcomes) == ("grant_missing", ["failed"])
            grant = "GRANT RELOAD, REPLICATION CLIENT ON *.* TO `reader`@`localhost`;"
            assert grant in outcome.msg
            checked = run_module("backup_check", site.options(**options))
            assert [(one["code"], grant in one["remedy"]) for one in checked.result["problems"]] == [("grant_missing", True)]
            mysql.sql(grant)
            assert position_of(site.back_up(**options)) is not None
        finally:
            mysql.sql("drop user reader@localhost")


def test_the_wait_for_the_lock_of_mysql_is_limited(mysql: Server, tmp_path: Path) -> None:
    with database_on(mysql) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        with running(site, "select sleep(300) from t"):
            outcome = site.back_up(binlog_position=True, lock_timeout="1s")
            assert outcome.error_code == "source_busy", outcome.msg
            wait_until(lambda: "FLUSH" not in mysql.sql("show processlist"))
        assert not list(site.directory.glob("backup_*"))


def test_the_wait_is_limited_with_a_program_that_can_not_limit_it_itself(mysql: Server, tmp_path: Path) -> None:
    program = tmp_path / "mysqldump"
    without = 'for one; do shift; case $one in --loose-init-command=*) ;; *) set -- "$@" "$one";; esac; done'
    program.write_text(f'#!/bin/sh\n{without}\nexec {mysql.installation.dump} "$@"\n')
    program.chmod(0o755)
    with database_on(mysql) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        with running(site, "select sleep(300) from t"):
            outcome = site.back_up(binlog_position=True, lock_timeout="1s", bin_directory=str(tmp_path))
            assert outcome.error_code == "source_busy", outcome.msg
            wait_until(lambda: "FLUSH" not in mysql.sql("show processlist"))


def test_a_run_that_is_killed_leaves_no_lock_of_mysql(mysql: Server, tmp_path: Path) -> None:
    with database_on(mysql) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        with running(site, "select sleep(300) from t"):
            with site.backing_up(binlog_position=True, lock_timeout="2s") as process:
                wait_until(lambda: "FLUSH" in mysql.sql("show processlist"))
                process.kill()
            wait_until(lambda: "FLUSH" not in mysql.sql("show processlist"))


def test_a_server_without_a_binary_log_has_no_position(mysql_site: MysqlSite) -> None:
    assert position_of(mysql_site.back_up()) is None
    outcome = mysql_site.back_up(binlog_position=True)
    assert (outcome.error_code, outcome.outcomes) == ("binary_log_off", ["failed"])
