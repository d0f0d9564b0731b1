"""A database that is to be replaced is locked, and given back as it was."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.closing import closed_to_others, openers
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import find_file
from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseInUse


class Failed(Exception):
    pass


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.executescript("CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('one')")
    connection.close()
    return path


def journal_mode(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
        return str(mode)
    finally:
        connection.close()


def test_while_it_is_closed_nobody_reads_it(database: Path) -> None:
    with closed_to_others(find_file(str(database))):
        reader = sqlite3.connect(database, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            reader.execute("SELECT * FROM item")
        reader.close()


def test_all_of_it_is_in_its_one_file_meanwhile(database: Path) -> None:
    with closed_to_others(find_file(str(database))):
        assert [path.name for path in database.parent.iterdir()] == ["app.db"]


def test_after_a_failure_it_has_its_journal_mode_and_rows_again(database: Path) -> None:
    with pytest.raises(Failed), closed_to_others(find_file(str(database))):
        raise Failed
    assert journal_mode(database) == "wal"
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT name FROM item").fetchall() == [("one",)]
    connection.close()


def test_a_file_in_its_place_keeps_its_own_mode_when_the_run_fails_afterwards(database: Path) -> None:
    new = database.with_name("new.db")
    sqlite3.connect(new).executescript("CREATE TABLE item (name TEXT)").close()
    with pytest.raises(Failed), closed_to_others(find_file(str(database))):
        new.rename(database)
        raise Failed
    assert journal_mode(database) == "delete"


def test_a_process_that_has_it_open_is_named_and_keeps_it(database: Path) -> None:
    with database.open("rb") as file, subprocess.Popen(("/bin/sleep", "60"), stdin=file) as other:
        try:
            with pytest.raises(DatabaseInUse, match=f"process {other.pid}, sleep"), closed_to_others(find_file(str(database))):
                pass
        finally:
            other.kill()
    assert journal_mode(database) == "wal"


def test_a_connection_of_our_own_process_is_noticed_by_sqlite_s_lock(database: Path) -> None:
    user = sqlite3.connect(database)
    user.execute("SELECT * FROM item").fetchall()
    with pytest.raises(DatabaseInUse, match="is in use"), closed_to_others(find_file(str(database))):
        pass
    user.close()


def test_our_own_process_is_no_opener(database: Path) -> None:
    with database.open("rb"):
        assert openers(database.stat()) == ()


def test_a_file_that_is_no_database_is_closed_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"no database" * 1000)
    with closed_to_others(find_file(str(path))):
        pass
    assert path.read_bytes() == b"no database" * 1000
