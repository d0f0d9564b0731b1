"""Free space, and whether it suffices."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace, store_errors


def free_bytes(place: int | str, path: str) -> int:
    """Return the free space for our user on the file system of a descriptor or path. ``path`` is for messages."""
    with store_errors(f"Asking for the free space of {path}"):
        space = os.statvfs(place)
    return space.f_bavail * space.f_frsize


def check_space(place: str, free: int, needed: int, purpose: str, remedy: str) -> None:
    """Raise NoSpace if less space is free than ``purpose`` needs."""
    if free < needed:
        raise NoSpace(f"{place} has {free} bytes free, and {purpose} needs about {needed}.", remedy)
