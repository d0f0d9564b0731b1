"""Which files a survey finds. Integration tests run the dumps."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import SqliteDumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteDumpOptions


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (n)")
    return path


def survey(*paths: str, exclude: tuple[str, ...] = ()) -> tuple[list[str | None], dict[str, str]]:
    """Return the names of the targets, and the codes of what is unavailable."""
    found = SqliteDumper(SqliteDumpOptions(paths, exclude), lambda: False).survey()
    return [target.database for target in found.targets], {one.database: one.error.code for one in found.unavailable}


def test_a_database_has_the_name_of_its_file(database: Path) -> None:
    assert survey(str(database)) == (["app.db"], {})


def test_a_path_that_is_given_twice_is_one_database(database: Path) -> None:
    assert survey(str(database), str(database)) == (["app.db"], {})


def test_a_link_is_the_database_that_it_leads_to(database: Path) -> None:
    link = database.with_name("link.db")
    link.symlink_to(database)
    [target] = SqliteDumper(SqliteDumpOptions((str(link),)), lambda: False).survey().targets
    assert (target.database, target.instance, target.source) == ("link.db", str(database.resolve()), str(link))


def test_the_copy_has_the_size_of_the_file(database: Path) -> None:
    [target] = SqliteDumper(SqliteDumpOptions((str(database),)), lambda: False).survey().targets
    assert target.copy_bytes == database.stat().st_size


@pytest.mark.parametrize("pattern", ["*.db", "*/app.*"])
def test_a_pattern_is_matched_with_the_whole_path(database: Path, pattern: str) -> None:
    assert survey(str(database), exclude=(pattern,)) == ([], {})


def test_the_name_alone_matches_no_pattern(database: Path) -> None:
    assert survey(str(database), exclude=("app.db",)) == (["app.db"], {})


def test_a_file_that_does_not_exist_does_not_hide_the_others(database: Path) -> None:
    missing = str(database.with_name("missing.db"))
    assert survey(missing, str(database)) == (["app.db"], {"missing.db": "database_missing"})


def test_a_relative_path_and_a_directory_are_no_databases(database: Path) -> None:
    directory = database.parent
    assert survey("app.db", str(directory)) == ([], {"app.db": "source_invalid", directory.name: "source_invalid"})
