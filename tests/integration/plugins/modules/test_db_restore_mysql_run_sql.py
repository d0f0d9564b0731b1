"""run_sql of db_restore for MariaDB and MySQL: SQL in the new tables before they get their place, and SQL that goes wrong."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite, database_on, dump_of
from ansible_collections.lastgood.database.tests.support.observe import contents, wait_until
from tools.throwaway_mysql import Server

SECRET = "s3cret-of-the-row"
CONTENT = f"""
create table person (id int primary key auto_increment, mail varchar(60));
insert into person (mail) values ('{SECRET}'), ('100% \\\\ it''s'), (null);
create table log (text text);
create view mails as select mail from person;
create trigger logs after update on person for each row insert into log values (old.mail);
create function half(n int) returns int deterministic return n / 2
"""
ENDLESS = "do benchmark(2000000000, sha2('x', 512))"  # which does not notice that its client ended


@pytest.fixture(params=["mariadb", "mysql"])
def people(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database with personal data on a server of each product, and a backup of it."""
    server: Server = request.getfixturevalue(request.param)
    before = server.names()
    with database_on(server, sql=CONTENT) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        assert site.back_up().changed
        yield site
    assert server.names() == before


def restore(site: MysqlSite, *statements: str, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
    run_sql = {"statements": list(statements), **over.pop("run_sql", {})}
    return run_module("db_restore", site.restore_options(run_sql=run_sql, **over), check=check, diff=diff)


@contextlib.contextmanager
def as_it_was(site: MysqlSite) -> Iterator[None]:
    """Assert that the target, the list of databases, the accounts and the directory stay the same."""
    accounts = "select user, host from mysql.user order by 1, 2"
    before = dump_of(site.server, site.database), site.server.names(), site.server.sql(accounts), contents(site.directory)
    yield
    after = dump_of(site.server, site.database), site.server.names(), site.server.sql(accounts), contents(site.directory)
    assert after == before


# --- What it does ---------------------------------------------------------------------------------


def test_the_sql_changes_the_restored_database_and_fires_none_of_its_triggers(people: MysqlSite) -> None:
    source = dump_of(people.server, people.database)
    outcome = restore(
        people,
        "create temporary table shop (n int); insert into shop values (1); -- a comment; it's",
        "update person join shop set person.mail = concat('x;', n, '\\\\%s')",
        "create index by_mail on person (mail)",
        database="copy",
    )
    try:
        assert outcome.changed, outcome.msg
        assert people.server.sql("select mail from person", "copy").split() == ["x;1\\\\%s"] * 3
        assert people.server.sql("select count(*) from log", "copy") == "0"
        people.server.sql("update person set mail = half(id * 2)", "copy")
        assert people.server.sql("select mail from mails", "copy").split() == ["1", "2", "3"]
        assert people.server.sql("select count(*) from log", "copy") == "3"
        assert dump_of(people.server, people.database) == source
    finally:
        people.server.sql("drop database if exists copy")


def test_a_file_is_run_as_the_client_would_run_it(people: MysqlSite, tmp_path: Path) -> None:
    """What it makes beside tables moves with them."""
    script = tmp_path / "anonymise.sql"
    script.write_text(
        """
        # as café
        DELIMITER //
        create function masked(n int) returns varchar(20) deterministic begin /* ; */ return concat('é', n); end//
        create trigger stays before insert on person for each row begin set new.mail = masked(new.id); end//
        DELIMITER ;
        create view masks as select mail from person;
        start transaction; update person set mail = masked(id)
        """,
        encoding="utf-8",
    )
    outcome = people.restore(run_sql={"file": str(script)})
    assert outcome.changed, outcome.msg
    assert people.sql("insert into person (id) values (9); select mail from masks").split() == ["é1", "é2", "é3", "é9"]
    assert people.sql("select count(*) from log") == "0"


def test_the_sql_runs_with_the_sql_mode_of_the_server(people: MysqlSite) -> None:
    mode = people.server.sql("select @@global.sql_mode")
    people.server.sql("set global sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
    try:
        outcome = restore(people, """update "person" set mail = 'a\\'; update person set mail = concat(mail, 'b;')""")
        assert outcome.changed, outcome.msg
    finally:
        people.server.sql(f"set global sql_mode = '{mode}'")
    assert people.sql("select distinct hex(mail) from person") == "615C623B"


def test_check_mode_shows_what_would_be_run_without_its_text(people: MysqlSite) -> None:
    with as_it_was(people):
        outcome = restore(people, f"select '{SECRET}'", "select 2", check=True, diff=True)
        assert outcome.changed
        assert "run_sql: 2 statements\n" in outcome.result["diff"]["after"]
        assert SECRET not in str(outcome.result)
        owner = restore(people, "select 1", run_sql={"as_owner": True}, check=True)
        assert owner.error_code == "argument_invalid" and "engine mysql has no option run_sql.as_owner" in owner.msg


# --- What goes wrong ------------------------------------------------------------------------------

REFUSED = {
    "its last statement fails": ["delete from person", "alter table person drop nothing"],
    "a later one of its statements fails": ["drop table log; drop table log"],
    "it does not end a string": ["delete from person", "select 'a"],
    "it selects the old database": ["use {0}"],
    "it changes the old database": ["delete from person", "delete from {0}.person"],
    "it changes the old database by quoted names": ["delete from `{0}` /* */ . `person`"],
    "it changes the old database in an executed comment": ["/*!40000 delete from {0}.person */"],
    "it moves a table to the old database": ["alter table person rename {0}.stolen"],
    "it drops the old database": ["drop database {0}"],
    "it makes an account": ["create user mallory"],
    "it makes an event": ["create event at_once on schedule every 1 second do delete from {0}.person"],
    "it changes an account": ["set password = 'x'"],
    "it changes the server": ["set @a = 1, global max_connections = 7"],
    "it changes the server in another way": ["set @@global.max_connections = 7"],
    "it hides a statement": ["prepare hidden from 'drop database {0}'"],
    "it hides a statement in a procedure": ["create procedure hide() begin prepare hidden from 'drop database {0}'; end"],
    "it writes a file": ["select 1 into outfile '{1}/escaped'"],
    "it has a command of the client": ["\\! touch {1}/escaped"],
    "it reads the old rows of a view": ["create table stolen as select * from mails"],
    "it makes a routine that the backup has": ["create function half(n int) returns int deterministic return n"],
}


def test_sql_that_fails_or_leaves_its_database_changes_nothing(people: MysqlSite, tmp_path: Path) -> None:
    with as_it_was(people):
        for what, statements in REFUSED.items():
            outcome = restore(people, *(one.format(people.database, tmp_path) for one in statements))
            if "routine" in what:
                assert outcome.error_code == "query_failed" and "half" in outcome.msg
                continue
            assert outcome.error_code == "run_sql_failed", (what, outcome.result)
            assert outcome.msg.startswith(f"Statement {len(statements)} of run_sql failed: "), what
    assert not (tmp_path / "escaped").exists()


def test_an_error_has_the_words_and_the_line_and_no_rows(people: MysqlSite, tmp_path: Path) -> None:
    rows = restore(people, "select 1", f"update person set mail = '{SECRET}'; create unique index once on person (mail)")
    assert "Statement 2 of run_sql failed: Duplicate entry '...' for key" in rows.msg and "once" in rows.msg
    assert rows.result["error"]["number"] == 1062
    text = restore(people, "alter table person modify mail int")
    assert "value: '...'" in text.msg
    script = tmp_path / "anonymise.sql"
    script.write_text(f"delete from log;\n\nupdate person\n set mail = '{SECRET}' where where id;\n", encoding="utf-8")
    syntax = people.restore(run_sql={"file": str(script)})
    assert "anonymise.sql of run_sql failed: You have an error in your SQL syntax" in syntax.msg
    assert "(error 1064, line 4)" in syntax.msg
    script.write_text("delete from log;\n\n  insert into person\n values (1);\n", encoding="utf-8")
    count = people.restore(run_sql={"file": str(script)})
    assert "Column count doesn't match value count at row 1 (error 1136, line 3)." in count.msg
    for outcome in (rows, text, syntax, count):
        assert SECRET not in str(outcome.result)


def test_sql_that_never_ends_is_ended_at_its_timeout(people: MysqlSite) -> None:
    with as_it_was(people):
        outcome = restore(people, ENDLESS, run_sql={"timeout": "1s"})
        assert outcome.error_code == "timeout" and "run_sql" in outcome.msg
        assert not running(people)


def running(site: MysqlSite) -> bool:
    return site.server.sql("select count(*) from information_schema.processlist where info like 'do benchmark%'") != "0"


def test_a_signal_ends_sql_that_never_ends(people: MysqlSite) -> None:
    with as_it_was(people), people.restoring(run_sql={"statements": [ENDLESS]}) as process:
        wait_until(lambda: running(people) or process.ended)
        process.send_signal(signal.SIGTERM)
        assert process.wait().error_code == "interrupted"
    assert not running(people)


def test_the_next_restore_ends_sql_whose_run_was_killed(people: MysqlSite) -> None:
    with as_it_was(people):
        with people.restoring(run_sql={"statements": [f"begin; update person set mail = 'x'; {ENDLESS}"]}) as process:
            wait_until(lambda: running(people) or process.ended)
            process.kill()
        assert running(people)
        assert any("_restoring_" in name for name in people.server.names())
        outcome = restore(people, "select * from nothing")
        assert outcome.error_code == "run_sql_failed"
    assert not running(people)
