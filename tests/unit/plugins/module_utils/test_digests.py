"""Which algorithm a content's digest has, and that it is the one it is called."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import hmac
import sys

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, DigestKey, finished, new_hash

# https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json, input_len 1: one byte of 0.
BLAKE3_OF_ZERO = "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"


# The same file of test vectors: the key, and keyed_hash of one byte of 0.
KEY = DigestKey(b"whats the Elvish word for friend")
KEYED_BLAKE3_OF_ZERO = "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"


def digest_of(data: bytes, like: Digest | None = None, key: DigestKey | None = None) -> Digest:
    digest = new_hash(like, key)
    digest.update(memoryview(data))
    return finished(digest)


def test_it_is_blake3_where_the_host_has_it() -> None:
    assert digest_of(b"\0") == Digest("blake3", BLAKE3_OF_ZERO)


def test_it_is_sha256_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    assert digest_of(b"\0") == Digest("sha256", hashlib.sha256(b"\0").hexdigest())
    assert digest_of(b"\0", Digest("blake3", BLAKE3_OF_ZERO)).algorithm == "sha256"


@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
def test_it_is_as_the_other_one_s(algorithm: str) -> None:
    assert digest_of(b"\0", Digest(algorithm, "")).algorithm == algorithm


def test_with_a_key_it_is_keyed_blake3_where_the_host_has_it() -> None:
    assert digest_of(b"\0", key=KEY) == Digest("keyed_blake3", KEYED_BLAKE3_OF_ZERO)
    assert digest_of(b"\0", Digest("sha256", ""), KEY).algorithm == "keyed_blake3"


def test_with_a_key_it_is_hmac_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    expected = Digest("hmac_sha256", hmac.digest(KEY.secret, b"\0", "sha256").hex())
    assert digest_of(b"\0", key=KEY) == expected
    assert digest_of(b"\0", Digest("keyed_blake3", ""), KEY) == expected


def test_with_a_key_it_is_as_the_other_one_s() -> None:
    assert digest_of(b"\0", Digest("hmac_sha256", ""), KEY).algorithm == "hmac_sha256"


@pytest.mark.parametrize("algorithm", ["keyed_blake3", "hmac_sha256"])
def test_without_a_key_it_is_none_that_has_one(algorithm: str) -> None:
    assert digest_of(b"\0", Digest(algorithm, "")).algorithm == "blake3"


def test_a_key_has_an_id_that_does_not_show_it() -> None:
    assert KEY.id != DigestKey(bytes(32)).id
    assert KEY.secret.hex() not in KEY.id + repr(KEY) and str(KEY.secret) not in repr(KEY)
