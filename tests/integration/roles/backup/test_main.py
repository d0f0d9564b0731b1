# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role, run by ansible-playbook as a user runs it: packed, sent and unpacked."""

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

PASSWORD = "c0rrect-horse"


def play(folder: Path, variables: dict[str, t.Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the collection's playbook against this host."""
    file = folder / "variables.json"
    file.write_text(json.dumps({"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}))
    command = ["ansible-playbook", "lastgood.database.backup", "--inventory", "db7,", "--extra-vars", f"@{file}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)


def recap(finished: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return Ansible's own counts."""
    line = next(line for line in finished.stdout.splitlines() if line.startswith("db7 "))
    return {name: int(count) for name, count in (word.split("=") for word in line.split(":")[1].split())}


def payloads(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("backup_*.dump*") if not path.name.endswith(".json"))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """An SQLite database."""
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    return path


def source(path: Path, **options: t.Any) -> dict[str, t.Any]:
    return {"engine": "sqlite", "databases": [str(path)], **options}


def test_a_second_run_changes_nothing(tmp_path: Path, notes: Path) -> None:
    variables = {"backup_directory": str(tmp_path / "b"), "backup_interval": "0s", "backup_sources": [source(notes)]}
    first, second = play(tmp_path, variables), play(tmp_path, variables)
    assert (recap(first)["changed"], recap(second)["changed"]) == (1, 0), first.stdout + second.stdout
    assert len(payloads(tmp_path / "b")) == 1


def test_the_origin_is_the_hosts_name_in_the_inventory(tmp_path: Path, notes: Path) -> None:
    play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": [source(notes)]})
    [manifest] = (tmp_path / "b").glob("*.manifest.json")
    assert json.loads(manifest.read_text())["origin"] == "db7"


def test_check_mode_writes_nothing_and_says_what_it_would_do(tmp_path: Path, notes: Path) -> None:
    variables = {"backup_directory": str(tmp_path / "b"), "backup_sources": [source(notes)]}
    finished = play(tmp_path, variables, "--check", "--diff")
    assert recap(finished)["changed"] == 1
    assert "+a new backup of notes.db" in finished.stdout
    assert not (tmp_path / "b").exists()


def test_a_source_that_fails_lets_the_others_go_on_and_fails_the_host_at_the_end(tmp_path: Path, notes: Path) -> None:
    sources = [source(tmp_path / "missing.db"), source(notes, directory=str(tmp_path / "own")), source(tmp_path / "gone.db")]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources})
    assert finished.returncode == 2
    assert recap(finished)["failed"] == 1
    assert len(payloads(tmp_path / "own")) == 1
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert "source 1" in last
    assert "missing.db" in last
    assert "source 3" in last
    assert "source 2" not in last


def test_facts_that_cannot_be_gathered_do_not_hide_what_failed_before(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "file").write_text("")
    sources = [source(notes, directory=str(tmp_path / "file")), source(tmp_path / "gone.db")]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources})
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert finished.returncode == 2
    for part in ("source 1", "source 2", "gone.db", "facts: ", "is not a directory"):
        assert part in last


def test_a_source_without_a_directory_is_told_before_anything_is_done(tmp_path: Path, notes: Path) -> None:
    finished = play(tmp_path, {"backup_sources": [source(notes, directory=str(tmp_path / "own")), source(notes)]})
    assert "Each source needs a directory" in finished.stdout
    assert not (tmp_path / "own").exists()


def test_an_option_that_is_unknown_is_refused(tmp_path: Path, notes: Path) -> None:
    sources = [source(notes, compresion="gzip")]
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": sources})
    assert finished.returncode == 2
    assert "compresion" in finished.stdout
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("over", [{}, {"login_port": "no number"}], ids=["server down", "invalid option"])
def test_a_password_is_not_shown_however_much_is(tmp_path: Path, over: dict[str, t.Any]) -> None:
    down = {"login_unix_socket": str(tmp_path), "login_user": "backup", "login_password": PASSWORD, **over}
    finished = play(tmp_path, {"backup_directory": str(tmp_path / "b"), "backup_sources": [down]}, "-vvv")
    assert finished.returncode == 2
    assert PASSWORD not in finished.stdout + finished.stderr
