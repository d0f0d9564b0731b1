"""The algorithms for digests of a content: BLAKE3 where the host has its Python library, else SHA-256.

On processors without instructions for SHA, SHA-256 takes a third of the time of a dump. https://github.com/BLAKE3-team/BLAKE3
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import typing as t

BLAKE3 = "blake3"
SHA256 = "sha256"


class Digest(t.NamedTuple):
    """The digest of a content, in hexadecimal, and its algorithm."""

    algorithm: str
    value: str


class Hash(t.Protocol):
    """A digest that is being computed, by hashlib or the library blake3."""

    @property
    def name(self) -> str:
        """The algorithm."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


def new_hash(like: Digest | None = None) -> Hash:
    """Return a new hash of the algorithm of another digest if the host has it, else of the fastest that the host has."""
    if like is not None and like.algorithm == SHA256:
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
