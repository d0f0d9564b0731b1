"""The circle of a backup on a real MySQL server: dumped, verified, restored."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.mysql import (
    CONTENT_OF_MYSQL,
    MysqlSite,
    database_on,
    dump_of,
    login,
    quoted,
)
from tools.throwaway_mysql import Server


def test_a_backup_of_mysql_is_made_verified_and_restored(mysql: Server, tmp_path: Path) -> None:
    programs = {"bin_directory": str(mysql.installation.bin_directory)}
    with database_on(mysql, sql=CONTENT_OF_MYSQL) as database:
        site = MysqlSite(mysql, database, tmp_path / "backups")
        outcome = site.back_up(include_globals=True)
        assert outcome.outcomes == ["created", "created"]
        assert outcome.backups[0]["instance"] == mysql.sql("select @@server_uuid")
        site.sql("analyze table item, child")
        assert site.back_up(include_globals=True).outcomes == ["unchanged", "unchanged"]
        for level in ("structure", "restore"):
            verdicts = site.verify(level, **programs).result["verified"]
            assert [one["verdict"] for one in verdicts] == ["passed"] * 2, verdicts
        before = dump_of(mysql, database)
        site.sql("drop view again; drop function half; drop table log; insert into item (body) values ('newer')")
        outcome = site.restore(keep_old=True)
        assert outcome.changed
        assert dump_of(mysql, database) == before
        mysql.sql(f"drop database {quoted(outcome.result['previous'])}")
        assert site.back_up(include_globals=True).outcomes == ["unchanged", "unchanged"]


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


def test_a_backup_of_one_product_is_not_restored_to_the_other(mysql: Server, mariadb: Server, tmp_path: Path) -> None:
    with database_on(mariadb) as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up().changed
        options = {"directory": str(site.directory), "database": "elsewhere", "source_database": database, **login(mysql)}
        assert run_module("db_restore", options).error_code == "program_mismatch"
        # Its programs are those of the other product.
        assert site.back_up(bin_directory=str(mysql.installation.bin_directory)).error_code == "program_missing"
