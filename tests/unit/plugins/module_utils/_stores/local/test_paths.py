"""A directory is where its path says, and no other user's link leads elsewhere."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import DirectoryUnusable
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.paths import LinkRefused, open_directory
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.places import common_directory, only_root
from ansible_collections.lastgood.database.tests.support.processes import UNPRIVILEGED


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of another user's."""
    with common_directory() as folder:
        yield folder


def opened(path: Path | str) -> str:
    """Return where a path leads."""
    descriptor = open_directory(str(path))
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def link(path: Path, target: Path | str, owner: int = 0) -> Path:
    path.symlink_to(target)
    if os.geteuid() == 0:
        os.chown(path, owner, owner, follow_symlinks=False)
    return path


def test_a_path_without_links_leads_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert opened(tmp_path / "a" / "b") == str(tmp_path / "a" / "b")
    assert opened(f"{tmp_path}//a/./b/") == str(tmp_path / "a" / "b")
    assert opened("/") == "/"
    assert opened(".") == os.getcwd()


def test_a_link_of_our_own_above_the_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub" / "backups").mkdir(parents=True)
    absolute = link(tmp_path / "absolute", tmp_path / "real")
    relative = link(tmp_path / "relative", "real/sub/..")
    twice = link(tmp_path / "twice", "absolute/../relative")
    for one in (absolute, relative, twice):
        assert opened(one / "sub" / "backups") == str(tmp_path / "real" / "sub" / "backups")


def test_links_that_go_round_come_to_an_end(tmp_path: Path) -> None:
    link(tmp_path / "one", "two")
    link(tmp_path / "two", "one")
    with pytest.raises(LinkRefused):
        opened(tmp_path / "one" / "backups")


def test_a_folder_that_can_only_be_gone_through_is_gone_through(tmp_path: Path) -> None:
    (tmp_path / "closed" / "backups").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o111)
    assert opened(tmp_path / "closed" / "backups") == str(tmp_path / "closed" / "backups")


def refuse(path: Path) -> str:
    """See that neither a directory that exists nor one that is made is reached by a path, and return what is said."""
    for name in ("there", "new/backups"):
        store = LocalStore(str(path / name))
        with pytest.raises(DirectoryUnusable) as refused:
            store.ensure()
        with pytest.raises(DirectoryUnusable):
            store.exists()
        store.close()
    assert refused.value.code == "directory_unusable"
    return str(refused.value)


@only_root
def test_a_link_of_another_user_is_refused(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    evil = link(theirs / "evil", tmp_path, UNPRIVILEGED)
    assert f"{evil} is a link that another user can change" in refuse(evil)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@only_root
def test_a_link_of_root_that_another_user_may_have_moved_is_refused(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    refuse(link(theirs / "moved", tmp_path))
    theirs.chmod(0o700)
    os.chown(theirs, 0, 0)
    assert opened(theirs / "moved" / "there") == str(tmp_path / "there")
    theirs.chmod(0o770)
    refuse(theirs / "moved")


@only_root
def test_a_link_behind_a_link_is_refused_as_well(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "target" / "there").mkdir(parents=True)
    evil = link(theirs / "evil", tmp_path / "target", UNPRIVILEGED)
    refuse(link(tmp_path / "own", evil))


@only_root
def test_in_a_sticky_folder_such_as_tmp_only_links_of_our_own_are_followed(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    os.chown(theirs, 0, 0)
    theirs.chmod(0o1777)
    assert opened(link(theirs / "own", tmp_path) / "there") == str(tmp_path / "there")
    refuse(link(theirs / "evil", tmp_path, UNPRIVILEGED))


@only_root
def test_a_real_folder_of_another_user_is_fine(theirs: Path) -> None:
    store = LocalStore(str(theirs / "home" / "backups"))
    store.ensure()
    store.close()
    assert (theirs / "home" / "backups").is_dir()
