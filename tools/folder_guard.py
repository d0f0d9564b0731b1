"""Make a temporary folder, print its path, and when the process that started this one ends, remove it and kill what runs in it.

Run with the folder's parent as its argument. The process whose end it waits for holds the other end of its standard input. Linux
only, standard library only.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

KILL_SECONDS = 30
POLL_SECONDS = 0.01


def main(parent: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=parent)).resolve()
    with contextlib.suppress(BrokenPipeError):  # the process has ended already
        os.write(sys.stdout.fileno(), os.fsencode(folder))
        os.close(sys.stdout.fileno())
    sys.stdin.readline()  # "end", or the end of the process
    clear(folder)


def clear(folder: Path) -> None:
    kill(folder)
    _remove_shared_memory(folder / "data")
    shutil.rmtree(folder)


def kill(folder: Path) -> None:
    """SIGKILL what runs in a folder, and what that started meanwhile, and wait until nothing runs there."""
    deadline = time.monotonic() + KILL_SECONDS
    while (found := processes_in(folder)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose working directory is a folder or in it, as that of a PostgreSQL server and its children is.

    A process group would not do, since each PostgreSQL process makes its own.
    """
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _works_in(entry, folder)]


def _works_in(pid: str, folder: Path) -> bool:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder)
    except OSError:  # it has ended, or is another user's
        return False


def _remove_shared_memory(data_directory: Path) -> None:
    """A server that was killed leaves its System V segment behind, named in its postmaster.pid."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        _key, segment = postmaster_lines(data_directory)[6].split()
        remove = 0  # IPC_RMID
        ctypes.CDLL(None).shmctl(int(segment), remove, None)


def postmaster_lines(data_directory: Path) -> list[str]:
    """The server's own lock file: pid, ..., line 7 its shared memory, line 8 its status."""
    return (data_directory / "postmaster.pid").read_text(errors="replace").splitlines()


if __name__ == "__main__":
    main(sys.argv[1])
