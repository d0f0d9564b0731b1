"""The format of a dump and the digest of its content, for every engine."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, Hash

Format = t.Literal["custom", "plain"]


class ContentDigest(t.Protocol):
    """Computes the digest of a dump as it is streamed, and checks that it is complete.

    The digest excludes what changes without the data changing.
    """

    def update(self, chunk: memoryview) -> None:
        """Add the next bytes; the chunk may be reused after this returns."""

    def finish(self) -> Digest:
        """Return the digest. Raises ContentInvalid if the dump is incomplete."""


class EndsHeldBack:
    """Adds a text to a hash, and holds back its first and last bytes: an engine changes them before they count."""

    def __init__(self, algorithm: Hash, head_bytes: int, tail_bytes: int, begin: t.Callable[[bytes], bytes]) -> None:
        """``begin`` gets the first bytes, ``head_bytes`` or more unless the text is shorter, and returns what counts instead."""
        self._digest = algorithm
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._begin = begin
        self._head: bytes | None = b""
        self._tail = b""

    def update(self, chunk: memoryview) -> None:
        if self._head is None:
            self._pass(chunk)
            return
        self._head += bytes(chunk)
        if len(self._head) >= self._head_bytes:
            self._pass_head(self._head)

    def finish(self) -> bytes:
        """Return the last ``tail_bytes``, which are not in the hash."""
        if self._head is not None:
            self._pass_head(self._head)
        return self._tail

    def _pass_head(self, head: bytes) -> None:
        self._head = None
        self._pass(memoryview(self._begin(head)))

    def _pass(self, chunk: memoryview) -> None:
        if len(chunk) < self._tail_bytes:
            chunk = memoryview(self._tail + bytes(chunk))
        else:
            self._digest.update(self._tail)
        end = max(0, len(chunk) - self._tail_bytes)
        self._digest.update(chunk[:end])
        self._tail = bytes(chunk[end:])
