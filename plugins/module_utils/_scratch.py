"""Folders for temporary files. The folder of a dead run has a free lock, and the next run removes it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, LocksUnavailable, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock

_ENTRIES_AT_ONCE = 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def temporary_directory() -> str:
    """Return the directory for temporary files."""
    import tempfile

    with store_errors("Looking for a directory for temporary files (TMPDIR)"):
        return tempfile.gettempdir()


@contextlib.contextmanager
def scratch_folder(parent: str, prefix: str) -> t.Iterator[str]:
    """Make a folder, lock it to mark it as in use, and remove it with its content afterwards."""
    with store_errors(f"Making a folder in {parent}"):
        folder, lock = _claim(parent, prefix)
    try:
        yield folder
    finally:
        try:
            _remove(folder)
        finally:
            os.close(lock)


def sweep_scratch_folders(parent: str, prefix: str) -> None:
    """Remove the folders of dead runs: their content may be secret, and takes space. Skips what can't be removed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(prefix):
                _sweep(os.path.join(parent, name))


def _sweep(folder: str) -> None:
    with contextlib.suppress(OSError, BackupError):  # another user's, a living run's, or removed by now
        lock = os.open(folder, _FOLDER)
        try:
            facts = os.fstat(lock)
            is_ours = facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) == 0o700
            if is_ours and try_lock(lock) and _is_at(folder, lock):
                _remove(folder)
        finally:
            os.close(lock)


def _claim(parent: str, prefix: str) -> tuple[str, int]:
    """Make a folder, and lock it. Makes another if a sweep took it for a dead run's in between."""
    import tempfile

    while True:
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        try:
            lock = os.open(folder, _FOLDER)
        except FileNotFoundError:
            continue
        if _is_free(lock) and _is_at(folder, lock):
            return folder, lock
        os.close(lock)


def _is_free(lock: int) -> bool:
    """Lock a new folder. Returns True if the file system has no locks: then no sweep can remove it."""
    try:
        return try_lock(lock)
    except LocksUnavailable:
        return True


def _is_at(folder: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(folder: str) -> None:
    """Remove a folder of any depth, whatever modes are in it. No program may run in it any more."""
    with store_errors(f"Removing {folder}"):
        top = os.open(folder, _FOLDER)
        try:
            while entries := _some_entries(top):
                for entry in entries:
                    _remove_entry(top, entry)
        finally:
            os.close(top)
        os.rmdir(folder)


def _remove_entry(top: int, entry: os.DirEntry[str]) -> None:
    """Remove an entry of the top folder. Its subfolders are moved to the top first, so that none is ever deep."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.name, dir_fd=top)
        return
    os.chmod(entry.name, 0o700, dir_fd=top)
    inner = os.open(entry.name, _FOLDER, dir_fd=top)
    try:
        while entries := _some_entries(inner):
            for below in entries:
                if below.is_dir(follow_symlinks=False):
                    os.chmod(below.name, 0o700, dir_fd=inner)
                    os.rename(below.name, secrets.token_hex(), src_dir_fd=inner, dst_dir_fd=top)
                else:
                    os.unlink(below.name, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(entry.name, dir_fd=top)


def _some_entries(descriptor: int) -> list[os.DirEntry[str]]:
    with os.scandir(descriptor) as entries:
        return list(itertools.islice(entries, _ENTRIES_AT_ONCE))
