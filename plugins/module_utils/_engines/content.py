"""What the dump of every engine has: a format, and a digest of its content."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest

Format = t.Literal["custom", "plain"]


class ContentDigest(t.Protocol):
    """Reads a dump as it passes: whether it is whole, and which digest its content has.

    The digest leaves out what changes without the data changing.
    """

    def update(self, chunk: memoryview) -> None:
        """Take in the next bytes; the chunk is used up when this returns."""

    def finish(self) -> Digest:
        """Return the digest. Raises ContentInvalid when the dump is not whole."""
