"""The circle of a backup on each of the servers of MariaDB and MySQL, and from one of them to another."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.mysql import (
    MysqlSite,
    content_of,
    database_on,
    dump_of,
    login,
    quoted,
)
from tools.throwaway_mysql import Server


def test_a_backup_is_made_verified_and_restored(any_mysql: Server, tmp_path: Path) -> None:
    server = any_mysql
    with database_on(server, sql=content_of(server)) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        outcome = site.back_up(include_globals=True)
        assert outcome.outcomes == ["created", "created"]
        is_mysql = server.installation.product == "MySQL"
        assert outcome.backups[0]["instance"] == server.sql(f"select {'@@server_uuid' if is_mysql else '@@server_uid'}")
        site.sql("analyze table item, child")
        assert site.back_up(include_globals=True).outcomes == ["unchanged", "unchanged"]
        for level in ("structure", "restore"):
            verdicts = site.verify(level, **programs_of(server)).result["verified"]
            assert [one["verdict"] for one in verdicts] == ["passed"] * 2, verdicts
        before = dump_of(server, database)
        site.sql("drop view again; drop function half; drop table log; insert into item (body) values ('newer')")
        outcome = site.restore(keep_old=True)
        assert outcome.changed
        assert dump_of(server, database) == before
        server.sql(f"drop database {quoted(outcome.result['previous'])}")
        assert site.back_up(include_globals=True).outcomes == ["unchanged", "unchanged"]


def test_the_accounts_of_a_database_are_restored_with_their_passwords(any_mysql: Server, tmp_path: Path) -> None:
    server, account = any_mysql, "maker@localhost"
    server.sql(
        f"create user {account} identified by 'secret'; create role r; grant all on *.* to {account}; grant r to {account}"
    )
    described = f"show create user {account}; show grants for {account}"
    before = server.sql(described)
    try:
        with database_on(server) as database:
            site = MysqlSite(server, database, tmp_path / "backups")
            site.sql(f"create definer = {account} procedure by_maker() select 1")
            assert site.back_up(include_globals=True).changed
            server.sql(f"drop user {account}; drop role r")
            dump = dump_of(server, database)
            outcome = site.restore()
            assert outcome.error_code == "roles_missing" and account in outcome.msg
            assert dump_of(server, database) == dump
            assert site.restore(include_globals=True).changed
            assert server.sql(described) == before
    finally:
        server.sql(f"drop user if exists {account}; drop role if exists r")


def test_a_statement_that_only_the_client_of_mysql_finds_is_not_executed(mysql: Server, tmp_path: Path) -> None:
    with database_on(mysql) as database, database_on(mysql) as other:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        assert site.back_up().changed
        hidden = f"VALUES (1 /*M! ' */ );\nDROP TABLE `{other}`.`t`;\n-- ' */ );"
        site.rewrite(b"VALUES (1);", hidden.encode())
        assert site.restore().error_code == "content_invalid"
        assert mysql.sql("show tables", other) == "t"


def test_a_routine_in_a_character_set_that_hides_the_end_of_a_string_is_reported(any_mysql: Server, tmp_path: Path) -> None:
    make = "delimiter //\ncreate procedure {}() select '{}'//\ndelimiter ;\n"
    content = (
        f"{make.format('safe', 'a')}set character_set_client = gbk;\n{make.format('plain', 'a')}{make.format('chinese', '中')}"
    )
    with database_on(any_mysql, sql=content) as database:
        outcome = MysqlSite(any_mysql, database, tmp_path / "backups").back_up()
        [warning] = outcome.warnings
        assert outcome.changed and "chinese (gbk)" in warning and "plain" not in warning and "safe" not in warning


def test_default_values_from_a_sequence_are_restored(mariadb: Server, tmp_path: Path) -> None:
    content = (
        "create sequence s start 5; create table a (id int default nextval(s), b int with system versioning) "
        "comment 'nextval(`app`.`s`)'; insert into a (b) values (1)"
    )
    with database_on(mariadb, "app", content) as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up().changed
        [verified] = site.verify("restore").result["verified"]
        assert verified["verdict"] == "passed", verified["detail"]
        assert site.restore(keep_old=True).changed
        [replaced] = [name for name in mariadb.names() if name.startswith(f"{database}_replaced_")]
        _draws_from_its_own_sequence(mariadb, database)
        _draws_from_its_own_sequence(mariadb, replaced)
        mariadb.sql(f"drop database {replaced}; drop database {database}")
        assert site.restore().changed
        _draws_from_its_own_sequence(mariadb, database)
        mariadb.sql(f"drop database {database}")
        with database_on(mariadb) as other:
            assert site.restore(database=other).changed
            _draws_from_its_own_sequence(mariadb, other)


def _draws_from_its_own_sequence(server: Server, database: str) -> None:
    server.sql("insert into a (b) values (2)", database)
    assert server.sql("select count(*), min(id), max(id) > 5 from a", database).split() == ["2", "5", "1"]
    [definition, comment] = server.sql("show create table a", database).split("COMMENT=")
    assert f"nextval(`{database}`.`s`)" in definition
    assert comment.startswith("'nextval(`app`.`s`)'")


def test_a_login_by_caching_sha2_password_goes_over_tls(mysql: Server, tmp_path: Path) -> None:
    """Its first login has no digest in the server's cache, and needs the password itself."""
    mysql.sql("create user over_tls@'%' identified by 'it\\'s a ; \"secret\" #' require ssl; grant all on *.* to over_tls@'%'")
    try:
        with database_on(mysql) as database:
            site = MysqlSite(mysql, database, tmp_path / "backups")
            options = {"login_unix_socket": None, "login_host": "127.0.0.1", "login_port": mysql.port, "login_user": "over_tls"}
            secret = {"login_password": 'it\'s a ; "secret" #'}
            assert site.back_up(**options, login_password="wrong").error_code == "authentication_failed"
            assert site.back_up(**options, **secret, ssl_mode="disable").error_code == "authentication_failed"
            assert site.back_up(**options, **secret, ssl_mode="verify-ca").error_code == "connection_failed"
            authority = {"ssl_mode": "verify-ca", "ca_cert": str(mysql.data_directory / "ca.pem")}
            assert site.back_up(**options, **secret, **authority).changed
            assert site.back_up(**options, **secret, ssl_mode="require").outcomes == ["unchanged"]
    finally:
        mysql.sql("drop user over_tls@'%'")


def test_a_backup_of_an_older_mariadb_is_restored_to_a_newer_one(mariadb: Server, newer_mariadb: Server, tmp_path: Path) -> None:
    with database_on(mariadb, sql=content_of(mariadb)) as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up(include_globals=True).changed
    verdicts = site.verify("restore", **programs_of(newer_mariadb)).result["verified"]
    assert [one["verdict"] for one in verdicts] == ["passed"] * 2, verdicts
    try:
        assert site.restore(database="elsewhere", **login(newer_mariadb)).changed
        history = "select count(*) from versioned for system_time all"
        assert newer_mariadb.sql(f"select count(*) from again; {history}; select half(4)", "elsewhere").split() == ["3", "2", "2"]
    finally:
        newer_mariadb.sql("drop database if exists elsewhere")


def test_a_backup_of_a_newer_mariadb_is_no_suspect_on_an_older_one(
    mariadb: Server, newer_mariadb: Server, tmp_path: Path
) -> None:
    """The newer server's history ends in 2106, which the older one can't store."""
    with database_on(newer_mariadb, sql=content_of(newer_mariadb)) as database:
        site = MysqlSite(newer_mariadb, database, tmp_path / "backups")
        assert site.back_up().changed
    [verified] = site.verify("restore").result["verified"]
    assert (verified["verdict"], verified["state"]) == ("inconclusive", "good")
    assert "older than the one that was dumped" in verified["detail"] and "1525" in verified["detail"]
    assert site.restore(database="elsewhere", **login(mariadb)).error_code == "server_too_old"


@pytest.mark.parametrize(("source", "other"), [("mariadb-10.11", "mysql-9.7"), ("mysql-9.7", "mariadb-11.8")])
def test_a_backup_of_one_product_is_not_restored_to_the_other(
    mysql_servers: Callable[[str], Server], tmp_path: Path, source: str, other: str
) -> None:
    server, of_other = mysql_servers(source), mysql_servers(other)
    with database_on(server) as database:
        site = MysqlSite(server, database, tmp_path / "backups")
        assert site.back_up().changed
        outcome = site.back_up(**programs_of(of_other))
        assert outcome.error_code == "program_missing"
        assert f"is of {of_other.installation.product}" in outcome.msg or "there is no mysqldump" in outcome.msg
    assert site.restore(database="elsewhere", **login(of_other)).error_code == "program_mismatch"
    options = {option: value for option, value in login(of_other).items() if option != "engine"}
    [verified] = site.verify("restore", **options).result["verified"]
    assert (verified["verdict"], verified["state"]) == ("inconclusive", "good"), verified["detail"]


def programs_of(server: Server) -> dict[str, str]:
    """Return the option that names where its programs are."""
    return {option: value for option, value in login(server).items() if option == "bin_directory"}
