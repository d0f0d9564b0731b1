"""restore_only of db_restore for MariaDB and MySQL: tables of a dump, with their triggers."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.mysql import (
    CONTENT,
    CONTENT_OF_MYSQL,
    MysqlSite,
    database_on,
    dump_of,
)
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from tools.throwaway_mysql import Server

ODD = "create table `item; ``two``` (a int); insert into `item; ``two``` values (1), (2);"


@pytest.fixture(params=["mariadb", "mysql"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database with one of each object on a server of each product, and a backup of it."""
    server: Server = request.getfixturevalue(request.param)
    before = server.names()
    with database_on(server, sql=ODD + (CONTENT if request.param == "mariadb" else CONTENT_OF_MYSQL)) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        assert site.back_up().changed
        yield site
    server.sql("drop database if exists copy")
    assert server.names() == before


def restore_tables(site: MysqlSite, *tables: str, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
    options = {"database": "copy", "if_exists": "fail", "restore_only": {"tables": list(tables)}, **over}
    return run_module("db_restore", site.restore_options(**options), check=check, diff=diff)


def objects_of(site: MysqlSite, database: str = "copy") -> set[str]:
    sql = f"""
    select table_name from information_schema.tables where table_schema = '{database}' and table_type <> 'SEQUENCE'
    union all select trigger_name from information_schema.triggers where trigger_schema = '{database}'
    union all select routine_name from information_schema.routines where routine_schema = '{database}'
    union all select event_name from information_schema.events where event_schema = '{database}'"""
    return set(site.server.sql(sql).splitlines())


def test_tables_come_with_rows_keys_and_triggers_and_nothing_else(full: MysqlSite) -> None:
    outcome = restore_tables(full, "parent", "child", "item; `two`", "plain")
    assert outcome.changed, outcome.msg
    assert outcome.result["previous"] is None
    assert objects_of(full) == {"parent", "child", "item; `two`", "plain", "note", "more"}
    for table in ("parent", "child", "`item; ``two```", "plain"):
        assert full.server.sql(f"checksum table {table}", "copy").split()[-1] == full.sql(f"checksum table {table}").split()[-1]
    violation = ("copy", "-e", "insert into child values (8, 99)")
    assert "1452" in full.server.run(full.server.installation.client, *violation, check=False).stderr
    assert not outcome.warnings


def test_a_foreign_key_to_a_table_that_is_not_named_is_left_out_with_a_warning(full: MysqlSite) -> None:
    outcome = restore_tables(full, "child", "log")
    assert outcome.changed, outcome.msg
    [warning] = outcome.warnings
    assert "fk of child, which refers to parent" in warning
    full.server.sql("insert into child values (8, 99)", "copy")
    assert full.server.sql("select count(*) from log where x in (8, 108)", "copy") == "2"  # both triggers


def test_tables_that_the_backup_lacks_are_named_with_those_that_it_has(full: MysqlSite) -> None:
    outcome = restore_tables(full, "item", "bodies", "ITEM%")
    assert outcome.error_code == "parts_missing"
    assert outcome.result["error"]["missing"] == ["table bodies", "table ITEM%"]
    assert "It has child, item, item; `two`, log, " in outcome.msg


def test_it_never_replaces_a_database_and_knows_no_schemas(full: MysqlSite) -> None:
    before = dump_of(full.server, full.database)
    for check in (True, False):
        assert restore_tables(full, "item", if_exists="replace", check=check).error_code == "argument_invalid"
        assert restore_tables(full, "item", database=full.database, check=check).error_code == "database_exists"
        schemas = restore_tables(full, restore_only={"schemas": ["x"]}, check=check)
        assert "The engine mysql has no option restore_only.schemas" in schemas.msg
    planned = restore_tables(full, "item", "log", check=True, diff=True)
    assert "only the table item, the table log" in planned.result["diff"]["after"]
    assert dump_of(full.server, full.database) == before


def test_only_the_definers_of_triggers_on_the_named_tables_have_to_exist(full: MysqlSite) -> None:
    full.server.sql("create user maker@localhost; grant all on *.* to maker@localhost")
    full.sql("create definer = maker@localhost trigger by_maker before insert on item for each row set new.body = 'x'")
    assert full.back_up().changed
    full.server.sql("drop user maker@localhost")
    assert restore_tables(full, "item").error_code == "roles_missing"
    outcome = restore_tables(full, "child", "parent", run_sql={"statements": ["update child set id = 7"]})
    assert outcome.changed, outcome.msg
    assert full.server.sql("select distinct id from child", "copy") == "7"


def test_a_database_that_comes_into_being_meanwhile_is_not_replaced(full: MysqlSite) -> None:
    """The restore waits for a lock of the test while it runs the user's SQL."""
    server = full.server
    waiting = "select count(*) from information_schema.processlist where info like 'do get_lock%'"
    run_sql = {"statements": ["do get_lock('the_test', 60)"]}
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(contextlib.closing(pymysql.connect(unix_socket=str(server.socket), user=server.user)))
        holder.cursor().execute("select get_lock('the_test', 0)")
        with full.restoring(database="copy", if_exists="fail", run_sql=run_sql) as process:
            wait_until(lambda: server.sql(waiting) == "1" or process.ended)
            server.sql("create database copy; create table copy.mine (a int)")
            stack.close()
            assert process.wait().error_code == "database_exists"
    assert objects_of(full) == {"mine"}
