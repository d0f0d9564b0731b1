"""The algorithms for digests of a content: BLAKE3 where the host has its Python library, else SHA-256.

On processors without instructions for SHA, SHA-256 takes a third of the time of a dump. https://github.com/BLAKE3-team/BLAKE3

The digest of an encrypted backup's content is made with a key. Without the key nobody can use it to see that two contents are
equal, or to confirm a guess.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import hmac
import typing as t
from dataclasses import dataclass, field

BLAKE3 = "blake3"
SHA256 = "sha256"
KEYED_BLAKE3 = "keyed_blake3"
HMAC_SHA256 = "hmac_sha256"
KEYED = (KEYED_BLAKE3, HMAC_SHA256)
KEY_BYTES = 32  # as many as BLAKE3 takes


class Digest(t.NamedTuple):
    """The digest of a content, in hexadecimal, and its algorithm."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class DigestKey:
    """A key for digests, and the id by which manifests name it. The id does not reveal the key."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hmac.new(self.secret, b"id", hashlib.sha256).hexdigest()[:16]


class Hash(t.Protocol):
    """A digest that is being computed, by hashlib or the library blake3."""

    @property
    def name(self) -> str:
        """The algorithm."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


@dataclass(frozen=True)
class _Keyed:
    """A digest with a key, under a name of its own: the libraries give it the same name as the digest without a key."""

    name: str
    digest: Hash

    def update(self, data: bytes | memoryview, /) -> None:
        self.digest.update(data)

    def hexdigest(self) -> str:
        return self.digest.hexdigest()


def new_hash(like: Digest | None = None, key: DigestKey | None = None) -> Hash:
    """Return a new hash of the algorithm of another digest if the host has it, else of the fastest that the host has.

    With a ``key`` it is an algorithm with a key, otherwise one without.
    """
    algorithm = None if like is None else like.algorithm
    if key is None:
        return _unkeyed(algorithm)
    try:
        import blake3
    except ImportError:
        algorithm = HMAC_SHA256
    if algorithm == HMAC_SHA256:
        return _Keyed(HMAC_SHA256, hmac.new(key.secret, digestmod=hashlib.sha256))
    return _Keyed(KEYED_BLAKE3, blake3.blake3(key=key.secret))


def _unkeyed(algorithm: str | None) -> Hash:
    if algorithm == SHA256:
        return hashlib.sha256()
    try:
        import blake3
    except ImportError:
        return hashlib.sha256()
    made: Hash = blake3.blake3()
    return made


def finished(digest: Hash) -> Digest:
    """Return the digest of a hash."""
    return Digest(digest.name, digest.hexdigest())
