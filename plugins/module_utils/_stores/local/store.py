"""A directory on this machine as a store of backups.

Everything but an engine's own copy goes through one descriptor of the directory, so that nothing which happens to the path
in between can lead a write astray.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DirectoryMissing,
    DirectoryNotWritable,
    Interrupted,
    Locked,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, close_quietly, read_full, write_all
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock, wait_for_lock
from ansible_collections.lastgood.database.plugins.module_utils._space import free_bytes
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import (
    LOCK_SECONDS,
    Capabilities,
    FileFacts,
    NewPayload,
    Written,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import (
    PRIVATE,
    FileAttributes,
    apply_owner,
    attributes_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.bookkeeping import Bookkeeping
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.location import open_location
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.lock_file import (
    LOCK_NAME,
    LockMarks,
    leave_mark,
    open_lock,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import put_by_partial

UNNAMED_PREFIX = ".lastgood.unnamed."  # of a file that loses its name at once, where the file system needs one

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_NO_REGULAR_FILE = (*_NO_SUCH_FILE, errno.ELOOP, errno.ENXIO, errno.EINVAL)  # a link, a socket, a directory or the like


class LocalStore:
    """A directory. It has the methods of the store's protocol, and those that need a local file system."""

    creates_directory = True
    capabilities = Capabilities(reads_cheaply=True, has_locks=True, replaces_atomically=True)

    def __init__(
        self,
        directory: str,
        attributes: FileAttributes = PRIVATE,
        is_stopped: t.Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_stopped`` returns whether the run was stopped: waiting for a lock and reading a payload then end at once."""
        self.location = os.path.normpath(directory)
        self.warnings: list[str] = []
        self._attributes = attributes
        self._is_stopped = is_stopped
        self._descriptor: int | None = None

    def close(self) -> None:
        if self._descriptor is not None:
            close_quietly(self._descriptor)
            self._descriptor = None

    def exists(self) -> bool:
        try:
            self._directory()
        except DirectoryMissing:
            return False
        return True

    def ensure(self) -> None:
        """Make the directory, and those above it, where they are missing: for their owner alone."""
        if self._descriptor is None:
            self._descriptor = open_location(self.location, self._attributes)
        self.check()

    def check(self) -> None:
        """Check that the directory is writable, if it exists."""
        if self.exists() and not os.access(".", os.W_OK | os.X_OK, dir_fd=self._directory(), effective_ids=True):
            raise DirectoryNotWritable(
                f"The user with id {os.geteuid()} may not write to {self.location}.",
                "Run as a user who may (become_user), or change the directory's owner or mode.",
            )

    def path(self, name: str) -> str:
        return f"{self.location}/{name}"

    def staging(self) -> LocalStore:
        return self

    def bookkeeping(self) -> Bookkeeping:
        return Bookkeeping(self.location, self._directory, self._attributes)

    def names(self) -> list[str]:
        with store_errors(f"Listing {self.location}"):
            # A descriptor of its own: two threads that list at once would share their place in the directory.
            descriptor = os.open(".", _DIRECTORY_FLAGS, dir_fd=self._directory())
            try:
                with os.scandir(descriptor) as entries:
                    return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
            finally:
                close_quietly(descriptor)

    def facts(self, name: str) -> FileFacts | None:
        try:
            found = os.stat(name, dir_fd=self._directory(), follow_symlinks=False)
        except ValueError:
            return None
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return None
            with store_errors(f"Examining {self.path(name)}"):
                raise
        if not stat.S_ISREG(found.st_mode):
            return None
        return FileFacts(found.st_size, found.st_mtime)

    def read(self, name: str, limit: int) -> bytes | None:
        with store_errors(f"Reading {self.path(name)}"):
            try:
                descriptor = self._open_file(name)
            except ValueError:
                return None
            except OSError as error:
                if error.errno in _NO_REGULAR_FILE:
                    return None
                raise
            try:
                size = min(limit, os.fstat(descriptor).st_size)  # a buffer of the limit's size costs more than the question
                found = os.read(descriptor, size)
                while len(found) < size and (more := os.read(descriptor, size - len(found))):
                    found += more
                return found
            finally:
                close_quietly(descriptor)

    def fingerprint(self, name: str) -> list[int] | None:
        """Return numbers that change when a file is written to or replaced, None if it does not exist."""
        with store_errors(f"Examining {self.path(name)}"):
            try:
                found = os.stat(name, dir_fd=self._directory(), follow_symlinks=False)
            except FileNotFoundError:
                return None
        return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    def facts_of(self, names: t.Iterable[str]) -> t.Iterator[FileFacts | None]:
        return map(self.facts, names)

    def read_many(self, names: t.Iterable[str], limit: int) -> t.Iterator[bytes | StoreFailed | None]:
        return (self._read_or_error(name, limit) for name in names)

    def _read_or_error(self, name: str, limit: int) -> bytes | StoreFailed | None:
        try:
            return self.read(name, limit)
        except StoreFailed as error:
            return error

    def chunks(self, name: str, offset: int = 0) -> t.Generator[memoryview, None, None]:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with store_errors(f"Reading {self.path(name)}"):
            descriptor = self._open_file(name)
            try:
                os.lseek(descriptor, offset, os.SEEK_SET)
                while count := read_full(descriptor, buffer):
                    if self._is_stopped():
                        raise Interrupted(f"The run was ended while {self.path(name)} was read.", "Run it again.")
                    yield buffer[:count]
            finally:
                close_quietly(descriptor)

    def drop_cache(self, name: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a hint
            descriptor = self._open_file(name)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, seconds: float = LOCK_SECONDS) -> t.Iterator[LockMarks]:
        with store_errors(f"Opening {self.path(LOCK_NAME)}"):
            descriptor = open_lock(self._directory(), self.path(LOCK_NAME), self._attributes)
        try:
            if not wait_for_lock(descriptor, seconds, self._is_stopped):
                if self._is_stopped():
                    raise Interrupted("The run was ended while it waited for a lock.", "Run it again.")
                raise Locked(
                    f"Another run has held {self.path(LOCK_NAME)} for {seconds:g} seconds.",
                    "Wait for it, or see what it hangs on, and run again.",
                )
            with store_errors(f"Marking {self.path(LOCK_NAME)}"):
                marks = leave_mark(descriptor)
            yield marks
        finally:
            close_quietly(descriptor)

    def replace(self, name: str, data: bytes, like: str | None = None) -> None:
        with store_errors(f"Writing {self.path(name)}"):
            self._replace(name, data, self._attributes if like is None else self._attributes_of(like))

    def replace_private(self, name: str, data: bytes) -> None:
        """Write a small file as a whole. Only the run's user may read it, whatever the other files' owner and mode are."""
        with store_errors(f"Writing {self.path(name)}"):
            self._replace(name, data, PRIVATE)

    def _replace(self, name: str, data: bytes, attributes: FileAttributes) -> None:
        partial = f".{name}.partial"
        self.remove(partial)
        descriptor = self.create(partial)
        try:
            write_all(descriptor, data)
            self.finish(descriptor, attributes)
            self.rename(partial, name)
        except BaseException:
            self.remove(partial)
            raise
        finally:
            close_quietly(descriptor)

    def add(self, name: str, data: bytes) -> None:
        """Write a small file whole. Raises StoreFailed where the name is taken. Under the lock only."""
        if self.taken(name):
            raise StoreFailed(f"{self.path(name)} exists already.", "Find out who else writes to this directory.")
        self.replace(name, data)

    def put(self, payload: NewPayload, before_chunk: t.Callable[[int], None], *, reads_back: bool) -> Written:
        return put_by_partial(self, payload, before_chunk, reads_back=reads_back)

    def write_from(self, name: str, offset: int, chunks: t.Iterable[memoryview]) -> int:
        """Write to a file from ``offset`` on, make it if it is missing, and return how many bytes were written."""
        written = 0
        with store_errors(f"Writing {self.path(name)}"):
            descriptor = self._open_partial(name)
            try:
                os.lseek(descriptor, offset, os.SEEK_SET)
                for chunk in chunks:
                    write_all(descriptor, chunk)
                    written += len(chunk)
                self.finish(descriptor)
            finally:
                close_quietly(descriptor)
        return written

    def _open_partial(self, name: str, access: int = os.O_WRONLY) -> int:
        """Open a file for writing. One that exists has to be a regular file without another name: others would be written to."""
        flags = access | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=self._directory())
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            return descriptor
        close_quietly(descriptor)
        raise StoreFailed(f"{self.path(name)} is no partial of ours.", "See who put it there, and remove it.")

    def remove(self, name: str) -> bool:
        with store_errors(f"Deleting {self.path(name)}"):
            try:
                os.unlink(name, dir_fd=self._directory())
            except FileNotFoundError:
                return False
        return True

    def create(self, name: str) -> int:
        """Create a new file, accessible only to its owner, and return its descriptor."""
        with store_errors(f"Making {self.path(name)}"):
            return os.open(name, _CREATE_FLAGS, 0o600, dir_fd=self._directory())

    def claim(self, name: str) -> int | None:
        """Create a file and hold its lock, and replace one that a dead run left. None if a living run holds it."""
        with store_errors(f"Making {self.path(name)}"):
            if not self.sweep(name):
                return None
            try:
                descriptor = os.open(name, _CREATE_FLAGS, 0o600, dir_fd=self._directory())
            except FileExistsError:
                return None  # somebody else was quicker
            # Between the two somebody may have taken it for a dead run's.
            if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                return descriptor
            close_quietly(descriptor)
            return None

    def claim_to_continue(self, name: str) -> int | None:
        """Open a partial, or create one, and hold its lock. Retains the bytes of a dead run. None if a living run holds it."""
        with store_errors(f"Opening {self.path(name)}"):
            descriptor = self._open_partial(name, os.O_RDWR)
            # Another run may have renamed or deleted it before we held the lock.
            if try_lock(descriptor) and self._is(name, descriptor):
                return descriptor
            close_quietly(descriptor)
            return None

    def unnamed_file(self) -> int:
        """Create a file without a name, accessible only to its owner, and return its descriptor. It exists while it is open."""
        with store_errors(f"Making a file without a name in {self.location}"):
            try:
                return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self._directory())
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):  # not every file system knows such files
                    raise
            name = f"{UNNAMED_PREFIX}{os.getpid()}.{time.monotonic_ns()}"
            descriptor = self.create(name)
            self.remove(name)
            return descriptor

    def finish(self, descriptor: int, attributes: FileAttributes | None = None) -> None:
        """Set the owner and mode of a written file, the store's by default, and flush it to the disk."""
        attributes = attributes or self._attributes
        with store_errors(f"Finishing a file in {self.location}"):
            os.fchmod(descriptor, attributes.mode)
            apply_owner(descriptor, attributes)
            os.fsync(descriptor)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a file, and flush the directory to the disk. It replaces an existing file: first check that the name is free.

        After the rename the file is stored: a failure to flush the directory is a warning.
        """
        with store_errors(f"Renaming {self.path(name)} to {new_name}"):
            os.rename(name, new_name, src_dir_fd=self._directory(), dst_dir_fd=self._directory())
        self.sync_directory(new_name)

    def sync_directory(self, name: str) -> None:
        """Flush the directory to the disk after a file got its name."""
        try:
            os.fsync(self._directory())
        except OSError as error:
            self.warnings.append(
                f"{self.path(name)} is stored, but its directory could not be brought to the disk ({error.strerror}): it may be "
                "lost when the host loses its power. Check the disk."
            )

    def is_file(self, name: str, descriptor: int) -> bool:
        """Return whether a name is that of an open file."""
        with store_errors(f"Examining {self.path(name)}"):
            return self._is(name, descriptor)

    def taken(self, name: str) -> bool:
        """Return whether anything at all bears the name, a link or a directory too."""
        with store_errors(f"Examining {self.path(name)}"):
            try:
                os.stat(name, dir_fd=self._directory(), follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def is_held(self, name: str) -> bool:
        """Return whether a living run holds the file's lock; False if the file does not exist."""
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory())
        except FileNotFoundError:
            return False
        except OSError:
            return True  # not ours to judge
        try:
            return not try_lock(descriptor)
        finally:
            close_quietly(descriptor)

    def free_bytes(self) -> int:
        """Return the free space for our user."""
        return free_bytes(self._directory(), self.location)

    def sweep(self, name: str) -> bool:
        """Delete a file unless a living run holds it, and return whether the name is free."""
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory())
        except FileNotFoundError:
            return True
        try:
            # Nobody renames or deletes a file without its lock: the name stays this file's until we release the lock.
            if not try_lock(descriptor) or not self._is(name, descriptor):
                return False
            os.unlink(name, dir_fd=self._directory())
            return True
        finally:
            close_quietly(descriptor)

    def _is(self, name: str, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(name, dir_fd=self._directory(), follow_symlinks=False), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _open_file(self, name: str) -> int:
        """Open a regular file for reading. Rejects others: the data of a fifo is not stored."""
        descriptor = os.open(name, _READ_FLAGS, dir_fd=self._directory())
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            close_quietly(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return descriptor

    def _directory(self) -> int:
        if self._descriptor is None:
            self._descriptor = open_location(self.location)
        return self._descriptor

    def has_attributes(self, name: str) -> bool:
        """Return whether a file has the owner, the group and the mode that the store's files get, as far as they are given."""
        with store_errors(f"Examining {self.path(name)}"):
            found, wanted = self._attributes_of(name), self._attributes
        return found == FileAttributes(
            found.uid if wanted.uid is None else wanted.uid, found.gid if wanted.gid is None else wanted.gid, wanted.mode
        )

    def _attributes_of(self, name: str) -> FileAttributes:
        return attributes_of(os.stat(name, dir_fd=self._directory(), follow_symlinks=False))
