"""Folders for temporary files: nothing of them stays, and a living run's are left alone."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._scratch import scratch_folder, sweep_scratch_folders

PREFIX = "lastgood-test-"


def test_a_folder_is_its_owner_s_alone_and_locked_while_it_is_used(tmp_path: Path) -> None:
    with scratch_folder(str(tmp_path), PREFIX) as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        sweep_scratch_folders(str(tmp_path), PREFIX)
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_removed_however_deep_it_is_and_whatever_modes_are_in_it(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    with scratch_folder(str(tmp_path), PREFIX) as folder:
        top = Path(folder)
        (top / "closed" / "inner").mkdir(parents=True)
        (top / "link").symlink_to(other)
        (top / "closed" / "inner" / "link").symlink_to(other)
        (top / "closed" / "inner").chmod(0)
        (top / "closed").chmod(0)
        descriptor = os.open(top, os.O_RDONLY)
        for _level in range(2000):
            os.mkdir("deeper", dir_fd=descriptor)
            below = os.open("deeper", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        os.close(descriptor)
    assert list(tmp_path.iterdir()) == [other]
    assert [path.name for path in other.iterdir()] == ["file"]


def test_a_dead_run_s_folder_is_swept_and_others_stay(tmp_path: Path) -> None:
    for name in (f"{PREFIX}dead", f"{PREFIX}open", "other"):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "file").touch()
    (tmp_path / f"{PREFIX}open").chmod(0o755)  # no folder of ours has this mode
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other")
    (tmp_path / f"{PREFIX}file").touch()
    sweep_scratch_folders(str(tmp_path), PREFIX)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{PREFIX}file", f"{PREFIX}link", f"{PREFIX}open", "other"]
    )
    assert (tmp_path / "other" / "file").exists()


def test_a_file_system_without_locks_has_scratch_folders_that_no_sweep_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with scratch_folder(str(tmp_path), PREFIX) as folder:
        sweep_scratch_folders(str(tmp_path), PREFIX)
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_does_not_exist_has_nothing_to_sweep(tmp_path: Path) -> None:
    sweep_scratch_folders(str(tmp_path / "none"), PREFIX)
