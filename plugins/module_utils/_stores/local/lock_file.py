"""The lock of a directory, which a run holds while it commits, deletes or sweeps, and the marks that runs leave on it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import stat
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes, apply_owner

LOCK_NAME = ".lastgood.lock"

_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LockMarks(t.NamedTuple):
    """Marks that show whether another run has held a lock: each run leaves a new one. None if no mark can be left."""

    found: int
    left: int | None


def open_lock(directory: int, path: str, attributes: FileAttributes) -> int:
    """Open the lock of a directory, and make it where it is missing, for whoever owns the backups: they must be able to take it.

    ``path`` is its path, for messages. Raises OSError and StoreFailed.
    """
    while True:
        try:
            descriptor = os.open(LOCK_NAME, _CREATE_FLAGS, 0o600, dir_fd=directory)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                return _open_existing(directory, path, attributes)
        else:
            give_away(descriptor, directory, attributes)
            return descriptor


def _open_existing(directory: int, path: str, attributes: FileAttributes) -> int:
    descriptor = os.open(LOCK_NAME, _OPEN_FLAGS, dir_fd=directory)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        if found.st_uid == os.geteuid() and not found.st_size:  # an empty file discloses nothing
            give_away(descriptor, directory, attributes)
        return descriptor
    close_quietly(descriptor)
    raise StoreFailed(
        f"{path} is no lock file of ours: it is no regular file, or has another name as well.",
        "See who put it there, and remove it.",
    )


def give_away(descriptor: int, directory: int, attributes: FileAttributes) -> None:
    """Change the owner of a file to the directory's owner, if we are root, or to the one in the options."""
    facts = os.fstat(directory)
    if os.geteuid() == 0 and facts.st_uid != 0:
        os.fchown(descriptor, facts.st_uid, facts.st_gid)
    apply_owner(descriptor, attributes)


def leave_mark(lock: int) -> LockMarks:
    """Set a new time on the lock's file, and return the previous and the new time, None if it can't be set."""
    found = os.fstat(lock).st_mtime_ns
    try:
        os.utime(lock, ns=(found, max(time.time_ns(), found + 1)))
    except OSError:  # it is another user's: the time can still be set to now, so that its owner sees that we were here
        with contextlib.suppress(OSError):
            os.utime(lock)
        return LockMarks(found, None)
    left = os.fstat(lock).st_mtime_ns
    return LockMarks(found, left if left > found else None)  # some file systems know seconds alone
