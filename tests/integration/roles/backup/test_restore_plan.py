"""Which backups backup_restores=all selects for the sources of a host. Each case is a host of one play."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROLE = Path(__file__).parents[4] / "roles" / "backup"
PORTS = [{}, {"login_port": 5433}]


def group(database: str, source: str, **over: Any) -> dict[str, Any]:
    """Return what backup_facts has about a database; its backup is named by the database, the source and the age."""
    one = {"database": database, "source": source, "instance": source, "engine": "postgresql", "age_seconds": 5, **over}
    name = f"{database} {source} {one['age_seconds']}"
    return {"kind": "database", "partial": False, "newest_good": name, "origin": "db7", **one}


CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[list[Any]]]] = {
    "the port distinguishes two servers": (
        PORTS,
        [group("app", "/run:5433"), group("app", "/run:5432")],
        [[0, "app /run:5432 5"], [1, "app /run:5433 5"]],
    ),
    "the only server may have another address": ([{"login_host": "new"}], [group("app", "/run:5433")], [[0, "app /run:5433 5"]]),
    "two servers with one port need their addresses": (
        [{"login_host": "one.example"}, {"login_host": "two.example"}],
        [group("app", "two.example:5432"), group("shop", "two_example:5432")],
        [[1, "app two.example:5432 5"]],
    ),
    "single databases with their own settings are of the same server": (
        [{"per_database": {"app": {"interval": "1h"}}}],
        [group("app", "/other:5499"), group("shop", "/other:5499")],
        [[0, "app /other:5499 5"], [0, "shop /other:5499 5"]],
    ),
    "engines do not share names": (
        [{}, {"engine": "mysql"}],
        [group("app", "/run:5432"), group("app", "/run/mysqld.sock", engine="mysql")],
        [[0, "app /run:5432 5"], [1, "app /run/mysqld.sock 5"]],
    ),
    "the cluster that was backed up last wins": (
        [{}],
        [group("app", "/run:5432", age_seconds=9), group("app", "/run:5432", age_seconds=3)],
        [[0, "app /run:5432 3"]],
    ),
    "a good backup wins over none": (
        [{}],
        [
            group("app", "/run:5432", newest_good=None, age_seconds=None),
            group("app", "/run:5432", age_seconds=3),
            group("lost", "/run:5432", newest_good=None, age_seconds=None),
        ],
        [[0, "app /run:5432 3"], [0, None]],
    ),
    "neither other databases nor other hosts": (
        [{"databases": ["app"]}],
        [group("app", "/run:5432"), group("shop", "/run:5432"), group("app", "/run:5432", origin="other", age_seconds=1)],
        [[0, "app /run:5432 5"]],
    ),
}


def test_each_database_of_each_source_is_selected_once(tmp_path: Path) -> None:
    names = {f"host{number}": name for number, name in enumerate(CASES)}
    hosts = {}
    for host, name in names.items():
        sources, groups, _expected = CASES[name]
        facts = {"ansible_facts": {"database_backups": {"databases": groups}}, "_backup_place": "/b"}
        sources = [{"origin": "db7", **source} for source in sources]
        hosts[host] = {"backup_sources": sources, "_backup_found": {"results": [facts]}}
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "backup_directory": "/b"}
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
    dest = f"{tmp_path}/{{{{ inventory_hostname }}}}"
    task = {"ansible.builtin.copy": {"content": "{{ _backup_candidates | to_json }}", "dest": dest, "mode": "0600"}}
    files = [str(ROLE / "defaults" / "main.yml"), str(ROLE / "vars" / "main.yml")]
    (tmp_path / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "vars_files": files, "tasks": [task]}])
    )
    command = ("ansible-playbook", str(tmp_path / "play.yml"), "--inventory", str(tmp_path / "inventory.json"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    assert done.returncode == 0, done.stdout
    found = {}
    for host, name in names.items():
        found[name] = [[one["source_number"], one["backup"]] for one in json.loads((tmp_path / host).read_text())]
    assert found == {name: expected for name, (_sources, _groups, expected) in CASES.items()}
