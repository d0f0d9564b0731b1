"""Locks on files, which the kernel releases when their holder ends: they distinguish a run that is alive from a dead one."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import LocksUnavailable

_POLL_SECONDS = 0.1


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, and return False if another process holds it. Raises LocksUnavailable."""
    return _try(descriptor, fcntl.LOCK_EX)


def try_shared_lock(descriptor: int) -> bool:
    """Do the same for a shared lock, which many may hold at a time."""
    return _try(descriptor, fcntl.LOCK_SH)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # ENOLCK of NFS without its lock service; EOPNOTSUPP, ENOSYS or EINVAL of a FUSE file system
        raise LocksUnavailable(
            f"The file system takes no lock (flock: {error.strerror}) on {os.readlink(f'/proc/self/fd/{descriptor}')}.",
            "Locks tell a run that is alive from a dead one: mount NFS with locks (not nolock; rpc.statd on both sides), FUSE "
            "with flock, or use a local directory and copy with backup_upload. Earlier backups are as they were.",
        ) from error
    return True


def wait_for_lock(descriptor: int, seconds: float, is_stopped: t.Callable[[], bool]) -> bool:
    """Wait for the lock of an open file, at most ``seconds`` or until the run is stopped. Return whether it was acquired."""
    deadline = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() >= deadline or is_stopped():
            return False
        time.sleep(_POLL_SECONDS)
    return True
