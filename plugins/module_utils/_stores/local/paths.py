"""Open a directory by its path, one folder after another, so that no link can redirect a privileged user.

A link above the directory is followed only where nobody but root and the user who runs us could have made it: it is theirs,
and so is the folder that it is in, which others can't write to, or which is sticky, as /tmp is. The directory itself is never
a link. Folders are opened by descriptors, so that what is put in their place meanwhile has no effect.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._access import (
    MOST_LINKS,
    others_can_rename_in,
    trusted_users,
)

_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Make = t.Callable[[int, str, str], None]  # gets a folder's descriptor, the name to make in it, and the path for messages


class LinkRefused(OSError):
    """A link in a path is another user's to change. ``filename`` is its path."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ELOOP, "a link that another user can change", path)


def open_directory(path: str, make: Make | None = None) -> int:
    """Return a descriptor of a directory. ``make`` makes missing folders. Raises OSError, LinkRefused among them."""
    with_root = path.startswith("/")
    folder, done = os.open("/" if with_root else ".", _FOLDER_FLAGS), "" if with_root else "."
    parts = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    followed = 0
    try:
        while parts:
            part = parts.pop(0)
            flags = _FOLDER_FLAGS if parts else _DIRECTORY_FLAGS
            done = f"{done}/{part}"
            try:
                following = _open(folder, part, flags, done, make)
            except NotADirectoryError:
                if not parts or not _is_link(folder, part):
                    raise
                followed += 1
                if followed > MOST_LINKS or not _is_trusted(folder, part):
                    raise LinkRefused(done) from None
                target = os.readlink(part, dir_fd=folder)
                parts = [step for step in target.split("/") if step not in ("", ".")] + parts
                done = "" if target.startswith("/") else os.path.dirname(done)
                following = os.open("/" if target.startswith("/") else ".", _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = following
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open(folder: int, name: str, flags: int, path: str, make: Make | None) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        if make is None:
            raise
    make(folder, name, path)
    return os.open(name, flags, dir_fd=folder)


def _is_link(folder: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _is_trusted(folder: int, name: str) -> bool:
    """Return whether nobody but root and the user who runs us could have made a link or moved it to its folder."""
    trusted = trusted_users()
    link, place = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(folder)
    return link.st_uid in trusted and place.st_uid in trusted and not others_can_rename_in(place)
