"""Open the directory of a store by its path, and make it if it does not exist."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import functools
import os

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DirectoryMissing,
    DirectoryUnusable,
    NotADirectory,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes, apply_owner
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.paths import LinkRefused, open_directory

_MODE = 0o700
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_location(location: str, made_with: FileAttributes | None = None) -> int:
    """Return a descriptor of a directory. With ``made_with``, directories that are missing are made with that owner.

    Raises DirectoryMissing, DirectoryUnusable, NotADirectory and StoreFailed.
    """
    make = None if made_with is None else functools.partial(_make, attributes=made_with)
    try:
        return open_directory(location, make)
    except LinkRefused as error:
        raise DirectoryUnusable(
            f"{error.filename} is a link that another user can change, and {location} is behind it.",
            "Name the directory that it leads to, or have root own the link and the folder that it is in.",
        ) from error
    except FileNotFoundError as error:
        raise DirectoryMissing(f"The directory {location} does not exist.", "Make it, or name another.") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.islink(location):
            raise DirectoryUnusable(
                f"{location} is a link, and backups don't follow links.",
                f"Name the directory that it leads to: {os.path.realpath(location)}",
            ) from error
        if error.errno == errno.ENOTDIR:
            raise NotADirectory(f"{location} is not a directory.", "Name a directory.") from error
        raise DirectoryUnusable(
            f"The directory {location} can't be opened: {error.strerror}.",
            "Run as a user who may (become_user), or change its owner or mode.",
        ) from error


def _make(folder: int, name: str, path: str, attributes: FileAttributes) -> None:
    with store_errors(f"Making the directory {path}"):
        try:
            os.mkdir(name, _MODE, dir_fd=folder)
        except FileExistsError:
            return  # another process has made it
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
        try:
            apply_owner(descriptor, attributes)
        finally:
            close_quietly(descriptor)
