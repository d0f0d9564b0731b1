"""What every format of archives can do: take files one after another, as they are, and say beforehand how large it gets.

Nothing is compressed: backups are compressed already. The same members give the same bytes, whoever writes them, whenever.
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
        """Add a file. The chunks come to exactly its size. What is written when this returns stays as it is."""

    def finish(self) -> None:
        """Write what comes after the last file."""


class ArchiveFormat(t.Protocol):
    """A format of archives."""

    def writer(self, output: Output) -> ArchiveWriter:
        """Begin an archive."""

    def size_bytes(self, members: t.Sequence[Member]) -> int:
        """Return how large an archive with these files is."""

    def first_file(self, beginning: bytes, name: str) -> bytes | None:
        """Return the first file in an archive that begins so, None unless it has that name and is there to its end."""
