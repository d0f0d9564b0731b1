"""The entry point assert_fresh: which databases it asks for, what it says of them, and which hosts fail."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.integration.roles.backup.test_summary import (
    back_up,
    host,
    rows,
    run,
    write_inventory,
)

HEADER = ["host", "database", "state", "age", "reason"]


def stats(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return what the run hands to a workflow."""
    [found] = re.findall(r"RUN: (\{.*\})", done.stdout)
    values = json.loads(found)
    return {name.removeprefix("backup_"): value for name, value in values.items()}


@pytest.fixture(autouse=True)
def _show_stats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "true")


def assert_fresh(folder: Path, hosts: dict[str, Any], *arguments: str, **over: Any) -> subprocess.CompletedProcess[str]:
    return run(folder, hosts, *arguments, entry="assert_fresh", **over)


def failed_hosts(done: subprocess.CompletedProcess[str]) -> set[str]:
    recap = done.stdout.partition("PLAY RECAP")[2]
    return set(re.findall(r"^(\w+) .*(?:failed|unreachable)=[1-9]", recap, re.MULTILINE))


def test_databases_that_were_just_backed_up_are_fresh_and_nothing_changes(tmp_path: Path) -> None:
    hosts = {"db1": host(tmp_path / "db1", "shop.db", "notes.db"), "db2": host(tmp_path / "db2", "shop.db")}
    back_up(hosts)
    files = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.glob("db*/b/*") if not path.name.startswith("."))
    done = assert_fresh(tmp_path, hosts, "--diff")
    assert done.returncode == 0, done.stdout
    assert "Fresh: all 3 databases of 2 hosts." in done.stdout
    assert stats(done) == {"safe": 3, "late": 0, "failing": 0, "unknown": 0}
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout and "+++" not in done.stdout
    assert files == sorted((path, path.stat().st_mtime_ns) for path in tmp_path.glob("db*/b/*") if not path.name.startswith("."))


def test_each_database_that_is_not_fresh_has_one_line_and_its_host_fails(tmp_path: Path) -> None:
    far = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, **host(tmp_path / "far")}
    down = {"backup_directory": str(tmp_path / "d"), "backup_sources": [{"login_unix_socket": str(tmp_path)}]}
    hosts = {name: host(tmp_path / name, "shop.db", "notes.db") for name in ("db1", "db2")}
    back_up(hosts)
    (tmp_path / "db1" / "shop.db").unlink()
    hosts["db2"]["backup_sources"][0]["databases"].append(str(tmp_path / "db1" / "notes.db"))
    done = assert_fresh(tmp_path, {**hosts, "far": far, "down": down})
    assert done.returncode != 0
    assert rows(done).count(HEADER) == 1, done.stdout
    shown = [row for row in rows(done) if row[0] in ("db1", "db2", "far", "down")]
    assert [row[:3] for row in shown] == [
        ["db1", "shop.db", "failing"],
        ["db2", "notes.db", "failing"],
        ["far", "(all)", "unknown"],
        ["down", "(postgresql", "at"],
    ], done.stdout
    assert shown[0][3:5] == ["just", "now"] and shown[1][3:8] == ["NONE", "It", "was", "never", "backed"], done.stdout
    assert stats(done) == {"safe": 3, "late": 0, "failing": 2, "unknown": 2}, done.stdout
    assert failed_hosts(done) == {"db1", "db2", "far", "down"}, done.stdout
    assert "Not fresh: shop.db (failing)." in done.stdout


def test_each_host_has_its_own_ages(tmp_path: Path) -> None:
    hosts = {name: host(tmp_path / name, "shop.db") for name in ("db1", "db2", "db3")}
    hosts["db2"]["backup_max_age"] = {"backup": "0s"}
    hosts["db3"]["backup_max_age"] = {"drilled": "35d"}
    back_up(hosts)
    done = assert_fresh(tmp_path, hosts)
    assert failed_hosts(done) == {"db2", "db3"}, done.stdout
    assert stats(done) == {"safe": 1, "late": 2, "failing": 0, "unknown": 0}
    run(tmp_path, hosts, entry="verify", backup_verify_level="restore")
    assert failed_hosts(assert_fresh(tmp_path, hosts)) == {"db2"}


def test_an_age_that_no_one_knows_is_refused(tmp_path: Path) -> None:
    done = assert_fresh(tmp_path, {"db1": host(tmp_path / "db1", "shop.db", backup_max_age={"verifed": "7d"})})
    assert done.returncode != 0 and "verifed" in done.stdout


@pytest.mark.parametrize("play", [{"strategy": "free"}, {"strategy": "host_pinned"}, {"serial": 1}], ids=str)
def test_every_strategy_hands_on_the_numbers_of_all_hosts(tmp_path: Path, play: dict[str, Any]) -> None:
    hosts = {name: host(tmp_path / name, "shop.db") for name in ("db1", "db2", "db3")}
    back_up(hosts)
    done = assert_fresh(tmp_path, hosts, play=play)
    assert done.returncode == 0, done.stdout
    assert stats(done) == {"safe": 3, "late": 0, "failing": 0, "unknown": 0}
    hosts["db2"]["backup_max_age"] = {"backup": "0s"}
    done = assert_fresh(tmp_path, hosts, play={**play, "max_fail_percentage": 100})
    assert failed_hosts(done) == {"db2"}, done.stdout


def test_the_playbook_does_the_same(tmp_path: Path) -> None:
    hosts = {"db1": host(tmp_path / "db1", "shop.db")}
    command = ("ansible-playbook", "lastgood.database.assert_fresh", "--inventory", str(write_inventory(tmp_path, hosts)))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "It was never backed up." in done.stdout, done.stdout
