"""zip, with zip64 where a size, an offset or a count requires it.

Not by zipfile, which continues to write if it is dropped after an error, and whose bytes depend on the version of Python.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
import struct
import typing as t
import zlib
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import (
    MEMBER_MODE,
    ArchiveWriter,
    Chunk,
    Member,
    Output,
)

# The names and the order of the fields are those of PKWARE's APPNOTE.TXT, 4.3.7, 4.3.12, and 4.3.14 to 4.3.16.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_CENTRAL_HEADER = struct.Struct("<4s6H3I5H2I")
_ZIP64_END = struct.Struct("<4sQ2H2I4Q")
_ZIP64_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_CRC_OFFSET = 14  # in the local header
_CRC = struct.Struct("<I")

_STORED = 0
_VERSION = 20
_ZIP64_VERSION = 45
_MADE_ON_UNIX = 3 << 8
_ATTRIBUTES = (stat.S_IFREG | MEMBER_MODE) << 16
_SEE_ZIP64 = 0xFFFFFFFF  # replaces a number that is as large or larger
_SEE_ZIP64_COUNT = 0xFFFF
_ZIP64_EXTRA = 0x0001

# The range of MS-DOS's times.
_EARLIEST = datetime(1980, 1, 1, tzinfo=timezone.utc)
_LATEST = datetime(2107, 12, 31, 23, 59, 58, tzinfo=timezone.utc)


class Zip:
    """The format zip."""

    def writer(self, output: Output) -> ArchiveWriter:
        return _ZipWriter(output)

    def size_bytes(self, members: t.Sequence[Member]) -> int:
        entries = []
        position = 0
        for member in members:
            entries.append(_Entry(member, position, 0))
            position += len(_local_header(member)) + member.size_bytes
        central = sum(len(_central_header(entry)) for entry in entries)
        return position + central + len(_end(len(entries), central, position))

    def first_file(self, beginning: bytes, name: str) -> bytes | None:
        if len(beginning) < _LOCAL_HEADER.size:
            return None
        fields = _LOCAL_HEADER.unpack_from(beginning)
        signature, method, size, name_length, extra_length = fields[0], fields[3], fields[8], fields[9], fields[10]
        start = _LOCAL_HEADER.size + name_length + extra_length
        if signature != b"PK\3\4" or method != _STORED or beginning[_LOCAL_HEADER.size :][:name_length] != name.encode():
            return None
        content = beginning[start : start + size]
        return content if len(content) == size else None


class _Entry(t.NamedTuple):
    """A file's entry in the directory at the end."""

    member: Member
    offset: int
    crc: int


class _ZipWriter:
    def __init__(self, output: Output) -> None:
        self._output = output
        self._entries: list[_Entry] = []
        self._position = 0

    def add(self, member: Member, chunks: t.Iterable[Chunk]) -> None:
        header, offset, crc = _local_header(member), self._position, 0
        self._output.write(header)
        for chunk in chunks:
            self._output.write(chunk)
            crc = zlib.crc32(chunk, crc)
        self._output.write_at(offset + _CRC_OFFSET, _CRC.pack(crc))
        self._entries.append(_Entry(member, offset, crc))
        self._position += len(header) + member.size_bytes

    def finish(self) -> None:
        central = b"".join(map(_central_header, self._entries))
        self._output.write(central + _end(len(self._entries), len(central), self._position))


def _local_header(member: Member) -> bytes:
    """Return the header of a file, without its checksum, which is not known yet."""
    size, name = member.size_bytes, member.name.encode("ascii")
    extra = _extra(size, size) if size >= _SEE_ZIP64 else b""
    size = min(size, _SEE_ZIP64)
    version = _ZIP64_VERSION if extra else _VERSION
    fields = (b"PK\3\4", version, 0, _STORED, *_dos_time(member.time), 0, size, size, len(name), len(extra))
    return _LOCAL_HEADER.pack(*fields) + name + extra


def _central_header(entry: _Entry) -> bytes:
    size, offset, name = entry.member.size_bytes, entry.offset, entry.member.name.encode("ascii")
    extra = _extra(*[number for number in (size, size, offset) if number >= _SEE_ZIP64])
    size, offset = min(size, _SEE_ZIP64), min(offset, _SEE_ZIP64)
    version = _ZIP64_VERSION if extra else _VERSION
    made = (b"PK\1\2", _MADE_ON_UNIX | version, version, 0, _STORED, *_dos_time(entry.member.time), entry.crc, size, size)
    return _CENTRAL_HEADER.pack(*made, len(name), len(extra), 0, 0, 0, _ATTRIBUTES, offset) + name + extra


def _extra(*numbers: int) -> bytes:
    """Return the zip64 field for numbers that are too large for theirs, empty if none are."""
    return struct.pack(f"<HH{len(numbers)}Q", _ZIP64_EXTRA, 8 * len(numbers), *numbers) if numbers else b""


def _end(count: int, central: int, offset: int) -> bytes:
    """Return the records after the directory, which is ``central`` bytes long and begins at ``offset``."""
    zip64 = b""
    if count >= _SEE_ZIP64_COUNT or central >= _SEE_ZIP64 or offset >= _SEE_ZIP64:
        versions = (_MADE_ON_UNIX | _ZIP64_VERSION, _ZIP64_VERSION)
        zip64 = _ZIP64_END.pack(b"PK\6\6", _ZIP64_END.size - 12, *versions, 0, 0, count, count, central, offset)
        zip64 += _ZIP64_LOCATOR.pack(b"PK\6\7", 0, offset + central, 1)
    count = min(count, _SEE_ZIP64_COUNT)
    fields = (count, count, min(central, _SEE_ZIP64), min(offset, _SEE_ZIP64), 0)
    return zip64 + _END.pack(b"PK\5\6", 0, 0, *fields)


def _dos_time(time: datetime) -> tuple[int, int]:
    """Return MS-DOS's time and date, in steps of two seconds."""
    time = min(max(time, _EARLIEST), _LATEST)
    return (
        time.hour << 11 | time.minute << 5 | time.second // 2,
        (time.year - 1980) << 9 | time.month << 5 | time.day,
    )
