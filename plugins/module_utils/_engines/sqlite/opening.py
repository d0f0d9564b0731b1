"""Open an SQLite database as its application does: as the file's owner.

SQLite opens, makes and removes journals by name, beside the database, and does what they say: one can make it remove any
file on the host. So root opens a database with the rights of its owner alone, checks afterwards that SQLite opened the file
that was examined, and opens a database of its own only if nobody else can replace it or put a file beside it.
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
    """A file to open as a database: its path, which contains no links, and its stat result."""

    path: str
    facts: os.stat_result

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    def as_owner(self, work: t.Callable[[], Answer]) -> Answer:
        """Do work with the rights of the file's owner."""
        return as_owner(self.facts, self.folder, work)


def find_file(path: str) -> DatabaseFile:
    """Return the file that an absolute path leads to, if we may open it as a database. Does not open it.

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
    """Connect to a database as its owner. Statements wait for no lock, and begin no transaction."""
    database = file.as_owner(lambda: _open(file))
    try:
        yield database
    finally:
        file.as_owner(database.connection.close)


@dataclass(frozen=True)
class Opened:
    """An open database. An ``immutable`` one is read as it is on the disk, without locks and journals."""

    file: DatabaseFile
    connection: sqlite3.Connection
    immutable: bool = False

    def check_unchanged(self) -> None:
        """Raise SourceBusy if somebody wrote to a file that was read without a lock."""
        if self.immutable and (_stamp(os.lstat(self.file.path)) != _stamp(self.file.facts) or _has_log(self.file)):
            raise SourceBusy(f"{self.file.path} was changed while it was read.", "Run it again.")


def connect(path: str, parameters: str = "mode=rw") -> sqlite3.Connection:
    """Connect to a database. Statements wait for no lock, and begin no transaction."""
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?{parameters}"
    try:
        # One thread at a time uses it: ours, or one that acts as the owner.
        return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise unopened(path, error) from error


def unopened(path: str, error: sqlite3.Error) -> SourceInvalid:
    """Return the error for a database that can't be opened, or whose journals can't be."""
    return SourceInvalid(
        f"{path} can't be opened: {error}.",
        "See that the file's owner may enter its folder, and write to it where the database is in WAL mode.",
    )


def descriptors_of(facts: os.stat_result) -> list[int]:
    """Return our descriptors of a file."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the listing's own, closed by now
            if os.path.samestat(os.fstat(number), facts):
                found.append(number)
    return found


def _open(file: DatabaseFile) -> Opened:
    # rw, as the application opens it, so that SQLite recovers the database after a crash, and leaves no files.
    connection, descriptor = _connect_to(file, "mode=rw")
    if not _would_leave_journals(file, descriptor):
        return Opened(file, connection)
    connection.close()
    connection, _descriptor = _connect_to(file, "mode=ro&immutable=1")
    return Opened(file, connection, immutable=True)


def _connect_to(file: DatabaseFile, parameters: str) -> tuple[sqlite3.Connection, int]:
    """Connect to a database, and return SQLite's descriptor of it, too. Raises SourceInvalid if SQLite opens another file."""
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
    """Return whether SQLite would make a log that it can't remove: the log gets the mode of a database that is read-only.

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
    """Raise SourceInvalid if somebody else could replace root's file, or write a journal of it."""
    path = walk.path
    for journal in (f"{path}{ending}" for ending in JOURNALS):
        if os.path.lexists(journal):
            _check(path, journal, os.lstat(journal))
    _check(path, os.path.dirname(path), walk.folder.facts)
    folder = os.path.dirname(path)
    for step in reversed(walk.steps[:-2]):
        folder = os.path.dirname(folder)
        if step.facts.st_uid != 0 or not step.facts.st_mode & stat.S_ISVTX:  # in a sticky one, others can't rename root's files
            _check(path, folder, step.facts)


def _check(path: str, name: str, facts: os.stat_result) -> None:
    if _others_may_write(facts, 0):
        raise SourceInvalid(
            f"{path} is root's, but somebody else may write to {name}, and SQLite, run by root, would do what a journal says.",
            "Give the database to the user whose it is, or take from others the right to write there.",
        )


def _check_other_names(path: str, walk: Walk) -> None:
    """Raise SourceInvalid if somebody else may have made this hard link to the owner's file."""
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
