"""Examine a backup of an SQLite database: SQLite's own check, on a private copy that is removed afterwards."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    WHOLE,
    ContentExamination,
    Examination,
    ExaminationResult,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.inspection import inspecting
from ansible_collections.lastgood.database.plugins.module_utils._errors import Inconclusive, LocksUnavailable, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._scratch import temporary_directory

_PREFIX = "lastgood-look-"
_COPY = "copy.db"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class SqliteExaminer:
    """Examines the backups of one run."""

    is_stopped: t.Callable[[], bool]

    def examination(self, manifest: Manifest) -> Examination:
        return SqliteExamination(self.is_stopped)


@dataclass(frozen=True)
class SqliteExamination:
    """The content of one backup."""

    is_stopped: t.Callable[[], bool]

    def reading_structure(self) -> t.ContextManager[ContentExamination]:
        return self._examining(counts=False)

    def restoring(self) -> t.ContextManager[ContentExamination]:
        return self._examining(counts=True)

    @contextlib.contextmanager
    def _examining(self, *, counts: bool) -> t.Iterator[ContentExamination]:
        # A file without a name would do, but SQLite opens by name.
        parent = temporary_directory()
        _sweep(parent)
        with _folder(parent) as folder:
            path = os.path.join(folder, _COPY)
            with store_errors(f"Making {path}"):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                yield _CopyExamination(path, descriptor, counts, self.is_stopped)
            finally:
                close_quietly(descriptor)


@dataclass(frozen=True)
class _CopyExamination:
    """The copy."""

    path: str
    descriptor: int
    counts: bool
    is_stopped: t.Callable[[], bool]

    def write(self, data: bytes | memoryview) -> None:
        try:
            write_all(self.descriptor, data)
        except OSError as error:
            raise Inconclusive(
                f"Writing a copy to {os.path.dirname(self.path)}: {error.strerror}.",
                "Make room there, or set TMPDIR for the task to a directory with more.",
            ) from error

    def finish(self) -> ExaminationResult:
        with inspecting(self.path, self.descriptor, self.is_stopped) as inspection:
            remark = inspection.check()
            tables, rows = inspection.count() if self.counts else (None, None)
        found = f"It was restored: {tables} tables with {rows} rows." if self.counts else WHOLE.detail
        # Such rows are the source's own: a restore brings back what the application has.
        return ExaminationResult(f"{found} {remark}." if remark else found, tables, rows)


@contextlib.contextmanager
def _folder(parent: str) -> t.Iterator[str]:
    """Make a folder, lock it, so that it is known to be in use, and remove it in the end."""
    with store_errors(f"Making a folder in {parent}"):
        path, descriptor = _claim(parent)
    try:
        yield path
    finally:
        _clear(path, descriptor)
        close_quietly(descriptor)


def _claim(parent: str) -> tuple[str, int]:
    """Make a folder, and lock it. One that another run's sweep removed in between is made anew."""
    while True:
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        try:
            descriptor = os.open(path, _FOLDER_FLAGS)
        except FileNotFoundError:
            continue
        except OSError:
            os.rmdir(path)
            raise
        if _is_free(descriptor) and _is_ours(path, descriptor):
            return path, descriptor
        close_quietly(descriptor)


def _is_free(descriptor: int) -> bool:
    """Lock a new folder. A file system without locks is no obstacle: no sweep can take the folder there."""
    try:
        return try_lock(descriptor)
    except LocksUnavailable:
        return True


def _sweep(parent: str) -> None:
    """Remove what dead runs left: a copy of a database is a secret, and takes room. What can't be removed stays."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(_PREFIX):
                _sweep_one(os.path.join(parent, name))


def _sweep_one(path: str) -> None:
    with contextlib.suppress(OSError, LocksUnavailable):  # it belongs to somebody else, or to a run that lives
        descriptor = os.open(path, _FOLDER_FLAGS)
        try:
            if try_lock(descriptor) and _is_ours(path, descriptor):
                _clear(path, descriptor)
        finally:
            close_quietly(descriptor)


def _is_ours(path: str, descriptor: int) -> bool:
    facts = os.fstat(descriptor)
    try:
        return facts.st_uid == os.geteuid() and os.path.samestat(os.lstat(path), facts)
    except FileNotFoundError:
        return False


def _clear(path: str, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(_COPY, dir_fd=descriptor)
    with contextlib.suppress(OSError):
        os.rmdir(path)
