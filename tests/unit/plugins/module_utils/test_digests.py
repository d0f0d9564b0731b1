"""Which algorithm a content's digest has, and that it is the one it is called."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import sys

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, finished, new_hash

# https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json, input_len 1: one byte of 0.
BLAKE3_OF_ZERO = "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"


def digest_of(data: bytes, like: Digest | None = None) -> Digest:
    digest = new_hash(like)
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
