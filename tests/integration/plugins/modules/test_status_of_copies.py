"""When backups were last sent and verified, as backup_facts reports it after backup_upload and backup_verify."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import STATUS, payloads, state_of
from ansible_collections.lastgood.database.tests.support.postgresql import facts_of
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table t (n)")
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def back_up(path: Path, directory: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("insert into t values (1)")
        database.commit()
    options = {"engine": "sqlite", "directory": str(directory), "databases": [str(path)], "origin": "db1"}
    assert run_module("db_backup", options).outcomes == ["created"]


def verify(directory: Path, level: str, **over: Any) -> Outcome:
    return run_module("backup_verify", directory=str(directory), level=level, **over)


def app(directory: Path) -> dict[str, Any]:
    [entry] = facts_of(directory)["databases"]
    assert isinstance(entry, dict)
    return entry


def test_a_backup_that_was_sent_has_the_time_and_its_database_too(
    sftp: SftpServer, path: Path, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    options = {"directory": str(directory), "sftp": sftp.options(tmp_path / "there")}
    back_up(path, directory)
    before = state_of(directory)
    run_module("backup_upload", options, check=True)
    assert state_of(directory) == before
    assert run_module("backup_upload", options).changed is True
    facts = facts_of(directory)
    [record], [entry] = facts["files"], facts["databases"]
    assert record["uploaded_at"] is not None and record["uploaded_at"] == entry["uploaded_at"]
    again = run_module("backup_upload", options)
    assert (again.changed, again.warnings) == (False, [])
    assert facts_of(directory)["files"][0]["uploaded_at"] == record["uploaded_at"]
    assert app(directory)["uploaded_at"] >= entry["uploaded_at"]
    # A new backup that was not sent yet is not counted as one.
    sent = app(directory)["uploaded_at"]
    back_up(path, directory)
    assert [record["uploaded_at"] is None for record in facts_of(directory)["files"]] == [False, True]
    assert app(directory)["uploaded_at"] == sent
    assert not (tmp_path / "there" / STATUS).exists()


def test_an_upload_that_fails_leaves_no_time(sftp: SftpServer, path: Path, directory: Path, tmp_path: Path) -> None:
    back_up(path, directory)
    missing = {"directory": str(directory), "sftp": {**sftp.options(tmp_path / "missing"), "create_directory": False}}
    assert run_module("backup_upload", missing).status != 0
    assert app(directory)["uploaded_at"] is None


def test_a_drill_stays_known_when_a_later_verification_or_retention_changes_its_backup(path: Path, directory: Path) -> None:
    back_up(path, directory)
    before = state_of(directory)
    assert verify(directory, "restore", check=True).changed is True
    assert state_of(directory) == before
    assert verify(directory, "restore").changed is True
    drilled = app(directory)
    assert drilled["drilled_at"] is not None and drilled["verified_at"] == drilled["drilled_at"]
    back_up(path, directory)
    [old, _new] = payloads(directory)
    assert verify(directory, "checksum").status == 0
    run_module("backup_prune", directory=str(directory), names=[old.name])
    assert app(directory)["count"] == 1
    assert app(directory)["drilled_at"] == drilled["drilled_at"]
    assert app(directory)["verified_at"] >= drilled["verified_at"]


def test_a_verification_that_fails_leaves_no_time(path: Path, directory: Path) -> None:
    back_up(path, directory)
    [payload] = payloads(directory)
    payload.write_bytes(payload.read_bytes()[:-1] + b"x")
    assert verify(directory, "checksum").status != 0
    assert app(directory)["verified_at"] is None


def test_a_status_that_can_not_be_written_costs_a_warning(path: Path, directory: Path) -> None:
    back_up(path, directory)
    (directory / STATUS).unlink()
    (directory / STATUS).mkdir()
    outcome = verify(directory, "checksum")
    assert outcome.status == 0 and any(STATUS in warning for warning in outcome.warnings)
