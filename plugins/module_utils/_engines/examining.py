"""The part of an engine that backup_verify uses: it examines backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import Inconclusive, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._scratch import temporary_directory


@dataclass(frozen=True)
class ExaminationResult:
    """The result of an examination that passed, in words; after a restore also the numbers of tables and rows restored."""

    detail: str
    tables: int | None = None
    rows: int | None = None


WHOLE = ExaminationResult("Its structure is whole.")


def restored(tables: int, rows: int) -> ExaminationResult:
    """Return the result of a restore."""
    return ExaminationResult(f"It was restored: {tables} tables with {rows} rows.", tables, rows)


def check_restorable_beside_others(manifest: Manifest, globals_name: str, *, check_mode: bool) -> None:
    """Raise Inconclusive if a backup is not to be restored into a server that others use."""
    if manifest.kind == "globals":
        raise Inconclusive(
            f"{globals_name} are not restored into a server that others use.",
            "Leave the options of the login out for a server of the drill's own, or verify with level=structure.",
        )
    if check_mode:
        raise Inconclusive(
            "In check mode nothing is restored into a server that others use.",
            "Run it without, or leave the options of the login out for a server of the drill's own.",
        )


@contextlib.contextmanager
def content_file(manifest: Manifest) -> t.Iterator[int]:
    """Make a file without a name for the content of a backup, and yield its descriptor. Raises Inconclusive if it has no room."""
    folder = temporary_directory()
    with contextlib.ExitStack() as stack:
        with store_errors(f"Making a file in {folder}"):
            file = stack.enter_context(tempfile.TemporaryFile(prefix="lastgood-drill-", dir=folder))
            room = os.fstatvfs(file.fileno())
        if room.f_bavail * room.f_frsize < (manifest.content_bytes or 0):
            raise Inconclusive(
                f"{folder} has no room for the {manifest.content_bytes} bytes of the unpacked backup.",
                "Make room there, or set TMPDIR for the task to a directory with more.",
            )
        yield file.fileno()


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


class Examiner(t.Protocol):
    """Examines the backups of one engine, in one run."""

    def reading_structure(self, manifest: Manifest) -> t.ContextManager[ContentExamination]:
        """Begin to examine the structure of the backup with this manifest."""

    def restoring(self, manifest: Manifest) -> t.ContextManager[ContentExamination]:
        """Begin to restore the backup to a private place. Leaving the context removes it."""
