"""The protocol of archive formats: files are added one after another, and the size is known in advance.

Nothing is compressed: backups are compressed already. The same members always give the same bytes.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime

Chunk = t.Union[bytes, memoryview]

MEMBER_MODE = 0o600


class Member(t.NamedTuple):
    """A file in an archive. Its name is plain ASCII, without a folder."""

    name: str
    size_bytes: int
    time: datetime


class Output(t.Protocol):
    """The file that becomes the archive."""

    def write(self, data: Chunk) -> None:
        """Add to the end."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Overwrite bytes that were written before."""


class ArchiveWriter(t.Protocol):
    """An archive that is being written."""

    def add(self, member: Member, chunks: t.Iterable[Chunk]) -> None:
        """Add a file. The chunks add up to its size. The bytes written when this returns are final."""

    def finish(self) -> None:
        """Write the end of the archive."""


class ArchiveFormat(t.Protocol):
    """A format of archives."""

    def writer(self, output: Output) -> ArchiveWriter:
        """Begin an archive."""

    def size_bytes(self, members: t.Sequence[Member]) -> int:
        """Return the size of an archive of these files."""

    def first_file(self, beginning: bytes, name: str) -> bytes | None:
        """Return the first file in the beginning of an archive, None unless it has that name and is complete."""
