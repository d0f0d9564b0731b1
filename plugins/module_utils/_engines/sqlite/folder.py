"""The folder of a database that is restored, and the files of restores in it.

It stays open for the whole restore, so that root works in this folder, whatever its path leads to later.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import stat
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import JOURNALS
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.paths import walking
from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceInvalid, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock

_STAMP = "%Y%m%dT%H%M%SZ"
_STAMP_PATTERN = r"([0-9]{8}T[0-9]{6}Z)"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SWEEP_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Folder:
    """An open folder. Names are those of files in it."""

    path: str
    descriptor: int

    def path_of(self, name: str) -> str:
        return os.path.join(self.path, name)

    def facts(self, name: str) -> os.stat_result | None:
        """Return the file system's properties of a name; None if it does not exist."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        return self.facts(name) is not None

    def is_file(self, name: str, facts: os.stat_result) -> bool:
        """Return whether a name refers to that file."""
        found = self.facts(name)
        return found is not None and os.path.samestat(found, facts)

    def open_name(self, name: str) -> int:
        """Open a file with O_PATH: closing that releases no lock of SQLite's."""
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)

    def create(self, name: str) -> int:
        return os.open(name, _CREATE_FLAGS, 0o600, dir_fd=self.descriptor)

    def link(self, name: str, new_name: str) -> None:
        os.link(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    def rename(self, name: str, new_name: str) -> None:
        os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a name, if it still exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        os.fsync(self.descriptor)


@contextlib.contextmanager
def open_folder(path: str) -> t.Iterator[Folder]:
    """Open the folder of a path. Raises SourceInvalid if another user's link leads root to it."""
    parent = os.path.dirname(path)
    try:
        with walking(parent) as walk:
            walk.check_links(parent)
            real, descriptor = walk.path, os.open(".", _FOLDER_FLAGS, dir_fd=walk.end.descriptor)
    except OSError as error:
        raise SourceInvalid(f"{parent} can't be opened: {error.strerror}.", "Correct the path, or make the folder.") from error
    try:
        yield Folder(real, descriptor)
    finally:
        close_quietly(descriptor)


def scratch_name(name: str, stamp: datetime) -> str:
    """Return the file name of a restore in progress."""
    return f".{name}_restoring_{stamp.strftime(_STAMP)}"


def replaced_name(name: str, stamp: datetime) -> str:
    """Return the file name of a retained old database."""
    return f"{name}_replaced_{stamp.strftime(_STAMP)}"


def sweep(folder: Folder, name: str) -> list[str]:
    """Undo the unfinished swaps of dead runs, and remove their files. Return a warning for each file.

    Lists the folder once, at the beginning: files that a living run makes later are not touched.
    """
    with store_errors(f"Listing {folder.path}"):
        names = os.listdir(folder.descriptor)
    warnings = []
    lives = False
    for scratch, stamp in _stamped(names, f".{name}_restoring_"):
        with store_errors(f"Removing {folder.path_of(scratch)}"), _dead(folder, scratch) as is_dead:
            lives = lives or not is_dead
            if is_dead:
                _undo(folder, name, f"{name}_replaced_{stamp}")
                folder.remove(scratch)
                warnings.append(f"Removed {folder.path_of(scratch)}, which an interrupted restore left.")
    for replaced, _stamp in _stamped(names, f"{name}_replaced_"):
        if not lives and _is_second_name(folder, name, replaced):
            with store_errors(f"Removing {folder.path_of(replaced)}"):
                folder.remove(replaced)
            warnings.append(
                f"Removed {folder.path_of(replaced)}, a second name of the database that an interrupted restore left."
            )
    return warnings


def _stamped(names: t.Iterable[str], beginning: str) -> t.Iterator[tuple[str, str]]:
    pattern = re.compile(re.escape(beginning) + _STAMP_PATTERN)
    for name in sorted(names):
        match = pattern.fullmatch(name)
        if match is not None:
            yield name, match[1]


@contextlib.contextmanager
def _dead(folder: Folder, scratch: str) -> t.Iterator[bool]:
    """Try to lock the file of a restore, and yield whether its run is dead."""
    facts = folder.facts(scratch)
    if facts is None or not stat.S_ISREG(facts.st_mode):
        yield False
        return
    descriptor = os.open(scratch, _SWEEP_FLAGS, dir_fd=folder.descriptor)
    try:
        yield try_lock(descriptor)
    finally:
        close_quietly(descriptor)


def _undo(folder: Folder, name: str, replaced: str) -> None:
    """Undo an unfinished swap: remove the second name of the old database, and rename its journals back."""
    if _is_second_name(folder, name, replaced):
        folder.remove(replaced)
    if folder.has(replaced):
        return
    for ending in JOURNALS:
        if folder.has(replaced + ending) and not folder.has(name + ending):
            folder.rename(replaced + ending, name + ending)


def _is_second_name(folder: Folder, name: str, replaced: str) -> bool:
    facts = folder.facts(name)
    return facts is not None and folder.is_file(replaced, facts)
