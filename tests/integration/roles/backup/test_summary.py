"""The table at the end of a nightly run, and both tables with every strategy."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.impostor import Impostor
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.postgresql import Site
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

HEADER = ["host", "database", "outcome", "size", "age"]


def run(
    folder: Path,
    hosts: dict[str, Any],
    *arguments: str,
    entry: str = "main",
    play: dict[str, Any] | None = None,
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """Run an entry point of the role for several hosts, which are all this one."""
    role = {"name": "lastgood.database.backup", "tasks_from": entry}
    tasks = [{"name": "Run the role", "ansible.builtin.include_role": role}]
    playbook, inventory = folder / "playbook.yml", write_inventory(folder, hosts, **variables)
    playbook.write_text(json.dumps([{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks, **(play or {})}]))
    command = ("ansible-playbook", str(playbook), "--inventory", str(inventory), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})


def write_inventory(folder: Path, hosts: dict[str, Any], **variables: Any) -> Path:
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "backup_interval": "0s", **variables}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    return inventory


def host(folder: Path, *names: str, **variables: Any) -> dict[str, Any]:
    """Make databases, and return the variables of a host that backs them up."""
    folder.mkdir()
    for name in names:
        write(folder / name)
    paths = [str(folder / name) for name in names]
    return {"backup_directory": str(folder / "b"), "backup_sources": [{"engine": "sqlite", "databases": paths}], **variables}


def back_up(hosts: dict[str, Any]) -> None:
    """Back up the databases of hosts, as the role does. A play would take many times as long."""
    for name, variables in hosts.items():
        for source in variables["backup_sources"]:
            outcome = run_module("db_backup", directory=variables["backup_directory"], origin=name, **source)
            assert set(outcome.outcomes) == {"created"}


def write(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text TEXT)")
        connection.execute("INSERT INTO note VALUES ('more')")
        connection.commit()


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return the words of each line that a table showed, headers too."""
    lines = [line.strip() for line in done.stdout.splitlines()]
    return [line.strip('",').split() for line in lines if line.startswith('"') and not line.startswith('"changed"')]


def databases(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return host, database and outcome of each line of the tables."""
    return [row[:3] for row in rows(done) if "just" in row]


def test_a_run_ends_with_one_table_of_every_database_on_all_hosts(tmp_path: Path) -> None:
    hosts = {"db1": host(tmp_path / "db1", "shop.db", "notes.db"), "db2": host(tmp_path / "db2", "shop.db")}
    for outcome in ("created", "unchanged"):
        done = run(tmp_path, hosts)
        assert done.returncode == 0, done.stdout
        expected = [["db1", "shop.db", outcome], ["db1", "notes.db", outcome], ["db2", "shop.db", outcome]]
        assert rows(done).count(HEADER) == 1, done.stdout
        assert databases(done) == expected, done.stdout


def test_the_table_has_the_last_good_backup_of_what_failed_and_the_hosts_that_were_not_reached(tmp_path: Path) -> None:
    hosts = {
        "db1": host(tmp_path / "db1", "shop.db", "notes.db"),
        "far": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, **host(tmp_path / "far")},
        "down": {"backup_directory": str(tmp_path / "d"), "backup_sources": [{"login_unix_socket": str(tmp_path)}]},
    }
    back_up({"db1": hosts["db1"]})
    for name in ("shop.db", "notes.db"):
        (tmp_path / "db1" / name).write_bytes(b"no database" * 100)
    for directory in tmp_path.glob("db1/b/*notes.db*"):
        directory.unlink()
    [good] = tmp_path.glob("db1/b/backup_shop.db_*.gz")
    done = run(tmp_path, hosts)
    assert done.returncode != 0
    for row in (
        ["db1", "shop.db", "failed", str(good.stat().st_size), "B", "just", "now"],
        ["db1", "notes.db", "failed", "NONE"],
        ["far", "unreachable,", "or", "failed", "before", "the", "backup"],
        ["down", "(postgresql", "at", str(tmp_path), "in", f"{tmp_path / 'd'})", "failed"],
    ):
        assert rows(done).count(row) == 1, done.stdout


@pytest.mark.parametrize("entry", ["main", "assert_fresh"])
def test_a_database_whose_run_was_killed_has_a_line_that_says_so(site: Site, tmp_path: Path, entry: str) -> None:
    site.back_up(origin="db1")
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, "os.kill(os.getppid(), signal.SIGKILL)")
    options = {**site.options(), "bin_directory": str(impostor.bin_directory)}
    hosts = {"db1": {"backup_sources": [options], "backup_progress": 0}}
    done = run(tmp_path, hosts)
    if entry == "assert_fresh":
        done = run(tmp_path, hosts, entry=entry)
    [row] = [row for row in rows(done) if row[:2] == ["db1", site.database]]
    assert row[2] == ("died" if entry == "main" else "failing"), done.stdout
    assert "it was killed, or the host went down" in done.stdout and done.returncode != 0


def test_a_database_that_failed_is_shown_as_sent_where_its_last_good_backup_is_on_the_server(
    tmp_path: Path, sftp: SftpServer
) -> None:
    hosts = {"db1": host(tmp_path / "db1", "shop.db", backup_sftp=sftp.options(tmp_path / "there"))}
    run(tmp_path, hosts)
    (tmp_path / "db1" / "shop.db").write_bytes(b"no database" * 100)
    done = run(tmp_path, hosts)
    assert [(row[2], row[-1]) for row in rows(done) if row[1:2] == ["shop.db"]] == [("failed", "yes")], done.stdout


def test_check_mode_says_what_would_be_created(tmp_path: Path) -> None:
    done = run(tmp_path, {"db1": host(tmp_path / "db1", "shop.db")}, "--check")
    assert ["db1", "shop.db", "would", "create"] in rows(done), done.stdout


def test_the_table_can_be_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, {"db1": host(tmp_path / "db1", "shop.db")}, backup_summary=False)
    assert done.returncode == 0 and rows(done) == [], done.stdout


def test_two_databases_of_one_name_are_distinguished_by_their_source(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("d")  # short enough for its paths to be shown whole
    one, two = host(folder / "one", "shop.db"), host(folder / "two", "shop.db")
    done = run(folder, {"db1": {**one, "backup_sources": one["backup_sources"] + two["backup_sources"]}})
    assert ["host", "database", "source", "outcome", "size", "age"] in rows(done)
    assert [row[2] for row in rows(done) if row[0] == "db1"] == [str(folder / name / "shop.db") for name in ("one", "two")]


def test_the_table_says_what_is_on_the_server(tmp_path: Path, sftp: SftpServer) -> None:
    hosts = {
        "db1": host(tmp_path / "db1", "shop.db", backup_sftp=sftp.options(tmp_path / "there")),
        "db2": host(
            tmp_path / "db2", "shop.db", backup_sftp={**sftp.options(tmp_path / "there"), "known_hosts_file": os.devnull}
        ),
    }
    done = run(tmp_path, hosts)
    assert [*HEADER, "sent"] in rows(done), done.stdout
    assert {row[0]: row[-1] for row in rows(done) if row[1:2] == ["shop.db"]} == {"db1": "yes", "db2": "no"}, done.stdout


@pytest.mark.parametrize("entry", ["main", "verify"])
@pytest.mark.parametrize("play", [{"strategy": "free"}, {"strategy": "host_pinned"}, {"serial": 1}], ids=str)
def test_every_strategy_shows_what_every_host_did_and_calls_none_unreachable(
    tmp_path: Path, play: dict[str, Any], entry: str
) -> None:
    names = ("db1", "db2", "db3")
    hosts = {name: host(tmp_path / name, "shop.db") for name in names}
    back_up(hosts)
    done = run(tmp_path, hosts, entry=entry, play=play)
    assert done.returncode == 0, done.stdout
    assert "unreachable," not in done.stdout
    shown = [row[0] for row in rows(done) if row[1:2] == ["shop.db"]]
    expected = ["db1", "db1", "db2", "db1", "db2", "db3"] if "serial" in play else list(names)
    assert sorted(shown) == sorted(expected), done.stdout


def test_a_drill_with_the_strategy_free_shows_each_host_once(tmp_path: Path) -> None:
    hosts = {name: host(tmp_path / name, "shop.db") for name in ("db1", "db2", "db3")}
    back_up(hosts)
    command = ("ansible-playbook", "lastgood.database.drill", "--inventory", str(write_inventory(tmp_path, hosts)))
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STRATEGY": "free"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout
    assert sorted(row[0] for row in rows(done) if "passed" in row) == ["db1", "db2", "db3"], done.stdout
