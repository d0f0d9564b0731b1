"""Backups of random bytes, which are as compressible as a backup is.

Run with a folder, a count and a size in MiB, it puts them there.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.backups import put_backup

MIB = 1024 * 1024
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)


def put_backups(folder: Path, count: int, mebibytes: int) -> None:
    """Put backups of that size into a folder, which is made.

    In a process of its own: the memory that this process had at most would count as that of each program which it starts later.
    """
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "bench.backups", str(folder), str(count), str(mebibytes)], check=True)


def _put(folder: Path, count: int, mebibytes: int) -> None:
    for number in range(count):
        put_backup(folder, FIRST + timedelta(days=number), os.urandom(mebibytes * MIB))


if __name__ == "__main__":
    _put(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
