"""The end of a path is where the kernel would come to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.paths import walking
from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceInvalid
from ansible_collections.lastgood.database.tests.support.places import only_root

STRANGER = 2034


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    (tmp_path / "far").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "near").symlink_to("a/../a/./b")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "chain").symlink_to("near")
    (tmp_path / "last").symlink_to("chain/file")
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "a/b/file",
        "a//b/./file",
        "a/b/../b/file",
        "far/file",
        "near/file",
        "chain/file",
        "last",
        "a/up/a/up/chain/file",
        "far/../b/file",
        "/../../a/b/file",
    ],
)
def test_it_ends_where_the_kernel_would(tree: Path, path: str) -> None:
    whole = f"{tree}/{path}" if not path.startswith("/") else f"/..{tree}/a/b/file"
    with walking(whole) as walk:
        assert walk.path == os.path.realpath(whole) == str(tree / "a" / "b" / "file")
        assert os.path.samestat(walk.end.facts, os.stat(whole))
        assert os.path.samestat(walk.folder.facts, (tree / "a" / "b").stat())
        assert os.path.samestat(os.fstat(walk.end.descriptor), walk.end.facts)


def test_the_root_folder_is_its_own_folder() -> None:
    with walking("/") as walk:
        assert (walk.path, walk.folder) == ("/", walk.end)


def test_links_in_a_circle_end_it(tree: Path) -> None:
    (tree / "one").symlink_to("two")
    (tree / "two").symlink_to("one")
    with pytest.raises(OSError) as raised, walking(str(tree / "one")):
        pass
    assert raised.value.errno == errno.ELOOP


@pytest.mark.parametrize("path, error", [("a/none", FileNotFoundError), ("a/b/file/more", NotADirectoryError)])
def test_what_does_not_exist_is_an_error(tree: Path, path: str, error: type[OSError]) -> None:
    with pytest.raises(error), walking(str(tree / path)):
        pass


def test_it_leaves_no_descriptor_open(tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with walking(str(tree / "last")):
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before


@only_root
def test_a_link_counts_as_its_owner_s_and_as_its_folder_s(tree: Path) -> None:
    os.lchown(tree / "far", STRANGER, STRANGER)
    os.chown(tree / "a", STRANGER, STRANGER)
    for path in ("far/file", "a/up/a/b/file"):
        with walking(str(tree / path)) as walk, pytest.raises(SourceInvalid, match=f"user with id {STRANGER}"):
            walk.check_links(path)
    os.chown(tree / "a" / "b" / "file", STRANGER, STRANGER)
    for path in ("far/file", "a/up/a/b/file"):
        with walking(str(tree / path)) as walk:
            walk.check_links(path)
