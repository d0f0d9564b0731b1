"""Special directories for tests: one that others can reach, one that is full soon, one whose disk fails."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.processes import UNPRIVILEGED

AS_ROOT = os.geteuid() == 0

only_root = pytest.mark.skipif(not AS_ROOT, reason="only root may mount and give files away")


@contextlib.contextmanager
def common_directory() -> Iterator[Path]:
    """Make a directory that everybody can reach and an unprivileged user owns."""
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="store-"))
    if AS_ROOT:
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    path.chmod(0o755)
    try:
        yield path
    finally:
        path.chmod(0o755)
        shutil.rmtree(path)


@contextlib.contextmanager
def tiny_file_system(path: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB on a directory that is made for it."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.contextmanager
def common_disk(size: str) -> Iterator[Path]:
    """Mount a file system of that size, which everybody can reach by a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()


def refuse_to_read(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Simulate a disk that fails whenever one of these files is opened for reading."""
    real = LocalStore._open_file

    def open_file(store: LocalStore, name: str) -> int:
        if name in names:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(store, name)

    patch.setattr(LocalStore, "_open_file", open_file)
