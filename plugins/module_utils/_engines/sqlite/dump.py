"""Dump an SQLite database as a consistent copy, by the online backup interface.

The copy is made in steps within one read transaction: otherwise it would restart whenever another connection writes, and
never end under a busy writer. Meanwhile, writers wait in rollback mode and continue in WAL mode.
https://www.sqlite.org/backup.html
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fnmatch
import os
import sqlite3
import stat
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import (
    Content,
    Scope,
    Survey,
    Target,
    Unavailable,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.content import FileDigest
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import (
    Opened,
    connect,
    descriptors_of,
    find_file,
    opened,
    unopened,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    Interrupted,
    NoSpace,
    SourceBusy,
    SourceInvalid,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import read_full

_STEP_PAGES = 4096  # 16 MiB of pages of the usual size, between two checks whether the run was stopped
_ATTEMPT_SECONDS = 0.25


@dataclass(frozen=True)
class SqliteDumper:
    """Dumps database files of this host."""

    name: t.ClassVar[str] = "sqlite"

    options: SqliteDumpOptions
    is_stopped: t.Callable[[], bool]

    def scope(self) -> Scope:
        return Scope("files", tuple(_name_of(path) for path in self._paths()))

    def survey(self) -> Survey:
        targets, unavailable = [], []
        for path in self._paths():
            try:
                targets.append(_target(path))
            except BackupError as error:
                unavailable.append(Unavailable(_name_of(path), error, path))
        return Survey(tuple(targets), tuple(unavailable))

    def _paths(self) -> list[str]:
        options = self.options
        excluded = {path for path in options.paths if any(fnmatch.fnmatchcase(path, pattern) for pattern in options.exclude)}
        return [path for path in dict.fromkeys(options.paths) if path not in excluded]

    @contextlib.contextmanager
    def dumping(self, target: Target, make_copy_file: t.Callable[[], str]) -> t.Iterator[Content]:
        copy = make_copy_file()
        identity = _identity(copy)
        self._copy(target, copy, identity)
        with store_errors(f"Reading {copy}"):
            descriptor = os.open(copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not os.path.samestat(os.fstat(descriptor), identity):
                raise _led_astray(copy)
            yield _Copy(descriptor)
        finally:
            os.close(descriptor)

    def content_digest(self, target: Target, algorithm: Hash) -> ContentDigest:
        return FileDigest(algorithm)

    def _copy(self, target: Target, copy: str, identity: os.stat_result) -> None:
        path = target.source
        try:
            with self._reading(target) as source, contextlib.closing(connect(copy)) as destination:
                # SQLite opens by name. In another user's directory the name may lead to another file by now.
                if len(descriptors_of(identity)) < 2:  # one of the file's creator, one of SQLite
                    raise _led_astray(copy)
                destination.execute("PRAGMA journal_mode=OFF")
                destination.execute("PRAGMA synchronous=OFF")
                source.backup(destination, pages=_STEP_PAGES, progress=lambda status, remaining, total: self._look_at_stop())
        except sqlite3.Error as error:
            raise _translate(path, error) from error

    @contextlib.contextmanager
    def _reading(self, target: Target) -> t.Iterator[sqlite3.Connection]:
        """Begin to read a database, so that SQLite has opened all files that it opens by name."""
        file = find_file(target.instance)
        if file.path != target.instance:
            raise SourceInvalid(
                f"{target.source} was replaced by a link since the run began.",
                "See who may write to its folder, and run it again.",
            )
        with opened(file) as database:
            self._begin(target.source, database)
            yield database.connection
        database.check_unchanged()

    def _begin(self, path: str, database: Opened) -> None:
        deadline = time.monotonic() + self.options.lock_timeout
        source = database.connection
        source.execute("BEGIN")
        while True:
            try:
                # Does not read the schema, which may be of a newer SQLite.
                database.file.as_owner(lambda: source.execute("PRAGMA schema_version").fetchall())
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            if time.monotonic() > deadline:
                raise SourceBusy(
                    f"{path} was locked by a writer for more than {self.options.lock_timeout:g} seconds.",
                    "Run when the application writes less, or raise lock_timeout.",
                )
            self._look_at_stop()
            time.sleep(_ATTEMPT_SECONDS)

    def _look_at_stop(self) -> None:
        if self.is_stopped():
            raise Interrupted("The run was ended in the middle of a copy.", "Run it again.")


@dataclass(frozen=True)
class _Copy:
    """The copy, read as the dump's content."""

    descriptor: int

    def readinto(self, buffer: memoryview) -> int:
        with store_errors("Reading the copy of the database"):
            return read_full(self.descriptor, buffer)

    def finish(self) -> None:
        pass


def _name_of(path: str) -> str:
    return os.path.basename(path) or path


def _target(path: str) -> Target:
    if not os.path.isabs(path):
        raise SourceInvalid(f"{path} is not an absolute path.", "Name the SQLite database by its whole path.")
    file = find_file(path)
    return Target(
        kind="database",
        database=os.path.basename(path),
        engine=SqliteDumper.name,
        instance=file.path,
        source=path,
        server_version=sqlite3.sqlite_version,
        tool=f"sqlite {sqlite3.sqlite_version}",
        format="custom",
        copy_bytes=file.facts.st_size,
    )


def _identity(copy: str) -> os.stat_result:
    """Return the stat result of the copy. Raises StoreFailed unless it is the empty file that was just made."""
    with store_errors(f"Examining {copy}"):
        facts = os.lstat(copy)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size or facts.st_nlink != 1 or facts.st_uid != os.geteuid():
        raise _led_astray(copy)
    return facts


def _led_astray(copy: str) -> StoreFailed:
    return StoreFailed(
        f"{copy} was replaced by somebody else while it was being written.",
        "See who else may write to the directory, and back up to one of your own.",
    )


def _translate(path: str, error: sqlite3.Error) -> BackupError:
    if "full" in str(error):
        return NoSpace(
            f"Copying {path}: {error}.", "Make room, or back up to another directory; earlier backups are as they were."
        )
    if "I/O" in str(error):  # SQLite does not report which of the files
        return StoreFailed(
            f"Copying {path} into the directory of backups: {error}.",
            "Check both disks, and the limit on the size of files (ulimit -f); earlier backups are as they were.",
        )
    if "unable to open" in str(error) or "readonly" in str(error):
        return unopened(path, error)
    return SourceInvalid(f"{path} can't be copied: {error}.", "Examine it with: sqlite3 FILE 'PRAGMA integrity_check'")
