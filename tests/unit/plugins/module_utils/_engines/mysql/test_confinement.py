"""Statements of users that stay in their database are accepted, and others are refused."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.confinement import why_refused

OTHERS = {"app", "mysql", "od`d"}


@pytest.mark.parametrize(
    "statement",
    [
        "update person p join mails as m set p.mail = m.mail, p.app = 'app.x'",
        'delete from person where note = "it\'s app.x" -- app.x',
        "/* app.x */ insert into person values ('it''s \\\\', 1.5, .5) # app.x",
        "update person set person.app = 1, person.`global` = 2, person.global = 3",
        "alter table person drop column app",
        "create temporary table shop as select * from information_schema.tables",
        "create or replace definer = `a`@`b` function half(n int) returns int return n",
        "create unique index one on person (mail)",
        "drop function if exists half",
        "rename table person to people",
        "set @a = 1, session foreign_key_checks = 0",
        "start transaction",
        "(select 1) union (select 2)",
        "with x as (select 1) select * from x",
        "# nothing",
        "",
    ],
)
def test_what_stays_in_its_database_is_accepted(statement: str) -> None:
    assert why_refused(statement.encode(), OTHERS) is None


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("update app.person set mail = 1", "names the database app"),
        ("update APP . person set mail = 1", "names the database APP"),
        ("update `od``d`.person set mail = 1", "names the database od`d"),
        ('update "app".person set mail = 1', "names the database app"),
        ("update/**/app/* */./* */person set mail = 1", "names the database app"),
        ("/*!50003 update app.person set mail = 1 */", "names the database app"),
        ("/*M!100500 update app.person set mail = 1 */", "names the database app"),
        ("select 'a\\'' from app.person", "names the database app"),
        ("create procedure p() begin delete from mysql.user; end", "names the database mysql"),
        ("use other", "USE is refused"),
        ("/*!50003 create user mallory */", "CREATE USER is refused"),
        ("create or replace role mallory", "CREATE ROLE is refused"),
        ("alter user root identified by 'x'", "ALTER USER is refused"),
        ("alter instance reload tls", "ALTER INSTANCE is refused"),
        ("alter database collate latin1_bin", "ALTER DATABASE is refused"),
        ("drop schema other", "DROP SCHEMA is refused"),
        ("grant all on *.* to mallory", "GRANT is refused"),
        ("set global max_connections = 7", "GLOBAL is refused"),
        ("set @@persist.max_connections = 7", "PERSIST is refused"),
        ("set password = 'x'", "SET PASSWORD is refused"),
        ("execute immediate 'drop database other'", "IMMEDIATE is refused"),
        ("create function f returns string soname 'f.so'", "SONAME is refused"),
        ("select 1 into outfile '/x'", "OUTFILE is refused"),
        ("load data infile '/x' into table t", "LOAD is refused"),
        ("start slave", "START SLAVE is refused"),
        ("kill 7", "KILL is refused"),
        ("\\! id", "\\\\ is refused"),
    ],
)
def test_what_leaves_its_database_is_refused(statement: str, reason: str) -> None:
    assert reason.replace("\\\\", "\\") in str(why_refused(statement.encode(), OTHERS))
