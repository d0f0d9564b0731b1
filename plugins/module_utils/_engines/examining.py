"""The part of an engine that backup_verify uses: it examines backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest


@dataclass(frozen=True)
class ExaminationResult:
    """The result of an examination that passed, in words; after a restore also the numbers of tables and rows restored."""

    detail: str
    tables: int | None = None
    rows: int | None = None


WHOLE = ExaminationResult("Its structure is whole.")


def directory_of(names: t.Iterable[str], bin_directory: str | None) -> str | None:
    """Return the directory if it has a program of one of these names, else None: the engine then searches by itself.

    Backups of several engines are examined in one run, and the directory may have the programs of another one. An empty directory
    is an error of the user, so it is returned.
    """
    if bin_directory is None or any(os.path.exists(os.path.join(bin_directory, name)) for name in names):
        return bin_directory
    try:
        return None if os.listdir(bin_directory) else bin_directory
    except OSError:
        return bin_directory  # choosing the program names it


class ContentExamination(t.Protocol):
    """Receives the content of a backup, and returns the result at the end."""

    def write(self, data: bytes | memoryview) -> None:
        """Receive the next bytes; they are not used after this returns."""

    def finish(self) -> ExaminationResult:
        """Return the result. Raises ContentInvalid for bad content, any other error if the host can't examine it."""


class Examination(t.Protocol):
    """Examines the content of one backup."""

    def reading_structure(self) -> t.ContextManager[ContentExamination]:
        """Begin to examine the structure."""

    def restoring(self) -> t.ContextManager[ContentExamination]:
        """Begin to restore the backup to a private place. Leaving the context removes it."""


class Examiner(t.Protocol):
    """Examines the backups of one engine, in one run."""

    def examination(self, manifest: Manifest) -> Examination:
        """Return the examination of the backup with this manifest."""
