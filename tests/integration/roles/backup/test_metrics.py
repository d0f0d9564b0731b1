"""The file of metrics that each run of the role leaves, whatever its outcome."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """An SQLite database."""
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    return path


def run(folder: Path, sources: list[dict[str, Any]], *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the nightly playbook for this host, with a file of metrics."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "backup_interval": "0s"}
    files = {"backup_directory": str(folder / "b"), "backup_metrics_file": str(folder / "lastgood.prom")}
    file = folder / "variables.json"
    file.write_text(json.dumps({**common, **files, "backup_sources": sources, **variables}))
    command = ("ansible-playbook", "lastgood.database.backup", "--inventory", "db7,", "--extra-vars", f"@{file}", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})


def sqlite(path: Path, **options: Any) -> dict[str, Any]:
    return {"engine": "sqlite", "databases": [str(path)], **options}


def values(folder: Path, metric: str, label: str = "database") -> dict[str, float]:
    """Return the values of a metric by a label."""
    families = text_string_to_metric_families((folder / "lastgood.prom").read_text(encoding="utf-8"))
    return {sample.labels[label]: sample.value for family in families if family.name == metric for sample in family.samples}


def test_a_run_leaves_the_metrics_and_a_second_one_changes_nothing(tmp_path: Path, notes: Path) -> None:
    first = run(tmp_path, [sqlite(notes)])
    assert first.returncode == 0, first.stdout
    before = values(tmp_path, "lastgood_backup_last_success_timestamp_seconds")
    second = run(tmp_path, [sqlite(notes)])
    assert "changed=0" in second.stdout, second.stdout
    after = values(tmp_path, "lastgood_backup_last_success_timestamp_seconds")
    assert before["notes.db"] < after["notes.db"]  # confirmed
    assert values(tmp_path, "lastgood_backup_expected", "origin") == {"db7": 1}


def test_a_failure_is_in_the_metrics_and_the_host_still_fails_for_it(tmp_path: Path, notes: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"no database" * 100)
    done = run(tmp_path, [sqlite(notes), sqlite(other, directory=str(tmp_path / "own"))])
    assert done.returncode == 2
    assert "other.db" in done.stdout[done.stdout.rindex("Fail where") :]
    assert values(tmp_path, "lastgood_backup_expected")["notes.db"] == 1
    assert values(tmp_path, "lastgood_backup_directory_readable", "directory")[str(tmp_path / "b")] == 1


def test_a_database_that_fails_after_a_success_has_its_code(tmp_path: Path, notes: Path) -> None:
    run(tmp_path, [sqlite(notes)])
    good = values(tmp_path, "lastgood_backup_last_success_timestamp_seconds")
    notes.write_bytes(b"no database" * 100)
    assert run(tmp_path, [sqlite(notes)]).returncode == 2
    assert list(values(tmp_path, "lastgood_backup_last_failure_timestamp_seconds", "code")) == ["source_invalid"]
    assert values(tmp_path, "lastgood_backup_last_success_timestamp_seconds") == good


def test_metrics_that_cannot_be_written_fail_the_host_beside_the_other_failures(tmp_path: Path, notes: Path) -> None:
    missing = {"backup_metrics_file": str(tmp_path / "missing" / "lastgood.prom")}
    done = run(tmp_path, [sqlite(notes), sqlite(tmp_path / "gone.db")], **missing)
    last = done.stdout[done.stdout.rindex("Fail where") :]
    assert done.returncode == 2
    assert "gone.db" in last and f"metrics: The directory {tmp_path / 'missing'} does not exist." in last
    assert list((tmp_path / "b").glob("backup_notes.db_*"))


def test_a_directory_that_no_step_can_use_is_reported_once(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "b").write_text("")
    done = run(tmp_path, [sqlite(notes)])
    last = done.stdout[done.stdout.rindex("Fail where") :]
    assert last.count("is not a directory") == 1
    assert values(tmp_path, "lastgood_backup_directory_readable", "directory") == {str(tmp_path / "b"): 0}


def test_check_mode_writes_nothing(tmp_path: Path, notes: Path) -> None:
    done = run(tmp_path, [sqlite(notes)], "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "lastgood.prom").exists()
    assert "+lastgood_backup_directory_readable" in done.stdout


def test_without_a_file_there_is_none_and_the_task_is_skipped(tmp_path: Path, notes: Path) -> None:
    done = run(tmp_path, [sqlite(notes)], backup_metrics_file="")
    assert done.returncode == 0, done.stdout
    assert not list(tmp_path.glob("*.prom"))


def test_sources_with_users_have_their_file_written_by_root(tmp_path: Path, notes: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become root without sudo")
    done = run(tmp_path, [sqlite(notes, become_user=getpass.getuser())])
    assert done.returncode == 0, done.stdout
    assert ((tmp_path / "lastgood.prom").stat().st_uid, values(tmp_path, "lastgood_backup_expected")) == (0, {"notes.db": 1})
