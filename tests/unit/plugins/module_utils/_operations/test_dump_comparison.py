"""When the last good backup can stand for a new one, and when their contents can be compared."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding, PayloadCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import parse
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump_comparison import (
    KeyedDigest,
    encryption_differs,
    incomparable,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts
from tests.support.backups import manifest_of

NOW = datetime(2026, 2, 28, 12, tzinfo=timezone.utc)
VALUE = "ab" * 32


def backup(ending: str = "", **fields: Any) -> Backup:
    name = parse(f"backup_app_2026-02-28_12-00-00.dump.gz{ending}")
    assert name is not None
    return Backup(name, "/somewhere", FileFacts(17, (NOW - timedelta(hours=1)).timestamp()), manifest_of(**fields))


class For(PlainCodec):
    """An encryption for some recipients."""

    def __init__(self, *recipients: str) -> None:
        self.recipients = recipients


def codec(encryption: str | None = None, *recipients: str) -> PayloadCodec:
    return PayloadCodec(Encoding("gzip", encryption), PlainCodec(), For(*recipients) if encryption else None)


@pytest.mark.parametrize(
    ("newest", "wanted", "words"),
    [
        (backup(), codec(), None),
        (backup(), codec("age", "a"), "is not encrypted"),
        (backup(".age", recipients=("a",)), codec(), "is encrypted"),
        (backup(".gpg", recipients=("a",)), codec("age", "a"), "is encrypted by gpg"),
        (backup(".age", recipients=("a",)), codec("age", "a"), None),
        (backup(".age", recipients=("a",)), codec("age", "a", "b"), "other recipients"),
        (backup(".age", recipients=("a", "b")), codec("age", "a"), "other recipients"),
        (backup(".age"), codec("age", "a"), "other recipients"),  # another tool's
    ],
)
def test_only_one_that_the_same_people_can_read_stands_for_a_new_one(
    newest: Backup, wanted: PayloadCodec, words: str | None
) -> None:
    found = encryption_differs(newest, wanted)
    assert found is words is None or (found is not None and words is not None and words in found)


@pytest.mark.parametrize(
    ("known", "key", "found", "words"),
    [
        (Digest("blake3", VALUE), None, KeyedDigest(Digest("blake3", VALUE[::-1]), None), None),
        (None, None, KeyedDigest(Digest("blake3", VALUE), None), None),
        (Digest("blake3", VALUE), None, KeyedDigest(Digest("sha256", VALUE), None), "no Python library for its digest, blake3"),
        (Digest("keyed_blake3", VALUE), "1", KeyedDigest(Digest("keyed_blake3", VALUE), "1"), None),
        (Digest("keyed_blake3", VALUE), "1", KeyedDigest(Digest("keyed_blake3", VALUE), "2"), "the key of its digest, 1"),
        (Digest("keyed_blake3", VALUE), "1", KeyedDigest(Digest("hmac_sha256", VALUE), "1"), "library"),
    ],
)
def test_contents_are_compared_by_one_algorithm_and_one_key(
    known: Digest | None, key: str | None, found: KeyedDigest, words: str | None
) -> None:
    newest = backup(content_sha256=None)
    newest = newest._replace(manifest=newest.manifest.with_content(17, known, key))
    why = incomparable(newest, found)
    assert why is words is None or (why is not None and words is not None and words in why)
