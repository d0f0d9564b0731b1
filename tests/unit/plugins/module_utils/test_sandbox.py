"""The parts of a sandbox that need no program: what it removes, which id it takes, what it mounts."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _sandbox
from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._errors import Inconclusive
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, RunningProgram


def test_the_id_of_a_drill_is_nobody_s() -> None:
    number = _sandbox._free_id()
    with pytest.raises(KeyError):
        pwd.getpwuid(number)


def test_a_path_below_one_that_is_mounted_is_not_mounted_again() -> None:
    words = list(_sandbox._mounts(["/usr/share/zoneinfo", "/usr/lib/x", "/nonexistent"]))
    paths = words[1::3]
    assert len(paths) == len(set(paths))
    assert "/usr/share" in paths and "/usr/share/zoneinfo" not in paths and "/nonexistent" not in paths


def test_nothing_of_the_host_is_mounted_that_can_be_written() -> None:
    words = list(_sandbox._mounts([]))
    for how, _path, options in zip(words[::3], words[1::3], words[2::3], strict=True):
        assert how in ("link", "device") or {"ro", "nosuid"} <= set(options.split(","))


def test_a_drill_whose_space_can_not_be_watched_any_more_is_ended_without_a_verdict(
    runner: ModuleRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: str) -> os.statvfs_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    room = _sandbox.Room(_sandbox.Sandbox(runner, {}, os.geteuid(), os.getegid()), str(tmp_path))
    with (
        RunningProgram(runner, Command(("sleep", "30"))) as running,
        pytest.raises(Inconclusive, match="Stale file handle"),
        room.watched(running),
    ):
        monkeypatch.setattr(_sandbox.os, "statvfs", fail)
        running.wait()
