"""The content of an SQLite backup: its first bytes, and its digest."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, Hash, finished
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

FILE_MAGIC = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat2.html, section 1.3


class FileDigest:
    """The digest of a database file: it covers every byte, since copies of an unchanged database are equal."""

    def __init__(self, algorithm: Hash) -> None:
        self._digest = algorithm
        self._head = b""

    def update(self, chunk: memoryview) -> None:
        if len(self._head) < len(FILE_MAGIC):
            self._head += bytes(chunk[: len(FILE_MAGIC) - len(self._head)])
        self._digest.update(chunk)

    def finish(self) -> Digest:
        if self._head not in (FILE_MAGIC, b""):  # a database that was never written to is empty
            raise ContentInvalid("The copy does not begin as an SQLite database does.", "Examine the source with sqlite3.")
        return finished(self._digest)
