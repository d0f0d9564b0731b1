"""Decides whether a new dump can be compared with the last good backup, and gives the reason if not."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import PayloadCodec
from ansible_collections.lastgood.database.plugins.module_utils._digests import KEYED, Digest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup


class KeyedDigest(t.NamedTuple):
    """The digest of a new content, and the id of its key if it has one."""

    digest: Digest
    key_id: str | None


def encryption_differs(newest: Backup, codec: PayloadCodec) -> str | None:
    """Return how the encryption of the last good backup differs from that of a new one, None if it does not."""
    had, wanted = newest.name.encoding.encryption, codec.encoding.encryption
    if had is None and wanted is None:
        return None
    if had is None:
        return "the last one is not encrypted"
    if wanted is None:
        return "the last one is encrypted"
    if had != wanted:
        return f"the last one is encrypted by {had}"
    return None if (newest.manifest.recipients or ()) == codec.recipients else "the last one is for other recipients"


def incomparable(newest: Backup, found: KeyedDigest) -> str | None:
    """Return why a new content can't be compared with that of the last good backup, None if it can be."""
    known = newest.manifest.content_digest
    if known is None:
        return None
    if known.algorithm != found.digest.algorithm:
        return f"the host has no Python library for its digest, {known.algorithm}"
    if known.algorithm in KEYED and newest.manifest.content_key != found.key_id:
        return f"the host does not have the key of its digest, {newest.manifest.content_key}"
    return None
