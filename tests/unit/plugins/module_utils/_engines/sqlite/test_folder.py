"""What restores do in the folder of a database, and what they undo of dead ones."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.folder import (
    Folder,
    open_folder,
    replaced_name,
    scratch_name,
    sweep,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceInvalid
from ansible_collections.lastgood.database.tests.support.places import only_root

STAMP = datetime(2026, 2, 28, 12, tzinfo=timezone.utc)
SCRATCH = scratch_name("app.db", STAMP)
REPLACED = replaced_name("app.db", STAMP)
STRANGER = 2034


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "app.db").write_text("old")
    with open_folder(str(tmp_path / "app.db")) as folder:
        yield folder


def names(folder: Folder) -> list[str]:
    return sorted(os.listdir(folder.path))


def test_names_are_of_the_folder_that_was_opened_whatever_its_path_leads_to_by_then(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with open_folder(str(place / "app.db")) as folder:
        place.rename(tmp_path / "moved")
        place.mkdir()
        os.close(folder.create("new"))
        folder.sync()
        assert folder.has("new")
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["new"]
    assert list(place.iterdir()) == []


def test_what_is_made_is_the_owner_s_alone_and_never_replaces_a_file(folder: Folder) -> None:
    os.close(folder.create("new"))
    facts = folder.facts("new")
    assert facts is not None and facts.st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        folder.create("app.db")


def test_a_link_is_a_name_of_its_own(folder: Folder) -> None:
    os.symlink("app.db", folder.path_of("link"))
    facts = folder.facts("app.db")
    assert facts is not None
    assert folder.is_file("app.db", facts) and not folder.is_file("link", facts)


def test_a_name_that_nothing_has_is_removed_without_an_error(folder: Folder) -> None:
    folder.remove("none")
    assert folder.facts("none") is None


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="can't be opened"), open_folder(str(tmp_path / "none" / "app.db")):
        pass


@only_root
def test_a_link_that_a_stranger_can_set_does_not_lead_root_to_a_folder(tmp_path: Path) -> None:
    own, link = tmp_path / "own", tmp_path / "foreign" / "link"
    own.mkdir()
    link.parent.mkdir()
    link.symlink_to(own)
    os.chown(link.parent, STRANGER, STRANGER)
    with pytest.raises(SourceInvalid, match=str(STRANGER)), open_folder(str(link / "app.db")):
        pass


def test_a_dead_run_s_scratch_is_removed_with_a_warning(folder: Folder) -> None:
    os.close(folder.create(SCRATCH))
    [warning] = sweep(folder, "app.db")
    assert folder.path_of(SCRATCH) in warning
    assert names(folder) == ["app.db"]


def test_a_living_run_s_scratch_and_second_name_stay(folder: Folder) -> None:
    os.link(folder.path_of("app.db"), folder.path_of(REPLACED))
    descriptor = folder.create(SCRATCH)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert sweep(folder, "app.db") == []
    finally:
        os.close(descriptor)
    assert names(folder) == sorted(["app.db", SCRATCH, REPLACED])


def test_a_swap_that_was_begun_is_undone_with_the_journals_that_were_set_aside(folder: Folder) -> None:
    os.close(folder.create(SCRATCH))
    os.link(folder.path_of("app.db"), folder.path_of(REPLACED))
    Path(folder.path_of(f"{REPLACED}-wal")).write_text("log")
    assert len(sweep(folder, "app.db")) == 1
    assert names(folder) == ["app.db", "app.db-wal"]


def test_an_old_database_that_was_retained_stays(folder: Folder) -> None:
    Path(folder.path_of(REPLACED)).write_text("another file")
    assert sweep(folder, "app.db") == []
    assert names(folder) == ["app.db", REPLACED]


def test_files_of_other_databases_stay(folder: Folder) -> None:
    for name in (scratch_name("other.db", STAMP), ".app.db_restoring_now", f"{SCRATCH}x"):
        os.close(folder.create(name))
    before = names(folder)
    assert sweep(folder, "app.db") == []
    assert names(folder) == before


def test_a_link_with_the_name_of_a_scratch_is_left_alone(folder: Folder) -> None:
    os.symlink("app.db", folder.path_of(SCRATCH))
    assert sweep(folder, "app.db") == []
    assert names(folder) == sorted(["app.db", SCRATCH])
