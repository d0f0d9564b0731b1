"""The format of a dump and the digest of its content, for every engine."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest

Format = t.Literal["custom", "plain"]


class ContentDigest(t.Protocol):
    """Computes the digest of a dump as it is streamed, and checks that it is complete.

    The digest excludes what changes without the data changing.
    """

    def update(self, chunk: memoryview) -> None:
        """Add the next bytes; the chunk may be reused after this returns."""

    def finish(self) -> Digest:
        """Return the digest. Raises ContentInvalid if the dump is incomplete."""
