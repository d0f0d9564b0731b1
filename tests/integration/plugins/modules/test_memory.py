"""Memory stays flat whatever the size of a backup: whole modules, each of which says in the end how large it grew."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.backups import ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Host, collections_path, run_module
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

# Python runs this first. Not getrusage: its maximum begins with what our parent had when it started us.
TELL = """
import atexit, os

def tell():
    with open("/proc/self/status") as status, open(os.environ["LARGEST"], "a") as file:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM:")), file=file)

atexit.register(tell)
"""
SQLITE = b"SQLite format 3\0"
MIB = 1024 * 1024
SIZES = (10, 300)
ROOM_KIB = 60 * 1024


def put_large(folder: Path, megabytes: int) -> Path:
    """Make a folder with one good backup of so many megabytes, nearly all of them a hole in the file."""
    folder.mkdir()
    size, zeros = megabytes * MIB, bytes(MIB)
    digest = hashlib.sha256(SQLITE + zeros[len(SQLITE) :])
    for _number in range(megabytes - 1):
        digest.update(zeros)
    sha256 = digest.hexdigest()
    name = put_backup(
        folder,
        ago(hours=1),
        SQLITE,
        engine="sqlite",
        compression="none",
        payload_bytes=size,
        payload_sha256=sha256,
        content_bytes=size,
        content_sha256=sha256,
        content_blake3=None,
    )
    os.truncate(folder / name, size)
    return folder


def largest_kib(folder: Path, module: str, **options: Any) -> int:
    """Run a module to its end, and return how large its process was at its largest."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(TELL)
    host = Host(search_path=(site, collections_path()), environment={"LARGEST": str(site / "largest")})
    assert run_module(module, host=host, directory=str(folder), **options).changed
    return max(map(int, (site / "largest").read_text().split()))


@pytest.mark.slow
@pytest.mark.parametrize("module", ["backup_archive", "backup_verify", "backup_upload"])
def test_thirty_times_the_payload_takes_no_more_memory(sftp: SftpServer, tmp_path: Path, module: str) -> None:
    found = []
    for megabytes in SIZES:
        folder, there = put_large(tmp_path / f"here{megabytes}", megabytes), tmp_path / f"there{megabytes}"
        there.mkdir()
        options: dict[str, Any] = {
            "backup_archive": {"dest": str(there / "all.tar")},  # which is no smaller: nowhere on the way may it be kept
            "backup_verify": {"level": "checksum"},
            "backup_upload": {"sftp": sftp.options(there)},
        }[module]
        found.append(largest_kib(folder, module, **options))
    assert found[1] - found[0] < ROOM_KIB
