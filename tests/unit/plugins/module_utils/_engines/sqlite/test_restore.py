"""Where a backup can go. Integration tests run the restores."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import TargetState
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.restore import SqliteRestorer
from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace, SourceInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest

SMALL = Manifest(content_bytes=4096)


def examine(path: Path | str, manifest: Manifest = SMALL) -> TargetState:
    return SqliteRestorer(SqliteRestoreOptions(str(path)), lambda: False).examine_target(manifest)


def make_database(path: Path) -> Path:
    path.touch()  # SQLite's empty database
    return path


def test_a_name_that_nothing_has_is_free(tmp_path: Path) -> None:
    assert examine(tmp_path / "app.db") == TargetState(exists=False)


def test_a_file_is_a_database_that_nobody_uses(tmp_path: Path) -> None:
    assert examine(make_database(tmp_path / "app.db")) == TargetState(exists=True)


def test_who_has_the_file_open_is_named(tmp_path: Path) -> None:
    path = make_database(tmp_path / "app.db")
    with path.open("rb") as file, subprocess.Popen(("/bin/sleep", "60"), stdin=file) as other:
        try:
            [session] = examine(path).sessions
        finally:
            other.kill()
    assert str(other.pid) in session


def test_a_link_is_refused_with_the_path_that_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(make_database(tmp_path / "app.db"))
    with pytest.raises(SourceInvalid, match=str(tmp_path / "app.db")):
        examine(link)


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(SourceInvalid, match="not an absolute path"):
        examine("app.db")


def test_a_content_that_has_no_room_beside_the_old_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSpace):
        examine(tmp_path / "app.db", Manifest(content_bytes=2**60))
