"""backup_metrics, as Prometheus and node_exporter see its file."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.lastgood.database.plugins.module_utils._operations.metric_series import METRICS
from ansible_collections.lastgood.database.plugins.module_utils._text import escaped
from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import state_of
from ansible_collections.lastgood.database.tests.support.promtool import promtool

HOSTILE = 'a"b\\x0a\\\n{c="d"} 1\x1b[2J\u202e.db'


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """An SQLite database."""
    return make_database(tmp_path / "notes.db")


def make_database(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    return path


def back_up(directory: Path, *databases: Path) -> Outcome:
    options = {"engine": "sqlite", "directory": str(directory), "origin": "db7"}
    return run_module("db_backup", **options, databases=[escaped(str(path)) for path in databases])


def write(file: Path, *directories: Path, **options: Any) -> Outcome:
    return run_module("backup_metrics", directories=[str(path) for path in directories], dest=str(file), **options)


def read(file: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the series of each metric, as Prometheus' parser reads them."""
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(file.read_text(encoding="utf-8"))
    }


def test_from_a_backup_to_a_failure_and_back(tmp_path: Path, notes: Path) -> None:
    directory, file = tmp_path / "b", tmp_path / "lastgood.prom"
    record = back_up(directory, notes).backups[0]
    assert write(file, directory).changed
    found = read(file)
    assert set(found) == {metric.name for metric in METRICS} - {"lastgood_backup_last_failure_timestamp_seconds"}
    [(labels, last_success)] = found["lastgood_backup_last_success_timestamp_seconds"]
    assert labels == {
        "directory": str(directory),
        "origin": "db7",
        "engine": "sqlite",
        "kind": "database",
        "database": "notes.db",
        "source": str(notes),
        "partial": "",
    }
    assert last_success == record["created_at_epoch"]
    assert found["lastgood_backup_payload_bytes"] == [(labels, record["size_bytes"])]
    assert found["lastgood_backup_content_bytes"] == [(labels, notes.stat().st_size)]
    promtool("check", "metrics", stdin=file.read_bytes())

    notes.write_bytes(b"no database" * 100)
    failed = back_up(directory, notes)
    assert write(file, directory).changed
    found = read(file)
    assert found["lastgood_backup_last_success_timestamp_seconds"] == [(labels, last_success)]
    [(with_code, _at)] = found["lastgood_backup_last_failure_timestamp_seconds"]
    assert with_code == {**labels, "code": failed.backups[0]["error"]["code"]}
    promtool("check", "metrics", stdin=file.read_bytes())

    notes.unlink()
    make_database(notes)
    assert back_up(directory, notes).status == 0
    assert write(file, directory).changed
    assert "lastgood_backup_last_failure_timestamp_seconds" not in read(file)


def test_a_second_time_changes_nothing_and_a_confirmation_is_no_change(tmp_path: Path, notes: Path) -> None:
    directory, file = tmp_path / "b", tmp_path / "lastgood.prom"
    back_up(directory, notes)
    write(file, directory)
    before = state_of(tmp_path)
    again = write(file, directory)
    assert (again.changed, again.result["dest"]) == (False, str(file))
    assert state_of(tmp_path) == before
    assert back_up(directory, notes).outcomes == ["unchanged"]
    text = file.read_text()
    assert not write(file, directory).changed
    assert re.sub(r" [0-9.]+$", "", file.read_text(), flags=re.MULTILINE) == re.sub(r" [0-9.]+$", "", text, flags=re.MULTILINE)


def test_names_of_others_are_data(tmp_path: Path) -> None:
    directory, file = tmp_path / "b", tmp_path / "lastgood.prom"
    names = [HOSTILE, HOSTILE.replace("\n", "\\n"), HOSTILE.replace("\n", "\\x0a"), "\udcff.db"]
    assert back_up(directory, *(make_database(tmp_path / name) for name in names)).status == 0
    assert write(file, directory, labels={"note": escaped(HOSTILE)}).changed  # as a result writes it, and an option reads it
    series = read(file)["lastgood_backup_expected"]
    assert sorted(labels["database"] for labels, _value in series) == sorted(map(escaped, names))
    assert {labels["note"] for labels, _value in series} == {escaped(HOSTILE)}
    assert not set("\x1b\u202e\r") & set(file.read_text(encoding="utf-8"))
    promtool("check", "metrics", stdin=file.read_bytes())


def test_check_mode_and_diff(tmp_path: Path, notes: Path) -> None:
    directory, file = tmp_path / "b", tmp_path / "lastgood.prom"
    back_up(directory, notes)
    before = state_of(tmp_path)
    outcome = write(file, directory, check=True, diff=True)
    assert outcome.changed
    assert state_of(tmp_path) == before
    write(file, directory)
    assert (outcome.result["diff"]["before"], outcome.result["diff"]["after"]) == ("", file.read_text())


def test_owner_group_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "lastgood.prom"
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    assert write(file, tmp_path, owner=str(UNPRIVILEGED), group=str(UNPRIVILEGED), mode="0640").changed
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (UNPRIVILEGED, UNPRIVILEGED, 0o640)
    assert not write(file, tmp_path, owner=str(UNPRIVILEGED), mode="0640").changed
    assert write(file, tmp_path).changed
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_directory_of_somebody_else_is_a_failure_that_hides_no_other(
    open_folder: Path, notes: Path, unprivileged: Host
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    closed, collector = open_folder / "closed", open_folder / "collector"
    back_up(closed, notes)
    collector.mkdir()
    os.chown(collector, UNPRIVILEGED, UNPRIVILEGED)
    file = collector / "lastgood.prom"
    outcome = write(file, closed, collector, host=unprivileged)
    assert outcome.error_code == "directory_unusable"
    assert str(closed) in outcome.msg
    assert (outcome.result["changed"], outcome.result["dest"]) == (True, str(file))
    readable = {labels["directory"]: value for labels, value in read(file)["lastgood_backup_directory_readable"]}
    assert readable == {str(closed): 0, str(collector): 1}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"dest": "/nonexistent/lastgood.prom"}, "directory_missing"),
        ({"dest": "/tmp/lastgood.txt"}, "argument_invalid"),
        ({"directories": []}, "argument_invalid"),
        ({"labels": {"state": "x"}}, "argument_invalid"),
        ({"owner": "nobody knows this user"}, "argument_invalid"),
    ],
)
def test_an_option_that_makes_no_sense_has_its_code(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    defaults = {"directories": [str(tmp_path)], "dest": str(tmp_path / "lastgood.prom")}
    for check in (True, False):
        outcome = run_module("backup_metrics", {**defaults, **options}, check=check)
        assert outcome.error_code == code, outcome.msg
    assert list(tmp_path.iterdir()) == []
