"""Another root folder for a program: what it writes to /etc and the like is seen by nobody else, and vanishes afterwards.

with another_root(folder) as root:
    root.run("touch", "/etc/something")

Needs the rights of root.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HANGS_AFTER_SECONDS = 120
COVERED = ("/etc", "/usr/local", "/var/lib")


@dataclass(frozen=True)
class AnotherRoot:
    """A mount namespace with writable layers over the folders that are covered."""

    pid: int

    def command(self, *command: str) -> tuple[str, ...]:
        """Return the command that runs another one in this root."""
        return ("nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--", *command)

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and return its output, errors included."""
        return subprocess.run(
            self.command(*command),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=None if environment is None else {"PATH": os.defpath, **environment},
            timeout=HANGS_AFTER_SECONDS,
        )

    def read(self, path: str) -> str:
        """Return the content of a file."""
        done = self.run("cat", path)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def exists(self, path: str) -> bool:
        return self.run("test", "-e", path).returncode == 0


@contextlib.contextmanager
def another_root(folder: Path) -> Iterator[AnotherRoot]:
    """Make one, whose layers are in ``folder``."""
    layers = shlex.quote(str(folder))
    mounts = [f"mount -t tmpfs layers {layers}"]
    for number, place in enumerate(COVERED):
        upper, work = f"{layers}/{number}", f"{layers}/{number}w"
        mounts += [f"mkdir {upper} {work}", f"mount -t overlay layer -o lowerdir={place},upperdir={upper},workdir={work} {place}"]
    script = " && ".join([*mounts, "echo ready", "exec cat"])
    process = subprocess.Popen(
        ("unshare", "--mount", "sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield AnotherRoot(process.pid)
    finally:
        process.stdin.close()  # which ends cat
        process.wait(HANGS_AFTER_SECONDS)
        process.stdout.close()
