"""The key for digests of encrypted contents: ``.lastgood.key`` beside the backups. It is never copied to another place.

With it a host detects that a database has not changed since its last encrypted backup, which the host can't decrypt.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import secrets

from ansible_collections.lastgood.database.plugins.module_utils._digests import KEY_BYTES, DigestKey
from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreError
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

KEY_NAME = ".lastgood.key"

_LARGEST = 2 * KEY_BYTES + 1  # bytes: hexadecimal, and the end of the line


def digest_key(store: LocalStore) -> DigestKey:
    """Return the directory's key, and make it if there is none.

    A key that can't be read or written prevents no backup: this returns a random key, with a warning. The next run can't
    compare digests that were made with a random key.
    """
    try:
        with store.lock():
            return _read(store) or _make(store)
    except StoreError as error:
        store.warnings.append(
            f"The key for digests of encrypted backups can't be used, so that the next run stores them again: {error}"
        )
        return _random_key()


def _read(store: LocalStore) -> DigestKey | None:
    data = store.read(KEY_NAME, _LARGEST + 1)
    if data is None:
        return None
    try:
        secret = bytes.fromhex(data.decode())
    except ValueError:
        secret = b""
    if len(secret) == KEY_BYTES:
        return DigestKey(secret)
    store.warnings.append(f"{store.path(KEY_NAME)} was damaged: a new key is made, and each encrypted backup is stored again.")
    return None


def _make(store: LocalStore) -> DigestKey:
    key = _random_key()
    store.replace_private(KEY_NAME, key.secret.hex().encode() + b"\n")
    return key


def _random_key() -> DigestKey:
    return DigestKey(secrets.token_bytes(KEY_BYTES))
