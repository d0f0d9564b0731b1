# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's restore, run by ansible-playbook as a user runs it."""

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

PASSWORD = "c0rrect-horse"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: lastgood.database.backup
        tasks_from: restore
"""


def play(folder: Path, variables: dict[str, t.Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Restore on this host."""
    (folder / "play.yml").write_text(PLAY)
    file = folder / "variables.json"
    file.write_text(json.dumps({"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}))
    command = ["ansible-playbook", str(folder / "play.yml"), "--inventory", "db7,", "--extra-vars", f"@{file}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """An SQLite database with a backup of it and a change since."""
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    assert run_module("db_backup", engine="sqlite", directory=str(tmp_path / "b"), databases=[str(path)]).changed
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE note")
        connection.commit()
    return path


def tables(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def test_each_database_is_restored_and_one_that_fails_does_not_keep_the_others(tmp_path: Path, notes: Path) -> None:
    restores = [
        {"engine": "sqlite", "database": str(notes)},
        {"engine": "sqlite", "database": str(notes), "if_exists": "replace"},
    ]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_restores": restores})
    assert finished.returncode == 2
    assert "is there already" in finished.stdout
    assert tables(notes) == ["note"]


def test_check_mode_changes_nothing_and_says_what_it_would_do(tmp_path: Path, notes: Path) -> None:
    restores = [{"engine": "sqlite", "database": str(notes), "if_exists": "replace", "directory": str(tmp_path / "b")}]
    finished = play(tmp_path, {"backup_restores": restores}, "--check", "--diff")
    assert finished.returncode == 0, finished.stdout
    assert "+backup_notes.db_" in finished.stdout
    assert tables(notes) == []


def test_a_restore_without_a_directory_or_with_an_unknown_option_is_refused(tmp_path: Path, notes: Path) -> None:
    one = {"engine": "sqlite", "database": str(notes), "if_exists": "replace"}
    for variables in (
        {"backup_restores": [one]},
        {"backup_directory": str(tmp_path / "b"), "backup_restores": [{**one, "if_exist": "replace"}]},
    ):
        assert play(tmp_path, variables).returncode == 2
    assert tables(notes) == []


def test_a_password_is_not_shown_however_much_is(tmp_path: Path, notes: Path) -> None:
    down = {"database": "app", "login_unix_socket": str(tmp_path), "login_user": "backup", "login_password": PASSWORD}
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_restores": [down]}, "-vvv")
    assert finished.returncode == 2
    assert PASSWORD not in finished.stdout + finished.stderr
