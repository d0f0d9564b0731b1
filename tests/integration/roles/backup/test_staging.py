"""The playbook lastgood.database.staging, run by ansible-playbook: another host's backups, without personal data."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite
from ansible_collections.lastgood.database.tests.support.mysql import login as mysql_login
from ansible_collections.lastgood.database.tests.support.postgresql import Site, login
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

SECRET = "s3cret-of-the-statement"


def play(folder: Path, variables: dict[str, t.Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook for this host as stage1, with backups of prod1."""
    inventory = folder / "inventory.json"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"hosts": {"stage1": variables, "prod1": {}}, "vars": local}}))
    command = ["ansible-playbook", "lastgood.database.staging", "--inventory", str(inventory)]
    command += ["--extra-vars", "backup_hosts=stage1 backup_from_host=prod1", *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A database of staging, and the backup of production's in its directory below ``hosts``."""
    for name, text in (("production", "a@b.c"), ("staging", "old")):
        path = tmp_path / name / "shop.db"
        path.parent.mkdir()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"create table person (mail text); insert into person values ('{text}')")
    options = {"directory": str(tmp_path / "hosts" / "prod1"), "databases": [str(tmp_path / "production" / "shop.db")]}
    assert run_module("db_backup", engine="sqlite", origin="prod1", **options).changed
    return tmp_path / "staging" / "shop.db"


def mail_in(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("select mail from person").fetchone()[0])


def test_another_hosts_backup_on_the_server_replaces_the_database_without_personal_data(
    tmp_path: Path, shop: Path, sftp: SftpServer
) -> None:
    statement = f"update person set mail = 'nobody' -- {SECRET}"
    restores = [{"engine": "sqlite", "database": str(shop), "run_sql": {"statements": [statement]}}]
    variables = {"backup_sftp": sftp.options(tmp_path / "hosts"), "backup_restores": restores}
    check = play(tmp_path, variables, "--check", "--diff")
    assert check.returncode == 0, check.stdout
    assert "+run_sql: 1 statement" in check.stdout
    assert mail_in(shop) == "old"
    finished = play(tmp_path, variables, "-vvv")
    assert finished.returncode == 0, finished.stdout
    assert mail_in(shop) == "nobody"
    assert SECRET not in finished.stdout + finished.stderr + check.stdout


def test_sql_that_fails_leaves_staging_as_it_was_and_nothing_of_the_copy(tmp_path: Path, shop: Path) -> None:
    variables = {
        "backup_read_from": "controller",
        "backup_download_to": str(tmp_path / "hosts"),
        "backup_restores": [
            {"engine": "sqlite", "database": str(shop), "source_database": "lost.db"},
            {"engine": "sqlite", "database": str(shop), "run_sql": {"statements": ["delete from nowhere"]}},
        ],
    }
    before = set(Path("/var/tmp").glob("lastgood-*"))
    finished = play(tmp_path, variables)
    assert finished.returncode == 2
    assert "Statement 1 of run_sql failed: no such table: nowhere" in finished.stdout, finished.stdout
    assert f"There is no good backup of lost.db in {tmp_path}/hosts/prod1 on the controller" in finished.stdout
    assert mail_in(shop) == "old"
    assert set(Path("/var/tmp").glob("lastgood-*")) == before


def test_a_host_whose_backups_are_restored_is_never_restored_to(tmp_path: Path, shop: Path) -> None:
    settings = {"backup_read_from": "controller", "backup_download_to": str(tmp_path / "hosts")}
    restores = [{"engine": "sqlite", "database": str(shop)}]
    finished = play(tmp_path, {**settings, "backup_restores": restores}, "--extra-vars", "backup_hosts=all")
    assert finished.returncode == 2
    assert "Set backup_from_host" in finished.stdout
    assert mail_in(shop) == "old"


def test_all_databases_of_a_server_come_with_their_roles_from_the_controller(tmp_path: Path, site: Site) -> None:
    site.server.psql(f"create role keeper; alter database {site.database} owner to keeper")
    site._replace(directory=tmp_path / "hosts" / "prod1").back_up(include_globals=True, origin="prod1")
    site.sql("drop table t")
    site.server.psql(f"alter database {site.database} owner to postgres; drop role keeper")
    server = {"directory": "/nonexistent", "databases": [site.database], **login(site.server)}
    variables = {
        "backup_read_from": "controller",
        "backup_download_to": str(tmp_path / "hosts"),
        "backup_sources": [server],
        "backup_restores": "all",
        "backup_restore_defaults": {"run_sql": {"statements": ["update t set n = 7"], "as_owner": False}},
    }
    try:
        finished = play(tmp_path, variables)
        assert finished.returncode == 0, finished.stdout
        assert site.sql("select n, pg_get_userbyid(datdba) from t, pg_database where datname = current_database()") == "7|keeper"
    finally:
        site.server.psql(f"drop database {site.database} with (force); drop role if exists keeper")


def test_a_database_of_mariadb_comes_without_personal_data(tmp_path: Path, mysql_site: MysqlSite) -> None:
    directory = tmp_path / "hosts" / "prod1"
    assert mysql_site._replace(directory=directory).back_up(origin="prod1").changed
    restores = [
        {"database": mysql_site.database, "run_sql": {"statements": ["update t set n = 7"]}, **mysql_login(mysql_site.server)}
    ]
    settings = {"backup_read_from": "controller", "backup_download_to": str(tmp_path / "hosts")}
    finished = play(tmp_path, {**settings, "backup_restores": restores})
    assert finished.returncode == 0, finished.stdout
    assert mysql_site.sql("select n from t") == "7"
