# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""SQLite: a restore into a file beside the old one, which is then renamed over it.

An application that has the old file open would go on with it, unseen, and what it writes would be lost. So nobody may have
it open, as far as we can see: by /proc, and by SQLite's own locks. Its journals are gone before the new file comes: SQLite
would take them for the new one's, and destroy it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import sqlite3
import time
import typing as t
import urllib.parse
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._engines._sqlite.opening import (
    acting_as,
    connect,
    is_lacking,
    look_at_file,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.base import Situation, Swapped
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    DatabaseExists,
    DatabaseInUse,
    NoSpace,
    SourceInvalid,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import write_all

_STAMP = "%Y%m%dT%H%M%SZ"
_JOURNALS = ("-wal", "-shm", "-journal")
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCKED = "locked"
_PERMISSIONS = 0o777
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # what a file system says that has none, such as vfat


@dataclass(frozen=True)
class SqliteRestoreEngine:
    """A database file that is to be restored."""

    name: t.ClassVar[str] = "sqlite"

    database: str
    keep_old: bool = False

    def look(self, manifest: Manifest) -> Situation:
        path = self.database
        if not os.path.isabs(path):
            raise SourceInvalid(f"{path} is not an absolute path.", "Name the SQLite database by its whole path.")
        if os.path.islink(path):
            raise SourceInvalid(f"{path} is a link.", f"Name the file that it leads to: {os.path.realpath(path)}")
        exists = os.path.lexists(path)
        if exists:
            look_at_file(_through_no_link(path))
        _check_room(os.path.dirname(path), manifest)
        return Situation(exists, _openers(path) if exists else ())

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[SqliteRestoration]:
        swept = _sweep(self.database)
        while os.path.lexists(_replaced_name(self.database, stamp)):
            stamp += timedelta(seconds=1)
        scratch = f"{_prefix(self.database)}{stamp.strftime(_STAMP)}"
        with store_errors(f"Making {scratch}"):
            descriptor = os.open(scratch, _CREATE_FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield SqliteRestoration(self.database, self.keep_old, scratch, descriptor, stamp, swept)
        finally:
            with contextlib.suppress(FileNotFoundError):  # it has the database's name by now
                os.unlink(scratch)
            os.close(descriptor)


class SqliteRestoration:
    """A restore that runs."""

    def __init__(self, path: str, keep_old: bool, scratch: str, descriptor: int, stamp: datetime, warnings: list[str]) -> None:
        self._path = path
        self._keep_old = keep_old
        self._scratch = scratch
        self._descriptor = descriptor
        self._replaced = _replaced_name(path, stamp)
        self._warnings = warnings

    def write_globals(self, data: bytes | memoryview) -> None:
        """There is nothing that belongs to a cluster."""

    def write(self, data: bytes | memoryview) -> None:
        with store_errors(f"Writing {self._scratch}"):
            write_all(self._descriptor, data)

    def fill(self) -> None:
        with store_errors(f"Finishing {self._scratch}"):
            os.fsync(self._descriptor)
        try:
            said = _check_integrity(self._scratch)
        except sqlite3.Error as error:
            if not is_lacking(error):
                raise _broken(str(error)) from error
            self._warnings.append(f"SQLite could not check the restored database, for it lacks what that uses: {error}.")
        else:
            if said != ["ok"]:
                raise _broken("; ".join(said))

    def swap(self) -> Swapped:
        path = self._path
        began = time.monotonic()
        if not os.path.lexists(path):
            self._take_new_name()
            return Swapped(None, 0.0, tuple(self._warnings))
        with _closed_to_others(path) as old:
            with store_errors(f"Replacing {path}"):
                os.fchown(self._descriptor, old.facts.st_uid, old.facts.st_gid)
                os.fchmod(self._descriptor, old.facts.st_mode & _PERMISSIONS)
            with self._undone_unless_swapped() as undo:
                if self._keep_old:
                    with store_errors(f"Keeping {path}"):
                        os.link(path, self._replaced, follow_symlinks=False)
                    undo.callback(os.unlink, self._replaced)
                # A database that SQLite can't open may have journals that it could not read either.
                aside = [] if old.is_usable else self._set_journals_aside(undo)
                self._take_name()
            self._tidy_up([] if self._keep_old else aside)
        kept = self._replaced if self._keep_old else None
        return Swapped(kept, time.monotonic() - began, tuple(self._warnings))

    @contextlib.contextmanager
    def _undone_unless_swapped(self) -> t.Iterator[contextlib.ExitStack]:
        """Undo what is noted unless the restored database has the name, whatever else went wrong: then it is too late."""
        with contextlib.ExitStack() as undo:
            try:
                yield undo
            finally:
                if self._may_have_name():
                    undo.pop_all()

    def _may_have_name(self) -> bool:
        try:
            return _is_file(self._path, os.fstat(self._descriptor))
        except OSError:  # then nothing is removed that may be the only one
            return True

    def _set_journals_aside(self, undo: contextlib.ExitStack) -> list[str]:
        """Rename the journals to those of the database that is kept, and return their names there."""
        aside = []
        for ending in _JOURNALS:
            there, name = self._path + ending, self._replaced + ending
            with store_errors(f"Renaming {there} to {name}"), contextlib.suppress(FileNotFoundError):
                os.rename(there, name)
                undo.callback(os.rename, name, there)
                aside.append(name)
        return aside

    def _take_name(self) -> None:
        with store_errors(f"Renaming {self._scratch} to {self._path}"):
            self._check_journals()
            os.rename(self._scratch, self._path)

    def _take_new_name(self) -> None:
        with store_errors(f"Naming the restored database {self._path}"):
            self._check_journals()
            try:
                self._name_it()
            except FileExistsError as error:
                raise DatabaseExists(
                    f"The database {self._path} came into being during the restore, and is as it was.",
                    "See who made it, and run again.",
                ) from error
        self._tidy_up([self._scratch])

    def _name_it(self) -> None:
        try:
            os.link(self._scratch, self._path, follow_symlinks=False)  # a rename would replace what came in between
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(self._path):
                raise
            os.rename(self._scratch, self._path)

    def _check_journals(self) -> None:
        stale = [ending for ending in _JOURNALS if os.path.lexists(self._path + ending)]
        if stale:
            raise StoreFailed(
                f"{self._path}{stale[0]} is there, and SQLite would take it for the restored database's.",
                "See that no application runs, and remove it, or restore under another name.",
            )

    def _tidy_up(self, remains: list[str]) -> None:
        """Remove what nobody needs any more, and bring the names to the disk. The restored database is there whatever happens."""
        try:
            with store_errors("Removing what was there, and bringing the new name to the disk"):
                for path in remains:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        except BackupError as error:
            self._warnings.append(f"{self._path} was restored. {error.problem}")


@dataclass(frozen=True)
class _Old:
    """The database that is to be replaced, and whether SQLite can open it."""

    facts: os.stat_result
    is_usable: bool


@contextlib.contextmanager
def _closed_to_others(path: str) -> t.Iterator[_Old]:
    """Hold SQLite's own lock on a database, all of it in its one file.

    Raises DatabaseInUse where somebody has it open. When it is given up in the end the database is as it was.
    """
    openers = _openers(path)
    if openers:
        raise DatabaseInUse(
            f"{path} is in use: {'; '.join(openers)}.",
            "Stop the application, and start it again when the restore is done; the database is as it was.",
            sessions=list(openers),
        )
    real = _through_no_link(path)
    facts = look_at_file(real)
    with contextlib.ExitStack() as stack:
        with acting_as(facts):
            connection = connect(real)
            stack.callback(_close, connection, facts)
            mode = _lock(connection, path)
        try:
            yield _Old(facts, mode is not None)
        except BaseException:
            if mode is not None and _is_file(path, facts):
                with acting_as(facts):
                    connection.execute("ROLLBACK")
                    connection.execute(f"PRAGMA journal_mode={mode}").fetchall()
            raise


def _lock(connection: sqlite3.Connection, path: str) -> str | None:
    """Lock a database for ourselves, and return its journal mode; None for one that SQLite can't open."""
    try:
        [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
        # This succeeds only when nobody else has it open, and takes what is in the journal into the file.
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if _LOCKED in str(error):
            raise DatabaseInUse(
                f"{path} is in use: {error}.", "Stop the application that has it open; the database is as it was."
            ) from error
        return None
    return str(mode)


def _close(connection: sqlite3.Connection, facts: os.stat_result) -> None:
    with acting_as(facts):
        connection.close()


def _through_no_link(path: str) -> str:
    """Return the path of a file that is no link itself, by the folder that its own leads to."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _is_file(path: str, facts: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), facts)
    except FileNotFoundError:
        return False


def _check_integrity(path: str) -> list[str]:
    """Return what SQLite's check says of a file that nobody else has."""
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        return [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)").fetchall()]


def _broken(said: str) -> ContentInvalid:
    return ContentInvalid(f"SQLite says of the restored database: {said}.", "Take another backup; the database is as it was.")


def _openers(path: str) -> tuple[str, ...]:
    """Return the processes that have a file open, as far as we may see them: root sees all of them."""
    facts = os.stat(path)
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or gone by now
            if any(_is_open_as(f"/proc/{pid}/fd/{number}", facts) for number in os.listdir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(f"process {pid}, {file.read().strip()}")
    return tuple(found)


def _is_open_as(link: str, facts: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(link), facts)
    except OSError:  # closed by now
        return False


def _check_room(directory: str, manifest: Manifest) -> None:
    with store_errors(f"Asking for the free space of {directory}"):
        space = os.statvfs(directory)
    free, needed = space.f_bavail * space.f_frsize, manifest.content_bytes or 0
    if free < needed:
        raise NoSpace(
            f"{directory} has {free} bytes free, and the restored database needs {needed} beside the old one.",
            "Make room; the database is as it was.",
        )


def _prefix(path: str) -> str:
    """Return how the file of a restore in progress begins."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}_restoring_")


def _replaced_name(path: str, stamp: datetime) -> str:
    return f"{path}_replaced_{stamp.strftime(_STAMP)}"


def _sweep(path: str) -> list[str]:
    """Remove what dead runs left: files of our own making that nobody holds. Return what to say of it."""
    said = []
    prefix = _prefix(path)
    directory, beginning = os.path.split(prefix)
    ours = re.compile(re.escape(beginning) + r"[0-9]{8}T[0-9]{6}Z")
    for name in filter(ours.fullmatch, os.listdir(directory)):
        remains = os.path.join(directory, name)
        with store_errors(f"Removing {remains}"):
            descriptor = os.open(remains, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(remains)
                said.append(f"Removed {remains}, which an interrupted restore left.")
            except BlockingIOError:
                continue  # it lives
            finally:
                os.close(descriptor)
    return said
