"""Examine a backup of an SQLite database by SQLite's own check, on a private copy that is removed afterwards."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    WHOLE,
    ContentExamination,
    ExaminationResult,
    restored,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.inspection import inspecting
from ansible_collections.lastgood.database.plugins.module_utils._errors import Inconclusive, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._scratch import (
    scratch_folder,
    sweep_scratch_folders,
    temporary_directory,
)

_PREFIX = "lastgood-look-"
_COPY = "copy.db"


@dataclass(frozen=True)
class SqliteExaminer:
    """Examines the backups of one run."""

    is_stopped: t.Callable[[], bool]

    def reading_structure(self, manifest: Manifest) -> t.ContextManager[ContentExamination]:
        return self._examining(counts=False)

    def restoring(self, manifest: Manifest) -> t.ContextManager[ContentExamination]:
        return self._examining(counts=True)

    @contextlib.contextmanager
    def _examining(self, *, counts: bool) -> t.Iterator[ContentExamination]:
        # A file without a name would do, but SQLite opens by name.
        parent = temporary_directory()
        sweep_scratch_folders(parent, _PREFIX)
        with scratch_folder(parent, _PREFIX) as folder:
            path = os.path.join(folder, _COPY)
            with store_errors(f"Making {path}"):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                yield _CopyExamination(path, descriptor, counts, self.is_stopped)
            finally:
                close_quietly(descriptor)


@dataclass(frozen=True)
class _CopyExamination:
    """Writes and checks the copy."""

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
            result = restored(*inspection.count()) if self.counts else WHOLE
        # The source has the same rows: a restore brings back what the application has.
        return dataclasses.replace(result, detail=f"{result.detail} {remark}.") if remark else result
