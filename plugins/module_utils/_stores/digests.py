"""The digest of a file in a store."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib

from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore


def sha256_of(store: ReadableStore, name: str) -> str:
    """Read a file from end to end, and return its digest in hexadecimal."""
    digest = hashlib.sha256()
    with contextlib.closing(store.chunks(name)) as chunks:
        for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()
