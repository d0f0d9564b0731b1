# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""The digest of a file in a store."""

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
