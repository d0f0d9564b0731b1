"""What SQLite's own check says of a file, and what is made of it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.inspection import Inspection
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    Inconclusive,
    Interrupted,
)

PAGE_BYTES = 4096
SECONDS = 30.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA page_size = {PAGE_BYTES}; CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT);"
            "CREATE INDEX by_body ON item (body); CREATE TABLE tag (name TEXT NOT NULL);"
        )
        connection.executemany("INSERT INTO item (body) VALUES (?)", [("x" * 100,)] * 500)
        connection.execute("INSERT INTO tag VALUES ('one')")
        connection.commit()
    return path


def change_schema(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(statement)
        connection.commit()


def check(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        return Inspection(connection, SECONDS, lambda: False).check()


def refusal(path: Path, kind: type[BackupError]) -> None:
    with pytest.raises(kind):
        check(path)


def test_a_whole_database_has_no_remark(database: Path) -> None:
    assert check(database) == ""


def test_tables_and_rows_are_counted(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database, check_same_thread=False)) as connection:
        assert Inspection(connection, SECONDS, lambda: False).count() == (2, 501)


def test_a_page_that_was_overwritten_is_damage(database: Path) -> None:
    with database.open("r+b") as file:
        file.seek(PAGE_BYTES * 4)
        file.write(b"\xff" * PAGE_BYTES)
    refusal(database, ContentInvalid)


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"not a database " * 1000)
    refusal(path, ContentInvalid)


def test_a_value_that_breaks_the_rule_of_its_table_is_a_remark(database: Path) -> None:
    change_schema(database, "UPDATE sqlite_master SET sql = replace(sql, 'body TEXT', 'body TEXT CHECK (body = 1)')")
    remark = check(database)
    assert "break the rules of their tables" in remark
    assert "CHECK constraint failed in item" in remark


def test_a_definition_that_this_sqlite_does_not_know_is_inconclusive(database: Path) -> None:
    change_schema(database, "UPDATE sqlite_master SET sql = 'CREATE TABLE tag (name) OF TOMORROW' WHERE name = 'tag'")
    refusal(database, Inconclusive)


def test_a_run_that_was_stopped_checks_nothing(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, pytest.raises(Interrupted):
        Inspection(connection, SECONDS, lambda: True).check()
