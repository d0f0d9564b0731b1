"""Reads the file of public keys that ``recipients_file`` names."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat

from ansible_collections.lastgood.database.plugins.module_utils._access import objection_to_way, objection_to_writers
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

_LARGEST = 4 * 1024 * 1024  # bytes; a keyring with some hundred signed keys has less


def read_recipients(path: str) -> bytes:
    """Return the content of the file.

    Raises ArgumentInvalid if it can't be read or has no content, or if others can change it or put another file in its place.
    """
    try:
        objection_to_its_way = objection_to_way(path)
        # A pipe without a writer must not block.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ArgumentInvalid(f"recipients_file {path} is no regular file.", "Name a file of public keys.")
            objection = objection_to_writers(path, facts) or objection_to_its_way
            if objection is not None:  # who changes the keys opens the backups, and we may no longer
                raise ArgumentInvalid(f"recipients_file {path} {objection.problem}.", objection.next_step)
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ArgumentInvalid(
            f"recipients_file {path} can't be read: {error.strerror}.", "Correct the path, or copy the file to the host."
        ) from error
    if len(data) > _LARGEST:
        raise ArgumentInvalid(f"recipients_file {path} has more than {_LARGEST} bytes.", "Name a file of public keys.")
    if not data.strip():
        raise ArgumentInvalid(f"recipients_file {path} is empty.", "Write public keys to it.")
    return data
