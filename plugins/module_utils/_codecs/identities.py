"""Reads an identity from its option or its file."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat

from ansible_collections.lastgood.database.plugins.module_utils._access import objection_to_secret
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._errors import KeyUnreadable

_MOST_BYTES = 1024 * 1024  # a secret key of GnuPG may carry many signatures and a photograph


def read_identity(identity: Identity) -> bytes:
    """Return the identity's bytes. Raises KeyUnreadable if its file can't be read, or if it is empty."""
    data = identity.text.encode() + b"\n" if identity.text is not None else _read_file(identity.file or "")
    if not data.strip():
        raise KeyUnreadable(f"{identity.name} is empty.", "Give the private key that opens the backups.")
    return data


def _read_file(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer must not block
    except OSError as error:
        raise KeyUnreadable(
            f"identity_file {path} can't be read: {error.strerror}.",
            "Correct the path, or let the user who runs the task read it. The file is read on the host.",
        ) from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise KeyUnreadable(f"identity_file {path} is no regular file.", "Name the file of a private key.")
    with open(descriptor, "rb") as file:
        objection = objection_to_secret(path, facts)
        if objection is not None:
            raise KeyUnreadable(f"identity_file {path} {objection.problem}.", objection.next_step)
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise KeyUnreadable(f"identity_file {path} is larger than 1 MiB.", "Name the file of a private key.")
    return data
