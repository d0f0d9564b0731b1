"""SQLite: a database file is opened as the application opens it, by the file's owner.

SQLite opens, makes and removes journals by name, beside the database, and obeys them: one can name any file on the host
to be removed. So root opens a database with the rights of its owner alone, sees afterwards that SQLite has the file that
was examined, and opens a database of root's own only where nobody else can put anything in its place or beside it.
https://www.sqlite.org/lockingv3.html#hot_journals, https://www.sqlite.org/tempfiles.html#super_journal_files
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import threading
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.owner import Answer, as_owner
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.paths import Walk, walking
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DatabaseMissing,
    NotOwner,
    SourceBusy,
    SourceInvalid,
)

JOURNALS = ("-wal", "-shm", "-journal")
_WAL_VERSION = 2  # https://www.sqlite.org/fileformat2.html, section 1.3.3
_READ_VERSION_AT = 19
_opening = threading.Lock()


@dataclass(frozen=True)
class DatabaseFile:
    """A file that is to be opened as a database: its path, which has no link in it, and what the file system says of it."""

    path: str
    facts: os.stat_result

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    def as_owner(self, work: t.Callable[[], Answer]) -> Answer:
        """Do work with the rights of the file's owner."""
        return as_owner(self.facts, self.folder, work)


def find_file(path: str) -> DatabaseFile:
    """Return the file that an absolute path leads to, if we may open it as a database. It is not opened.

    Raises DatabaseMissing, NotOwner or SourceInvalid.
    """
    try:
        with walking(path) as walk:
            check_walk(path, walk)
            return DatabaseFile(walk.path, walk.end.facts)
    except FileNotFoundError as error:
        raise DatabaseMissing(f"There is no file {path}.", "Correct the path; a missing database is never created.") from error
    except OSError as error:
        raise SourceInvalid(f"{path} can't be examined: {error.strerror}.", "Run as the file's owner (become_user).") from error


def check_walk(path: str, walk: Walk) -> None:
    """Raise NotOwner or SourceInvalid unless the end of the walk is a database file that we may open."""
    facts = walk.end.facts
    if not stat.S_ISREG(facts.st_mode):
        raise SourceInvalid(f"{path} is not a regular file.", "Name the file of an SQLite database.")
    walk.check_links(path)
    if os.geteuid() not in (0, facts.st_uid):
        raise NotOwner(
            f"{path} belongs to the user with id {facts.st_uid}, and this is the user with id {os.geteuid()}.",
            "Run as the file's owner or as root (become_user): a stranger who reads a database in WAL mode leaves files "
            "behind that lock the application out.",
        )
    if os.geteuid() == facts.st_uid == 0:
        _check_that_root_s_own(walk)
    if os.geteuid() == 0 and facts.st_nlink > 1:
        _check_other_names(path, walk)


@contextlib.contextmanager
def opened(file: DatabaseFile) -> t.Iterator[Opened]:
    """Connect to a database as its owner. Nothing waits for a lock, and no transaction begins by itself."""
    database = file.as_owner(lambda: _open(file))
    try:
        yield database
    finally:
        file.as_owner(database.connection.close)


@dataclass(frozen=True)
class Opened:
    """A database that is open. An ``immutable`` one is read as it lies on the disk, without locks and journals."""

    file: DatabaseFile
    connection: sqlite3.Connection
    immutable: bool = False

    def check_unchanged(self) -> None:
        """Raise SourceBusy where somebody wrote to a file that was read without a lock."""
        if self.immutable and (_stamp(os.lstat(self.file.path)) != _stamp(self.file.facts) or _has_log(self.file)):
            raise SourceBusy(f"{self.file.path} was changed while it was read.", "Run it again.")


def connect(path: str, parameters: str = "mode=rw") -> sqlite3.Connection:
    """Connect to a database. Nothing waits for a lock, and no transaction begins by itself."""
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?{parameters}"
    try:
        # One thread after the other uses it: those that act as the owner, and ours.
        return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise unopened(path, error) from error


def unopened(path: str, error: sqlite3.Error) -> SourceInvalid:
    """Return the error for a database that SQLite can't open, or whose journals it can't."""
    return SourceInvalid(
        f"{path} can't be opened: {error}.",
        "See that the file's owner may enter its folder, and write to it where the database is in WAL mode.",
    )


def descriptors_of(facts: os.stat_result) -> list[int]:
    """Return our descriptors of a file."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if os.path.samestat(os.fstat(number), facts):
                found.append(number)
    return found


def _open(file: DatabaseFile) -> Opened:
    # rw, not ro: as the application itself would, so that what a crash left is recovered, and nothing is left behind.
    connection, descriptor = _connect_to(file, "mode=rw")
    if not _would_leave_journals(file, descriptor):
        return Opened(file, connection)
    connection.close()
    connection, _descriptor = _connect_to(file, "mode=ro&immutable=1")
    return Opened(file, connection, immutable=True)


def _connect_to(file: DatabaseFile, parameters: str) -> tuple[sqlite3.Connection, int]:
    """Connect to a database, and return SQLite's own descriptor of it as well. Raises SourceInvalid if that is another file."""
    with _opening:
        before = descriptors_of(file.facts)
        connection = connect(file.path, parameters)
        new = [number for number in descriptors_of(file.facts) if number not in before]
    if new:
        return connection, new[0]
    connection.close()
    raise SourceInvalid(
        f"{file.path} was replaced by another file while it was being opened.",
        "See who may write to its folder, and run it again.",
    )


def _would_leave_journals(file: DatabaseFile, descriptor: int) -> bool:
    """Return whether SQLite would make a log that it can't remove: it has the mode of a database that its owner may not write.

    The application could not write to such a log later.
    """
    is_read_only = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    header = os.pread(descriptor, _READ_VERSION_AT + 1, 0)
    return is_read_only and header[_READ_VERSION_AT:] == bytes([_WAL_VERSION]) and not _has_log(file)


def _has_log(file: DatabaseFile) -> bool:
    return os.path.lexists(f"{file.path}-wal")


def _stamp(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _check_that_root_s_own(walk: Walk) -> None:
    """Raise SourceInvalid where somebody else could put a file in the place of root's, or write a journal of it."""
    path = walk.path
    for journal in (f"{path}{ending}" for ending in JOURNALS):
        if os.path.lexists(journal):
            _check(path, journal, os.lstat(journal))
    _check(path, os.path.dirname(path), walk.folder.facts)
    folder = os.path.dirname(path)
    for step in reversed(walk.steps[:-2]):
        folder = os.path.dirname(folder)
        if step.facts.st_uid != 0 or not step.facts.st_mode & stat.S_ISVTX:  # in a sticky one, others can't rename what is root's
            _check(path, folder, step.facts)


def _check(path: str, name: str, facts: os.stat_result) -> None:
    if _others_may_write(facts, 0):
        raise SourceInvalid(
            f"{path} is root's, but somebody else may write to {name}, and SQLite, run by root, would do what a journal says.",
            "Give the database to the user whose it is, or take from others the right to write there.",
        )


def _check_other_names(path: str, walk: Walk) -> None:
    """Raise SourceInvalid where somebody else may have given the owner's file its name in this folder (a hard link)."""
    facts, folder = walk.end.facts, walk.folder.facts
    if folder.st_uid not in (0, facts.st_uid) or _others_may_write(folder, folder.st_uid):
        raise SourceInvalid(
            f"{path} has other names (hard links), belongs to the user with id {facts.st_uid}, and lies in a folder that "
            "somebody else may write to, who can have put it there.",
            "Name the file by its own path, or copy it so that it has one name.",
        )


def _others_may_write(facts: os.stat_result, owner: int) -> bool:
    by_group = facts.st_mode & stat.S_IWGRP and facts.st_gid != 0
    return bool(facts.st_uid != owner or by_group or facts.st_mode & stat.S_IWOTH)
