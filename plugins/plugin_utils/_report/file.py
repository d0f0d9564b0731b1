"""Read the file of the report on the controller, and replace it in one step."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import typing as t
from pathlib import Path


class Existing(t.NamedTuple):
    """The file as it is."""

    text: str
    mode: int


def read(path: Path) -> Existing | None:
    """Return the file, None if it does not exist or is a link, which ``write`` replaces and does not follow."""
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISREG(found.st_mode):
            with open(path, encoding="utf-8", errors="replace", opener=_as_it_is) as file:
                return Existing(file.read(), stat.S_IMODE(found.st_mode))
    return None


def _as_it_is(path: str, flags: int) -> int:
    """Open a file that others may have replaced since it was examined: follow no link, and wait for no pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def check(path: Path) -> None:
    """Raise OSError if the folder of the file does not exist, or nothing can be written to it."""
    path.parent.stat()
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def write(path: Path, text: str, mode: int) -> None:
    """Replace the file in one step, so that a reader sees the old one or the new one."""
    partial = path.with_name(f".lastgood-{secrets.token_hex(8)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
