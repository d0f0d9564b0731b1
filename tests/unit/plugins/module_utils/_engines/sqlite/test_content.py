# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.content import FILE_MAGIC, FileDigest
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

FILE = FILE_MAGIC + bytes(range(256)) * 40


@pytest.mark.parametrize("size", [1, 7, 16, 17, 4096, 100_000])
def test_the_digest_is_that_of_every_byte_whatever_the_pieces(size: int) -> None:
    digest = FileDigest(hashlib.sha256())
    for start in range(0, len(FILE), size):
        digest.update(memoryview(FILE)[start : start + size])
    assert digest.finish().value == hashlib.sha256(FILE).hexdigest()


def test_an_empty_file_is_a_database_without_tables() -> None:
    assert FileDigest(hashlib.sha256()).finish().value == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("content", [b"SQLite format 2\x00", b"SQLite", b"PGDMP" + bytes(100)])
def test_what_does_not_begin_as_a_database_has_no_digest(content: bytes) -> None:
    digest = FileDigest(hashlib.sha256())
    digest.update(memoryview(content))
    with pytest.raises(ContentInvalid):
        digest.finish()
