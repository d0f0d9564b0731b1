"""Small files in a directory of backups that are not backups, and a lock that shows whether a run is alive.

No backup depends on them: a run goes on if such a file can't be read or written. A file is replaced in one step, and flushed to
the disk only if the caller asks for it. Writing holds the directory's lock, but sets no time on the lock file, since no
backup changes.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    Locked,
    LocksUnavailable,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock, try_shared_lock
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.lock_file import LOCK_NAME, give_away, open_lock

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_POLL_SECONDS = 0.01
_QUERY_SECONDS = 0.03
_MARK_SECONDS = 2.0  # has_no_live_run holds the lock for less than a millisecond
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Bookkeeping:
    """A directory's small files. ``directory`` returns its descriptor."""

    location: str
    directory: t.Callable[[], int]
    attributes: FileAttributes

    @contextlib.contextmanager
    def locked(self, seconds: float) -> t.Iterator[None]:
        """Hold the directory's lock. Raises Locked after ``seconds``. A stopped run waits as well, to record the stop."""
        with store_errors(f"Opening the lock of {self.location}"):
            descriptor = open_lock(self.directory(), f"{self.location}/{LOCK_NAME}", self.attributes)
        try:
            _wait(lambda: try_lock(descriptor), seconds, self.location)
            yield
        finally:
            close_quietly(descriptor)

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the first ``limit`` bytes of a file, None without a file. Raises StoreFailed if others may have made it."""
        with store_errors(f"Reading {self.location}/{name}"):
            try:
                descriptor = os.open(name, _READ_FLAGS, dir_fd=self.directory())
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):
                    raise self._foreign(name, "it is a link, or no regular file") from error
                raise
            try:
                self._check(name, os.fstat(descriptor))
                found = os.read(descriptor, limit)
                while 0 < len(found) < limit and (more := os.read(descriptor, limit - len(found))):
                    found += more
                return found
            finally:
                os.close(descriptor)

    def write(self, name: str, data: bytes, *, durable: bool) -> None:
        """Replace a file by one with this content, and flush it to the disk if it is to be ``durable``. Only while ``locked``."""
        directory, partial = self.directory(), f"{name}.partial"
        with store_errors(f"Writing {self.location}/{name}"):
            with contextlib.suppress(FileNotFoundError):
                self._check(name, os.stat(name, dir_fd=directory, follow_symlinks=False))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=directory)  # a killed run's
            descriptor = os.open(partial, _CREATE_FLAGS, 0o600, dir_fd=directory)
            try:
                write_all(descriptor, data)
                os.fchmod(descriptor, self.attributes.mode)
                give_away(descriptor, directory, self.attributes)
                if durable:
                    os.fsync(descriptor)
                os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=directory)
                raise
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def mark_alive(self) -> t.Iterator[None]:
        """Hold a shared lock on the directory, so that ``has_no_live_run`` is false."""
        with store_errors(f"Opening {self.location}"):
            descriptor = os.open(".", _DIRECTORY_FLAGS, dir_fd=self.directory())
        try:
            with contextlib.suppress(Locked, LocksUnavailable):  # other runs then take this one for dead
                _wait(lambda: try_shared_lock(descriptor), _MARK_SECONDS, self.location)
            yield
        finally:
            close_quietly(descriptor)

    def has_no_live_run(self) -> bool:
        """Return whether no run of this host is alive in the directory. If that can't be found out, one may be."""
        with store_errors(f"Examining {self.location}"):
            descriptor = os.open(".", _DIRECTORY_FLAGS, dir_fd=self.directory())
        try:
            # Another process that asks this holds the lock for a moment.
            _wait(lambda: try_lock(descriptor), _QUERY_SECONDS, self.location)
            return True
        except (Locked, LocksUnavailable):
            return False
        finally:
            close_quietly(descriptor)

    def _check(self, name: str, found: os.stat_result) -> None:
        """Raise StoreFailed for a file that another user may have put there."""
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise self._foreign(name, "it is no regular file, or has another name as well")
        directory = os.fstat(self.directory())
        if directory.st_mode & _OTHERS_WRITE and found.st_uid not in (0, os.geteuid(), directory.st_uid):
            raise self._foreign(name, f"it belongs to the user with id {found.st_uid}, and others may write to the directory")

    def _foreign(self, name: str, reason: str) -> StoreFailed:
        return StoreFailed(f"{self.location}/{name} is not ours: {reason}.", "See who put it there, and remove it.")


def _wait(attempt: t.Callable[[], bool], seconds: float, location: str) -> None:
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() >= deadline:
            raise Locked(f"Another run holds the lock of {location}.", "Wait for it, and run again.")
        time.sleep(_POLL_SECONDS)
