"""The role's entry point ``report``, and its playbook: who is on the page, when it changed, and where it can't be written."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module

UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
TILE = re.compile(r'^<li class="(\w+)">.*?<b>(.*?)</b>', re.MULTILINE)


def report(folder: Path, hosts: dict[str, Any], *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the playbook for several hosts, which are all this one."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "backup_report": str(page(folder))}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"vars": {**common, **variables}, "hosts": hosts}}))
    command = ("ansible-playbook", "lastgood.database.report", "--inventory", str(inventory), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})


def page(folder: Path) -> Path:
    return folder / "report.html"


def tiles(folder: Path) -> dict[str, str]:
    return {name: state for state, name in TILE.findall(page(folder).read_text(encoding="utf-8"))}


def host(folder: Path, name: str, **variables: Any) -> dict[str, Any]:
    """Back up a database, and return the variables of its host."""
    database = folder / f"{name}.db"
    back_up(folder, name)
    sources = [{"engine": "sqlite", "databases": [str(database)]}]
    return {"backup_directory": str(folder / name), "backup_sources": sources, **variables}


def back_up(folder: Path, name: str) -> None:
    database = folder / f"{name}.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text TEXT)")
        connection.execute("INSERT INTO note VALUES ('more')")
        connection.commit()
    done = run_module("db_backup", directory=str(folder / name), engine="sqlite", databases=[str(database)], origin=name)
    assert done.result["changed"], done.result


def changed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stdout + done.stderr
    return "changed=1" in done.stdout


def test_every_host_is_on_the_page_also_those_that_were_not_reached_or_have_trouble(tmp_path: Path) -> None:
    hosts = {
        "far": {**host(tmp_path, "far"), **UNREACHABLE},
        "db1": host(tmp_path, "db1"),
        "late": host(tmp_path, "late", backup_max_age={"verified": "7d"}),
        "bad": {"backup_directory": "relative", "backup_sources": [{}]},
        "none": {},
        "empty": {"backup_directory": str(tmp_path / "nothing"), "backup_sources": [{}]},
    }
    done = report(tmp_path, hosts)
    assert changed(done)
    assert tiles(tmp_path) == {
        "far": "unknown",
        "db1": "safe",
        "late": "late",
        "bad": "unknown",
        "none": "unknown",
        "empty": "failing",
    }
    assert "Hosts: 1 failing, 1 late, 3 unknown, 1 safe." in done.stdout


def test_a_report_is_made_even_if_no_host_was_reached(tmp_path: Path) -> None:
    report(tmp_path, {"db1": {"backup_directory": "/b", "backup_sources": [{}], **UNREACHABLE}})
    assert tiles(tmp_path) == {"db1": "unknown"}


def test_it_is_a_change_only_if_it_says_something_new_and_check_mode_foresees_that(tmp_path: Path) -> None:
    hosts = {"db1": host(tmp_path, "db1")}
    assert changed(report(tmp_path, hosts, "--check"))
    assert not page(tmp_path).exists()
    assert changed(report(tmp_path, hosts))
    first = page(tmp_path).stat()
    assert not changed(report(tmp_path, hosts, "--check"))
    assert page(tmp_path).stat().st_ino == first.st_ino
    assert not changed(report(tmp_path, hosts))
    assert page(tmp_path).stat().st_ino != first.st_ino  # it says when it was made

    back_up(tmp_path, "db1")
    foreseen = report(tmp_path, hosts, "--check", "--diff")
    real = report(tmp_path, hosts, "--diff")
    assert changed(foreseen) and changed(real)
    added = [[line for line in done.stdout.splitlines() if line.startswith("+backup_")] for done in (foreseen, real)]
    assert added[0] == added[1] and len(added[0]) == 1
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_only_the_owner_can_read_it_unless_a_mode_says_otherwise(tmp_path: Path) -> None:
    hosts = {"db1": host(tmp_path, "db1")}
    for mode, expected in (({}, 0o600), ({"backup_report_mode": "0640"}, 0o640)):
        assert changed(report(tmp_path, hosts, **mode))
        assert page(tmp_path).stat().st_mode & 0o7777 == expected


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    page(tmp_path).symlink_to(target)
    assert changed(report(tmp_path, {"db1": host(tmp_path, "db1")}))
    assert target.read_text() == "mine" and not page(tmp_path).is_symlink()


def test_a_host_with_an_invalid_age_is_unknown_and_hides_no_other(tmp_path: Path) -> None:
    done = report(tmp_path, {"db1": host(tmp_path, "db1", backup_max_age={"backup": "soon"}), "db2": host(tmp_path, "db2")})
    assert done.returncode == 0, done.stdout
    assert tiles(tmp_path) == {"db1": "unknown", "db2": "safe"}
    assert "backup_max_age.backup is &#39;soon&#39;" in page(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "variables", "code"),
    [
        ([], {"backup_report": "/no/such/folder/report.html"}, "report_not_written"),
        (["--check"], {"backup_report": "/no/such/folder/report.html"}, "report_not_written"),
        (["--check"], {"backup_report": "/"}, "report_not_written"),
        ([], {"backup_report_mode": "wide open"}, "argument_invalid"),
    ],
)
def test_what_can_not_be_done_has_a_code_in_check_mode_too(
    tmp_path: Path, arguments: list[str], variables: dict[str, Any], code: str
) -> None:
    done = report(tmp_path, {"db1": host(tmp_path, "db1")}, *arguments, **variables)
    assert done.returncode != 0
    assert f'"code": "{code}"' in done.stdout, done.stdout


def test_a_strategy_that_does_not_wait_for_all_hosts_is_refused(tmp_path: Path) -> None:
    role = {"name": "lastgood.database.backup", "tasks_from": "report"}
    play = {"name": "Test", "hosts": "all", "gather_facts": False, "strategy": "free"}
    playbook = tmp_path / "free.yml"
    playbook.write_text(json.dumps([{**play, "tasks": [{"name": "Report", "ansible.builtin.include_role": role}]}]))
    report(tmp_path, {"db1": host(tmp_path, "db1")}, "--check")
    command = ("ansible-playbook", str(playbook), "--inventory", str(tmp_path / "inventory.json"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert '"code": "strategy_unsuitable"' in done.stdout


FACTS = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({}).exit_json(ansible_facts={"backup_report": %r})
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - hostile:
    - ansible.builtin.include_role: {name: lastgood.database.backup, tasks_from: report}
"""


def test_a_host_can_not_choose_which_file_of_the_controller_is_written(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "hostile.py").write_text(FACTS % str(tmp_path / "chosen"))
    (tmp_path / "play.yml").write_text(PLAY)
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "backup_report": str(page(tmp_path))}
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"vars": common, "hosts": {"db1": host(tmp_path, "db1")}}}))
    command = ("ansible-playbook", str(tmp_path / "play.yml"), "--inventory", str(tmp_path / "inventory.json"))
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INJECT_FACT_VARS": "true"}  # as it is by default
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not (tmp_path / "chosen").exists() and not page(tmp_path).exists()
    assert done.returncode == 2 and "db1 returned backup_report" in done.stdout
