"""The manifest that a backup is compared with, and a new one for a backup that has none."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import decoder_for
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import describe_content
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, IdentityMissing, Inconclusive
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, display_time
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    MANIFEST_VERSION,
    PRODUCER,
    Level,
    Manifest,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify_errors import Deleted, asking_store
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store

UNKNOWN = "unknown"  # origin and instance in a manifest that a verification wrote, since it can't know them

_HEAD_BYTES = 4096
_ENCRYPTED_HEAD_BYTES = CHUNK_BYTES  # decryption needs much more input before it returns anything


class _Enough(Exception):
    """The rest of the content is not needed."""


def manifest_for(backup: Backup, store: Store, level: Level, runner: Runner, identity: Identity | None = None) -> Manifest:
    """Return the manifest to compare with. Raises an error if no manifest can be this backup's."""
    sidecar = store.path(manifest_name(backup.name.filename))
    if backup.state != "unverified":
        return backup.manifest
    if backup.unread is not None:
        raise Inconclusive(backup.unread.problem, backup.unread.remedy)
    if backup.manifest.usable:
        raise ContentInvalid(
            f"{sidecar} is another backup's: it says {backup.manifest.kind} {backup.manifest.database} of "
            f"{display_time(backup.created_at)}.",
            "See whether files were renamed, and give each manifest the name of its payload.",
        )
    with asking_store():
        is_taken = store.taken(manifest_name(backup.name.filename))
    if is_taken:
        raise Inconclusive(
            f"{sidecar} is not a manifest of ours that could be read, and is left as it is.",
            "Examine it, and move it away if the backup is to be adopted.",
        )
    if level == "checksum":
        raise Inconclusive("It has no manifest to compare with.", "With level=structure it is examined, and gets one.")
    return _describe(backup, store, runner, identity)


def _describe(backup: Backup, store: Store, runner: Runner, identity: Identity | None) -> Manifest:
    """Return a manifest for a backup that has none. Raises ContentInvalid if its content is not recognised."""
    name = backup.name
    if name.label and name.kind == "database" and name.database is None:
        raise Inconclusive("Its name does not say which database it is.", "Ask whoever made it.")
    if name.encrypted and identity is None:
        raise IdentityMissing("It is encrypted, and has no manifest.", "Give the identity that opens it.")
    described = describe_content(_head(backup, store, runner, identity))
    if described is None:
        raise ContentInvalid("Its content does not begin as any known kind of dump.", "Ask whoever made it.")
    engine, form = described
    return Manifest(
        manifest_version=MANIFEST_VERSION,
        producer=PRODUCER,
        kind=name.kind,
        origin=UNKNOWN,
        engine=engine,
        instance=UNKNOWN,
        database=name.database,
        format=form,
        compression=name.compression,
        encrypted=name.encrypted,
        encryption=name.encoding.encryption,
        created_at=name.stamp,
        confirmed_at=name.stamp,
    )


def _head(backup: Backup, store: Store, runner: Runner, identity: Identity | None) -> bytes:
    """Return the beginning of the content, or as much of it as can be read."""
    with asking_store():
        beginning = store.read(backup.name.filename, _ENCRYPTED_HEAD_BYTES if backup.name.encrypted else _HEAD_BYTES)
    if beginning is None:
        raise Deleted
    head = bytearray()

    def take(piece: bytes | memoryview) -> None:
        head.extend(piece)
        if len(head) >= _HEAD_BYTES:  # even few bytes may decompress to many millions
            raise _Enough

    decoding = decoder_for(backup.name.encoding, runner, identity)
    with decoding.decoding(take) as decoder, contextlib.suppress(ContentInvalid, _Enough):
        decoder.write(memoryview(beginning))
        decoder.finish()  # a program may write its output only at the end
    return bytes(head)
