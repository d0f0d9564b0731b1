"""The role with a source of MariaDB, run by ansible-playbook as a user runs it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.throwaway_mysql import Server, find_mariadb

OURSELVES = getpass.getuser()


def play(folder: Path, entry_point: str, variables: dict[str, t.Any]) -> str:
    """Run an entry point of the role on this host, and return what it says."""
    role = {"name": "lastgood.database.backup", "tasks_from": entry_point}
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}]))
    file = folder / "variables.json"
    file.write_text(json.dumps({"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}))
    command = ["ansible-playbook", str(playbook), "--inventory", "db7,", "--extra-vars", f"@{file}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture
def socket_server() -> Iterator[Server]:
    """A server that knows us by our account on this host, as the distributions' servers know root."""
    installation = find_mariadb()
    if installation is None:
        pytest.skip("no MariaDB server on this machine")
    with Server.start(installation) as server:
        server.sql(
            f"create or replace user {OURSELVES}@localhost identified via unix_socket; grant all on *.* to {OURSELVES}@localhost "
            "with grant option; create user shopper@localhost identified by 'x'; create database app; grant select on app.* to "
            "shopper@localhost; create table app.t as select 1 as n; create definer = shopper@localhost view app.v as select 2"
        )
        yield server


def test_a_host_is_backed_up_through_its_socket_and_rebuilt_with_its_accounts(socket_server: Server, tmp_path: Path) -> None:
    socket = {"engine": "mysql", "login_unix_socket": str(socket_server.socket), "become_user": OURSELVES}
    variables: dict[str, t.Any] = {
        "backup_directory": str(tmp_path / "b"),
        "backup_sources": [{**socket, "include_globals": True}],
        "backup_interval": "0s",
    }
    first, second = play(tmp_path, "main", variables), play(tmp_path, "main", variables)
    assert "changed=1" in first and "changed=0" in second, first + second
    assert len(list((tmp_path / "b").glob("backup_*.gz"))) == 2

    # PostgreSQL's source comes first, and its programs are not MariaDB's.
    postgresql = {"bin_directory": str(tmp_path), "become_user": OURSELVES}
    (tmp_path / "pg_restore").touch()
    shared = {"backup_sources": [postgresql, *variables["backup_sources"]], "backup_verify_level": "restore"}
    drill = play(tmp_path, "verify", {**variables, **shared})
    assert drill.count(" passed ") == 2 and "inconclusive" not in drill, drill

    socket_server.sql("update app.t set n = 5")
    one = {**socket, "database": "app", "if_exists": "replace"}
    assert "changed=1" in play(tmp_path, "restore", {**variables, "backup_restores": [one]})
    assert socket_server.sql("select n from app.t") == "1"

    socket_server.sql("drop database app; drop user shopper@localhost")
    assert "changed=1" in play(tmp_path, "restore", {**variables, "backup_restores": "all"})
    assert socket_server.sql("select n from app.t") == "1"
    assert "GRANT SELECT ON `app`.* TO `shopper`@`localhost`" in socket_server.sql("show grants for shopper@localhost")
