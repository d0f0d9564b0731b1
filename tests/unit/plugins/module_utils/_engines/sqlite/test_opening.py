"""Which files are opened as a database, and what opening one leaves behind."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import (
    connect,
    descriptors_of,
    find_file,
    opened,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DatabaseMissing,
    NotOwner,
    SourceBusy,
    SourceInvalid,
)
from ansible_collections.lastgood.database.tests.support.places import only_root

STRANGER = 2034


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('one')")
    connection.close()
    return path


def test_a_link_is_found_as_the_file_that_it_leads_to(database: Path) -> None:
    link = database.with_name("link.db")
    link.symlink_to(database)
    found = find_file(str(link))
    assert (found.path, found.folder) == (str(database), str(database.parent))
    assert os.path.samestat(found.facts, database.stat())


def test_a_path_without_a_file_is_no_database_and_stays_without_one(tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissing):
        find_file(str(tmp_path / "app.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="not a regular file"):
        find_file(str(tmp_path))


@only_root
def test_a_database_of_root_s_that_others_may_write_beside_is_refused(database: Path) -> None:
    database.parent.chmod(0o777)
    with pytest.raises(SourceInvalid, match="somebody else may write to"):
        find_file(str(database))


@only_root
def test_a_journal_that_a_stranger_can_write_makes_a_database_of_root_s_refused(database: Path) -> None:
    journal = database.with_name("app.db-journal")
    journal.touch()
    os.chown(journal, STRANGER, STRANGER)
    with pytest.raises(SourceInvalid, match=r"app\.db-journal"):
        find_file(str(database))


@only_root
def test_a_second_name_in_a_folder_of_a_stranger_is_refused(tmp_path: Path) -> None:
    own, foreign = tmp_path / "own.db", tmp_path / "folder" / "app.db"
    foreign.parent.mkdir()
    own.touch()
    os.chown(own, STRANGER, STRANGER)
    os.link(own, foreign)
    os.chown(foreign.parent, STRANGER + 1, STRANGER + 1)
    with pytest.raises(SourceInvalid, match="has other names"):
        find_file(str(foreign))


def test_a_user_who_is_not_the_owner_is_refused(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(NotOwner, match=str(STRANGER)):
        find_file(str(database))


def test_an_open_database_is_read_and_leaves_nothing_open_or_beside_it(database: Path) -> None:
    file = find_file(str(database))
    with opened(file) as open_database:
        assert open_database.connection.execute("SELECT name FROM item").fetchall() == [("one",)]
        assert descriptors_of(file.facts)
    assert descriptors_of(file.facts) == []
    assert list(database.parent.iterdir()) == [database]


def test_a_file_that_was_put_in_the_place_of_the_one_found_is_not_opened(database: Path) -> None:
    file = find_file(str(database))
    other = database.with_name("other.db")
    sqlite3.connect(other).executescript("CREATE TABLE other (name TEXT)").close()
    other.rename(database)
    with pytest.raises(SourceInvalid, match="replaced by another file"), opened(file):
        pass


def test_a_change_of_a_database_that_is_read_without_locks_is_reported(database: Path) -> None:
    file = find_file(str(database))
    with opened(file) as open_database:
        unlocked = type(open_database)(file, open_database.connection, immutable=True)
        unlocked.check_unchanged()
        os.utime(database, ns=(1, 1))
        with pytest.raises(SourceBusy):
            unlocked.check_unchanged()
        open_database.check_unchanged()  # one with locks needs no such look


@pytest.mark.parametrize("name", ["a b.db", "what?mode=memory.db", "50%25.db", "#.db"])
def test_a_name_with_signs_of_a_uri_is_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    connect(str(path)).executescript("CREATE TABLE item (name TEXT)").close()
    assert path.read_bytes().startswith(b"SQLite format 3")
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_that_can_not_be_opened_is_an_error_with_sqlite_s_words(tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="unable to open database file"):
        connect(str(tmp_path / "none" / "app.db"))
