"""Encrypted backups are restored with nothing but age or gpg, zcat and the database's own programs, as README says."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.encryption_keys import age_key, gpg_key, gpg_keys
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite
from ansible_collections.lastgood.database.tests.support.mysql import database_on as mysql_database_on
from ansible_collections.lastgood.database.tests.support.observe import payload
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on

Pipe = Callable[..., bytes]


@pytest.fixture(params=["age", "gpg"])
def encryption(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The options of db_backup."""
    if request.param == "age":
        return {"encryption": "age", "recipients": [age_key().public]}
    ring = tmp_path / "ring"
    ring.write_text(gpg_key().public, encoding="utf-8")
    return {"encryption": "gpg", "recipients_file": str(ring)}


@pytest.fixture
def pipe(encryption: dict[str, Any], tmp_path: Path) -> Iterator[Pipe]:
    """Decrypt a backup, and pipe it through zcat to a command."""
    identity = tmp_path / "identity.txt"
    identity.write_text(age_key().secret, encoding="utf-8")
    with gpg_keys(gpg_key().secret.encode()) as gpg:
        decrypt = "age -d -i identity.txt" if encryption["encryption"] == "age" else f"gpg --homedir {gpg.home} -d"

        def run(backup: Path, command: str, environment: Mapping[str, str] | None = None) -> bytes:
            script = f"set -euo pipefail; {decrypt} {backup} | zcat | {command}"
            arguments = ("/bin/bash", "-c", script)
            return subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=True, env=environment).stdout

        yield run


def test_sqlite(encryption: dict[str, Any], pipe: Pipe, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("create table t as select 7 as n")
    directory = tmp_path / "backups"
    databases = [str(tmp_path / "shop.db")]
    made = run_module("db_backup", encryption, directory=str(directory), engine="sqlite", databases=databases)
    assert made.status == 0, made.result
    pipe(payload(directory), "cat > restored.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "restored.db")) as connection:
        assert connection.execute("select n from t").fetchall() == [(7,)]


def test_postgresql(encryption: dict[str, Any], pipe: Pipe, site: Site) -> None:
    assert site.back_up(include_globals=False, **encryption).status == 0
    server = site.server
    environment = {**server.environment, "PATH": f"{server.bin_directory}:{server.environment['PATH']}"}
    with database_on(server, sql="") as restored:
        pipe(payload(site.directory), f"pg_restore --exit-on-error --dbname={restored}", environment)
        assert server.psql("select count(*) from t", restored) == "1"


def test_mariadb(encryption: dict[str, Any], pipe: Pipe, mysql_site: MysqlSite) -> None:
    assert mysql_site.back_up(include_globals=False, **encryption).status == 0
    server = mysql_site.server
    with mysql_database_on(server, sql="") as restored:
        server.run("mariadb", "--binary-mode", "--comments", restored, stdin=pipe(payload(mysql_site.directory), "cat").decode())
        assert server.sql("select count(*) from t", restored) == "1"
