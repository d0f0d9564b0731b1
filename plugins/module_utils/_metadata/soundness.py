"""Check that a payload still has the digest in its manifest."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._errors import FileMissing, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.digests import sha256_of

# The most readings of a payload: two that agree on a wrong digest, and one more if a reading failed.
READINGS = 3


def is_sound(store: ReadableStore, backup: Backup) -> bool:
    """Read a payload from end to end, and return whether its digest is the one in its manifest. False if it was deleted.

    A wrong digest counts only if a second reading, from the medium, gives the same one. Raises StoreFailed if the payload
    can't be read, or where all readings differ: neither proves that the payload is bad.
    """
    name, digests = backup.name.filename, set[str]()
    failure: StoreFailed | None = None
    for _number in range(READINGS):
        try:
            digest = sha256_of(store, name)
        except FileMissing:
            return False
        except StoreFailed as error:
            if failure is not None:
                raise
            failure = error
        else:
            if digest == backup.manifest.payload_sha256:
                return True
            if digest in digests:
                return False
            digests.add(digest)
        store.drop_cache(name)
    raise failure or StoreFailed(f"Each reading of {backup.path} gives another content.", "Check the host's disk and memory.")
