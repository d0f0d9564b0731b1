"""A private folder for the files of a throw-away server, and the user that runs such a server.

A guard (`folder_guard.py`) makes each folder. It is a small process that reads a pipe which only we hold open. When we end, even
by SIGKILL, the pipe ends. The guard then kills what runs in the folder, and removes it.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tools import folder_guard

LOOPBACK = "127.0.0.1"
SOCKET_PATH_LIMIT = 107  # bytes


def server_user() -> pwd.struct_passwd | None:
    """`nobody` when we are root, else None: the server runs as ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def is_open_to_all(path: Path) -> bool:
    """Whether every user may execute a program, or enter a folder."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def open_to_all(top: Path) -> None:
    """Let others read and enter what its owner can, and write nothing."""
    for folder, _folders, files in os.walk(top):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            if not path.is_symlink():
                mode = path.stat().st_mode & 0o700
                path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)


class Folder:
    """A private temporary folder (0700). When we end it is removed, and the processes that work in it are killed."""

    def __init__(self, parent: Path) -> None:
        self._owner = os.getpid()
        self._guard = subprocess.Popen(
            (sys.executable, "-I", "-S", Path(folder_guard.__file__).resolve(), parent),
            bufsize=0,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            self.path = Path(os.fsdecode(answer.read()))
        if not self.path.is_absolute():
            raise OSError(f"no folder could be made in {parent}")
        atexit.register(self.close)

    def launch(self, command: Sequence[str | Path], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program in the folder as the server's user, in a session of its own, so that Ctrl-C reaches only us.

        The new process enters the folder before it closes its copy of the guard's pipe, so that it never outlives us.
        """
        user = server_user()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.path,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            umask=0o077,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )

    def kill(self) -> None:
        """Kill what runs in the folder."""
        folder_guard.kill(self.path)

    def close(self) -> None:
        """Kill what still runs in the folder, and remove it. A second call does nothing."""
        is_closed = self._guard.returncode is not None
        if is_closed or self._owner != os.getpid():  # a fork of us, at its exit
            return
        atexit.unregister(self.close)
        assert self._guard.stdin is not None
        with self._guard.stdin as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(b"end\n")  # since a fork of us may hold the pipe open
        self._guard.wait()
        if self.path.exists():  # somebody killed the guard
            folder_guard.clear(self.path)


def parent_for_folders(base: Path | None = None) -> Path:
    """Return a folder for such folders: sockets in them have short enough paths, and the server's user may enter.

    Raises ValueError if that is not so for `base`.
    """
    candidates = [base.absolute()] if base else [Path(tempfile.gettempdir()), Path("/tmp")]
    for parent in candidates:
        longest = parent / "pg-12345678" / ".s.PGSQL.65535"
        if len(os.fsencode(longest)) <= SOCKET_PATH_LIMIT and (server_user() is None or is_open_to_all(parent)):
            return parent
    tried = ", ".join(str(parent) for parent in candidates)
    raise ValueError(
        f"{tried}: too long a path for a socket, or closed to the server's user; use a short one that every user can enter"
    )


def free_port() -> int:
    """A TCP port that is free on the loopback at this moment; a moment later it may not be."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
