"""The role's entry point ``verify``, and the playbook that ends with a table of who passed."""

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

from ansible_collections.lastgood.database.tests.support.encryption_keys import age_key
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.observe import manifest, payloads
from ansible_collections.lastgood.database.tests.support.postgresql import Site, login
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer


def run(
    playbook: str, folder: Path, inventory: dict[str, dict[str, Any]], variables: dict[str, Any], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a playbook for several hosts, which are all this one."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    file = folder / "inventory.json"
    file.write_text(json.dumps({"all": {"vars": common, "hosts": inventory}}))
    command = ("ansible-playbook", playbook, "--inventory", str(file), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})


def drill(folder: Path, inventory: dict[str, dict[str, Any]], **variables: Any) -> subprocess.CompletedProcess[str]:
    return run("lastgood.database.drill", folder, inventory, variables)


def verify(
    folder: Path, inventory: dict[str, dict[str, Any]], serial: int | str = "100%", **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run the role's entry point from a play of one's own."""
    role = {"name": "lastgood.database.backup", "tasks_from": "verify"}
    tasks = [{"name": "Check them", "ansible.builtin.include_role": role}]
    playbook = folder / "playbook.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "serial": serial, "gather_facts": False, "tasks": tasks}]))
    return run(str(playbook), folder, inventory, variables)


def table_of(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The words of each line that was shown, as the default callback shows them, without the source of a database."""
    rows = [line.strip().strip('",').split() for line in done.stdout.splitlines()]
    return [row[:2] + row[3:] if len(row) > 6 and (row[2].startswith("/") or row[0] == "host") else row for row in rows]


def tables_in(done: subprocess.CompletedProcess[str]) -> int:
    return sum(row[:2] == ["host", "database"] for row in table_of(done))


def host_with_backups(folder: Path, *names: str) -> dict[str, Any]:
    """Back up new databases of these names, and return the variables of the host that has them."""
    folder.mkdir()
    sources = []
    for name in names:
        with contextlib.closing(sqlite3.connect(folder / name)) as connection:
            connection.execute("CREATE TABLE note (text TEXT)")
            connection.execute("INSERT INTO note VALUES ('one'), ('two'), ('three')")
            connection.commit()
        sources.append({"engine": "sqlite", "databases": [str(folder / name)]})
        directory = str(folder / "backups")
        run_module("db_backup", directory=directory, engine="sqlite", databases=[str(folder / name)])
    return {"backup_directory": str(folder / "backups"), "backup_sources": sources}


def back_up_more(folder: Path, name: str) -> None:
    """Change a database, and back it up again."""
    with contextlib.closing(sqlite3.connect(folder / name)) as connection:
        connection.execute("INSERT INTO note VALUES ('more')")
        connection.commit()
    options = {"directory": str(folder / "backups"), "engine": "sqlite", "databases": [str(folder / name)]}
    assert run_module("db_backup", **options).outcomes == ["created"]


def looked_at(folder: Path) -> dict[str, list[bool]]:
    """Of each database, whether its backups were looked at, from the oldest on."""
    found: dict[str, list[bool]] = {}
    for one in sorted(map(manifest, payloads(folder)), key=lambda one: str(one["created_at"])):
        found.setdefault(one["database"], []).append(one["verification"] is not None)
    return found


def test_the_newest_of_each_database_is_looked_at_or_as_many_and_of_which_ones_is_asked(tmp_path: Path) -> None:
    host = host_with_backups(tmp_path / "good", "shop.db", "notes.db")
    for name in ("shop.db", "notes.db") * 2:
        back_up_more(tmp_path / "good", name)
    backups = tmp_path / "good" / "backups"

    done = verify(tmp_path, {"good": {**host, "backup_verify_databases": ["notes.db"]}})
    assert done.returncode == 0, done.stdout
    assert looked_at(backups) == {"shop.db": [False, False, False], "notes.db": [False, False, True]}

    done = verify(tmp_path, {"good": host})
    assert done.returncode == 0, done.stdout
    assert looked_at(backups) == {"shop.db": [False, False, True], "notes.db": [False, False, True]}

    done = verify(tmp_path, {"good": {**host, "backup_verify_newest": 2}})
    assert done.returncode == 0, done.stdout
    assert looked_at(backups) == {"shop.db": [False, True, True], "notes.db": [False, True, True]}


def test_the_table_has_every_host_and_only_those_with_a_bad_backup_fail(tmp_path: Path) -> None:
    inventory = {
        "good": host_with_backups(tmp_path / "good", "shop.db", "notes.db"),
        "rotten": host_with_backups(tmp_path / "rotten", "shop.db"),
        "idle": {"backup_directory": str(tmp_path / "none"), "backup_sources": []},
        "empty": {"backup_directory": str(tmp_path / "none"), "backup_sources": [{}]},
        "far": {
            "backup_directory": "/none",
            "backup_sources": [{}],
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": 1,
        },
        "refused": {"backup_directory": "/none", "backup_sources": [{"engin": "sqlite"}]},
    }
    [bad] = payloads(tmp_path / "rotten" / "backups")
    bad.write_bytes(bad.read_bytes()[:-1])
    done = drill(tmp_path, inventory, backup_verify_level="structure")
    table = {tuple(row) for row in table_of(done)}
    for row in (
        ("good", "shop.db", "structure", "passed"),
        ("good", "notes.db", "structure", "passed"),
        ("rotten", "shop.db", "checksum", "failed"),
        ("far", "unreachable"),
        ("idle", "nothing", "was", "verified"),
    ):
        assert any(found[: len(row)] == row for found in table), done.stdout + done.stderr
    assert any(row[:1] == ("empty",) and "has no backup." in " ".join(row) for row in table), done.stdout
    assert any(row[:1] == ("refused",) and "engin." in " ".join(row) for row in table), done.stdout
    assert tables_in(done) == 1, done.stdout
    recap = {row[0]: dict(word.split("=") for word in row if "=" in word) for row in table if ":" in row and row[0] in inventory}
    assert {host: counts["failed"] for host, counts in recap.items()} == {
        "good": "0",
        "rotten": "1",
        "idle": "1",
        "empty": "1",
        "far": "0",
        "refused": "1",
    }
    assert done.returncode != 0
    assert manifest(bad)["verification"]["verdict"] == "failed"


def test_the_table_has_what_came_back_of_a_postgresql_database(tmp_path: Path, site: Site) -> None:
    site.back_up()
    source = login(site.server)
    inventory = {"db1": {"backup_directory": str(site.directory), "backup_sources": [source]}}
    done = drill(tmp_path, inventory)
    assert done.returncode == 0, done.stdout
    rows = table_of(done)
    assert ["host", "database", "level", "verdict", "tables", "rows", "seconds", "backup"] in rows
    [row] = [row for row in rows if row[:6] == ["db1", site.database, "restore", "passed", "1", "1"]]
    assert row[7] == payloads(site.directory)[0].name


def test_where_all_are_good_the_drill_succeeds_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    inventory = {"good": host_with_backups(tmp_path / "good", "shop.db")}
    for changed in (1, 0):
        done = drill(tmp_path, inventory)
        assert done.returncode == 0, done.stdout
        assert f"changed={changed} " in done.stdout
        assert any(row[:6] == ["good", "shop.db", "restore", "passed", "1", "3"] for row in table_of(done))


def test_a_backup_that_could_not_be_judged_is_not_green(tmp_path: Path, site: Site) -> None:
    site.back_up()
    (tmp_path / "bin").mkdir()
    source = {**login(site.server), "bin_directory": str(tmp_path / "bin")}
    inventory = {
        "blind": {"backup_directory": str(site.directory), "backup_sources": [source]},
        "good": host_with_backups(tmp_path / "good", "shop.db"),
    }
    done = drill(tmp_path, inventory)
    assert done.returncode != 0
    [row] = [row for row in table_of(done) if row[:4] == ["blind", site.database, "restore", "inconclusive"]]
    assert row[-1] == payloads(site.directory)[0].name
    recap = [row for row in table_of(done) if row[1:2] == [":"]]
    assert {row[0]: row[-4] for row in recap} == {"blind": "failed=1", "good": "failed=0"}, done.stdout
    assert "there is no postgres of version" in done.stdout.rpartition("TASK [Fail")[2]
    assert f"postgresql-{site.server.major} (Debian" in done.stdout


def test_a_play_of_ones_own_ends_with_one_table_of_every_host_and_fails_where_a_backup_is_bad(tmp_path: Path) -> None:
    inventory = {
        "rotten": host_with_backups(tmp_path / "rotten", "shop.db"),
        "good": host_with_backups(tmp_path / "good", "shop.db"),
        "far": {"backup_directory": "/none", "backup_sources": [{}], "ansible_connection": "ssh", "ansible_host": "127.0.0.1"},
        "lost": {"backup_sources": [{}]},
    }
    inventory["far"]["ansible_port"] = 1
    [bad] = payloads(tmp_path / "rotten" / "backups")
    bad.write_bytes(bad.read_bytes()[:-1])
    done = verify(tmp_path, inventory)
    rows = table_of(done)
    for expected in (
        ["rotten", "shop.db", "checksum", "failed"],
        ["good", "shop.db", "checksum", "passed"],
        ["far", "unreachable"],
        ["lost", "Each", "source", "needs"],
    ):
        assert sum(row[: len(expected)] == expected for row in rows) == 1, done.stdout + done.stderr
    assert tables_in(done) == 1, done.stdout
    recap = {row[0]: row[-4] for row in rows if row[1:2] == [":"]}
    assert recap == {"rotten": "failed=1", "good": "failed=0", "far": "failed=0", "lost": "failed=1"}, done.stdout
    assert done.returncode != 0


def test_the_table_comes_also_where_every_host_failed_and_not_where_none_is_wanted(tmp_path: Path) -> None:
    inventory = {"rotten": host_with_backups(tmp_path / "rotten", "shop.db")}
    [bad] = payloads(tmp_path / "rotten" / "backups")
    bad.write_bytes(bad.read_bytes()[:-1])
    for wanted in (True, False):
        done = verify(tmp_path, inventory, backup_verify_summary=wanted)
        assert done.returncode != 0
        assert tables_in(done) == wanted, done.stdout


def test_the_table_after_a_batch_has_the_hosts_so_far(tmp_path: Path) -> None:
    inventory = {name: host_with_backups(tmp_path / name, "shop.db") for name in ("db1", "db2")}
    done = verify(tmp_path, inventory, serial=1)
    shown = [row[0] for row in table_of(done) if len(row) > 1 and row[0] in ("host", *inventory) and row[1] != ":"]
    assert shown == ["host", "db1", "host", "db1", "db2"], done.stdout


def test_a_separate_host_that_holds_the_identity_drills_for_others(tmp_path: Path, sftp: SftpServer) -> None:
    key, there = age_key(), tmp_path / "there"
    unreachable = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory: dict[str, dict[str, Any]] = {}
    for host in ("db1", "db2"):
        database = tmp_path / f"{host}.db"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("create table t (n int)")
        source = {"engine": "sqlite", "databases": [str(database)]}
        recipients = [age_key(number).public for number in ((1, 2) if host == "db1" else (2,))]
        made = run_module("db_backup", source, directory=str(there / host), origin=host, encryption="age", recipients=recipients)
        assert made.status == 0, made.result
        inventory[host] = {**unreachable, "backup_sources": [source]}
    inventory["drill1"] = {"backup_sftp": sftp.options(there), "backup_identity": key.secret}
    done = run("lastgood.database.drill_elsewhere", tmp_path, inventory, {}, "-e", "backup_hosts=db* drill_host=drill1")
    rows = table_of(done)
    assert ["db1", "db1.db"] in [row[:2] for row in rows if "passed" in row], done.stdout
    assert ["db2", "db2.db"] in [row[:2] for row in rows if "inconclusive" in row], done.stdout
    assert done.returncode != 0
    assert "does not open it" in done.stdout
    assert "UNREACHABLE" not in done.stdout
    assert "AGE-SECRET-KEY" not in done.stdout + done.stderr
