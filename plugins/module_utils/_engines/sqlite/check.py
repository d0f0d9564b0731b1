"""Check by its first bytes that a file is a database: opening a database may recover it, which writes to it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Target
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import find_file
from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceInvalid, store_errors

# https://www.sqlite.org/fileformat2.html, section 1.3.1. An empty file is an empty database.
_BEGINNING = b"SQLite format 3\0"


def check_beginning(target: Target) -> None:
    """Raise SourceInvalid if a file does not begin as a database does."""
    file = find_file(target.source)

    def read() -> bytes:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(descriptor, len(_BEGINNING))
        finally:
            os.close(descriptor)

    with store_errors(f"Reading {target.source}"):
        beginning = file.as_owner(read)
    if beginning not in (b"", _BEGINNING):
        raise SourceInvalid(f"{target.source} is not an SQLite database.", "Name the file of an SQLite database.")
