"""The README's main examples, run as they stand: only places and logins are those of this machine."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ansible_collections.lastgood.database.tests.support.examples import Example, examples
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.postgresql import database_on, drop, login
from tools.throwaway_postgresql import Server

README = [one for one in examples() if one.page == "README.md"]
MODULE_WITH_LOGIN = re.compile(r"""(-m lastgood\.database\.db_\w+\s+(?:\\\n\s*)?-a ")""")
BECOME = re.compile(r"-b --become-user \w+ ")
PAYLOAD = re.compile(r"(backup_[^_\s]+_)2026-01-31_01-00-00(\.dump\.gz)")


def example(text: str) -> Example:
    """Return the only example of the README with that text."""
    found = [one for one in README if text in one.text]
    assert len(found) == 1, text
    return found[0]


@dataclass(frozen=True)
class Machine:
    """What stands for the host db7 and its places."""

    server: Server
    folder: Path

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def shop(self) -> Path:
        return self.folder / "shop"

    def run(self, script: str) -> str:
        """Run commands in the place of those of the README, up to the first that fails, and return what they print."""
        done = subprocess.run(
            ("/bin/bash", "-euo", "pipefail", "-c", self.placed(script)),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def placed(self, script: str) -> str:
        """Return a script with the places of this machine."""
        script = script.replace("sudo -u postgres -i\n", "")
        script = script.replace("/var/lib/postgresql/backups", str(self.backups)).replace("/srv/shop", str(self.shop))
        options = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in login(self.server).items())
        if "engine=sqlite" not in script:
            script = MODULE_WITH_LOGIN.sub(rf"\1{options} ", script)
        return PAYLOAD.sub(self._payload, BECOME.sub("", script))

    def environment(self) -> Mapping[str, str]:
        environment = self.server.environment
        return {
            **environment,
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{self.server.bin_directory}:{environment['PATH']}",
        }

    def _payload(self, match: re.Match[str]) -> str:
        """Return the name of the backup that stands for the one of the README."""
        (found,) = [path for folder in (self.backups, self.shop / "backups") for path in folder.glob(f"{match[1]}*{match[2]}")]
        return found.name


@pytest.fixture
def machine(server: Server, tmp_path: Path) -> Iterator[Machine]:
    """A database app, an SQLite file shop.db, and the inventory of the README."""
    (tmp_path / "shop").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "shop" / "shop.db")) as connection:
        connection.execute("CREATE TABLE purchase AS SELECT 42 AS id")
        connection.commit()
    variables = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    (tmp_path / "inventory").write_text(f"[databases]\ndb7 {variables}\n")
    with database_on(server, "app"):
        yield Machine(server, tmp_path)


def back_up(machine: Machine) -> None:
    """Make a backup of each of the databases, and one of the roles."""
    common = {"origin": "db7"}
    of_server = {**login(machine.server), "databases": ["app"], "include_globals": True}
    of_file = {"engine": "sqlite", "databases": [str(machine.shop / "shop.db")]}
    assert run_module("db_backup", directory=str(machine.backups), **of_server, **common).changed
    assert run_module("db_backup", directory=str(machine.shop / "backups"), **of_file, **common).changed


def test_the_nightly_run_changes_nothing_the_second_time(machine: Machine) -> None:
    variables = yaml.safe_load(machine.placed(example("backup_retention:").text))
    for source in variables["backup_sources"]:
        del source["become_user"]
    variables["backup_sources"][0] |= {**login(machine.server), "databases": ["app"]}
    (machine.folder / "group_vars").mkdir()
    (machine.folder / "group_vars" / "databases.yml").write_text(yaml.safe_dump(variables))
    assert re.search(r"db7 .*changed=[1-9].*failed=0 ", machine.run(example("ansible-playbook lastgood.database.backup").text))
    (machine.folder / "site.yml").write_text(example("roles:\n    - role: lastgood.database.backup").text)
    assert re.search(r"db7 .*changed=0 .*failed=0 ", machine.run("ansible-playbook -i inventory site.yml"))


def test_a_backup_at_3_in_the_morning(machine: Machine) -> None:
    assert "CHANGED" in machine.run(example("-m lastgood.database.db_backup").text)
    assert "backup_app_" in machine.run(example("-m lastgood.database.backup_facts").text)


def test_the_steps_of_a_restore(machine: Machine) -> None:
    back_up(machine)
    machine.server.psql("update t set n = 2", "app")
    assert '"newest_good": "backup_app_' in machine.run(example("-m lastgood.database.backup_facts").text)
    try:
        machine.run(example("database=app_look").text)
        assert machine.server.psql("select n from t", "app_look") == "1"
        assert machine.server.psql("select n from t", "app") == "2"
        said = machine.run(example("database=app if_exists=replace").text)
        assert machine.server.psql("select n from t", "app") == "1"
        previous = re.search(r'"previous": "([^"]+)"', said)
        assert previous is not None
        assert machine.server.psql("select n from t", previous[1]) == "2"
    finally:
        for name in machine.server.psql("select datname from pg_database where datname ~ '^app_'").splitlines():
            drop(machine.server, name)


def test_a_restore_by_the_servers_own_programs(machine: Machine) -> None:
    back_up(machine)
    globals_first = machine.placed(example("psql --no-psqlrc --dbname=postgres").text)
    machine.run(globals_first.replace("--dbname=postgres", "--dbname=postgres 2>&1"))
    create, archive, plain = example("createdb --template=template0").text.splitlines()
    assert "psql" in plain  # as test_db_backup_postgresql.py restores it
    try:
        machine.run(f"cd {machine.backups}\n{create}\n{archive}")
        assert machine.server.psql("select n from t", "restored") == "1"
    finally:
        drop(machine.server, "restored")
    assert "CREATE DATABASE app" in machine.run(f"cd {machine.backups}\n{example('grep -w DATABASE').text}")


@pytest.mark.parametrize("text", ["engine=sqlite database=/srv/shop/shop.db", "rm -f shop.db-wal"], ids=["db_restore", "by hand"])
def test_a_restore_of_an_sqlite_file(machine: Machine, text: str) -> None:
    back_up(machine)
    path = machine.shop / "shop.db"
    before = os.stat(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE purchase")
        connection.commit()
    machine.run(example(text).text)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM purchase").fetchall() == [(42,)]
    assert os.stat(path).st_mode == before.st_mode
