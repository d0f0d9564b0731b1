"""A backup of an SQLite database is examined on a private copy, of which nothing stays."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import ExaminationResult
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.examination import SqliteExaminer
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ContentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    path = tmp_path / "app.db"
    sqlite3.connect(path).executescript(
        "CREATE TABLE item (name TEXT); CREATE TABLE other (name TEXT); INSERT INTO item VALUES ('one'), ('two')"
    ).close()
    return path.read_bytes()


def structure_of(content: bytes) -> ExaminationResult:
    with SqliteExaminer(lambda: False).reading_structure(Manifest()) as examination:
        for begin in range(0, len(content), 1000):
            examination.write(content[begin : begin + 1000])
        return examination.finish()


def test_a_whole_database_passes_and_nothing_of_it_stays(temporary: Path, content: bytes) -> None:
    assert structure_of(content).rows is None
    assert list(temporary.iterdir()) == []


def test_a_restore_counts_tables_and_rows(temporary: Path, content: bytes) -> None:
    with SqliteExaminer(lambda: False).restoring(Manifest()) as examination:
        examination.write(content)
        result = examination.finish()
    assert (result.tables, result.rows) == (2, 2)
    assert list(temporary.iterdir()) == []


def test_a_damaged_database_fails_and_nothing_of_it_stays(temporary: Path, content: bytes) -> None:
    with pytest.raises(ContentInvalid):
        structure_of(content[:4096] + b"x" * (len(content) - 4096))
    assert list(temporary.iterdir()) == []


def test_the_copy_is_the_owner_s_alone(temporary: Path, content: bytes) -> None:
    with SqliteExaminer(lambda: False).reading_structure(Manifest()) as examination:
        examination.write(content)
        [folder] = temporary.iterdir()
        [copy] = folder.iterdir()
        assert (folder.stat().st_mode & 0o777, copy.stat().st_mode & 0o777) == (0o700, 0o600)


def test_what_a_dead_run_left_is_removed(temporary: Path, content: bytes) -> None:
    left = temporary / "lastgood-look-dead"
    left.mkdir(mode=0o700)
    (left / "copy.db").write_text("secret")
    structure_of(content)
    assert list(temporary.iterdir()) == []


def test_the_copy_of_a_living_run_stays(temporary: Path, content: bytes) -> None:
    other = temporary / "lastgood-look-alive"
    other.mkdir(mode=0o700)
    (other / "copy.db").touch()
    lock = os.open(other, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        structure_of(content)
    finally:
        os.close(lock)
    assert [path.name for path in other.iterdir()] == ["copy.db"]


def test_a_folder_that_can_not_be_made_is_an_error_of_ours(temporary: Path, content: bytes) -> None:
    temporary.rmdir()
    with pytest.raises(BackupError, match="Making a folder"):
        structure_of(content)
