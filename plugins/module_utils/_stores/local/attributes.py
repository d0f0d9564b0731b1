"""The owner, group and mode of files that are written."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
from dataclasses import dataclass


@dataclass(frozen=True)
class FileAttributes:
    """An owner, a group and a mode; None leaves the owner or the group as it comes."""

    uid: int | None = None
    gid: int | None = None
    mode: int = 0o600


PRIVATE = FileAttributes()


def attributes_of(facts: os.stat_result) -> FileAttributes:
    """Return the attributes of an existing file."""
    return FileAttributes(facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode))


def apply_owner(descriptor: int, attributes: FileAttributes) -> None:
    """Set the owner and the group of an open file, as far as they are given."""
    uid, gid = attributes.uid, attributes.gid
    if uid is not None or gid is not None:
        os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
