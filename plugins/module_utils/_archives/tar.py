"""tar in POSIX's form (pax), and tar in gzip, with stored blocks, since backups are compressed already."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
import tarfile
import typing as t
import zlib

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import (
    MEMBER_MODE,
    ArchiveWriter,
    Chunk,
    Member,
    Output,
)

_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, an unknown system
_STORED_BYTES = 0xFFFF  # the most a stored block can have
_BLOCK_HEADER = struct.Struct("<BHH")
_GZIP_TRAILER = struct.Struct("<II")
_INFLATE_GZIP = 31


class Tar:
    """The format tar."""

    def writer(self, output: Output) -> ArchiveWriter:
        return _TarWriter(output.write)

    def size_bytes(self, members: t.Sequence[Member]) -> int:
        blocks = sum(len(_header(member)) + _padded(member.size_bytes) for member in members)
        return _rounded(blocks + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)

    def first_file(self, beginning: bytes, name: str) -> bytes | None:
        try:
            found = tarfile.TarInfo.frombuf(beginning[: tarfile.BLOCKSIZE], "ascii", "strict")
        except (tarfile.TarError, ValueError):
            return None
        content = beginning[tarfile.BLOCKSIZE : tarfile.BLOCKSIZE + max(0, found.size)]
        return content if found.name == name and found.isreg() and len(content) == found.size else None


class TarGzip:
    """The format tar.gz."""

    def __init__(self) -> None:
        self._tar = Tar()

    def writer(self, output: Output) -> ArchiveWriter:
        return _TarGzipWriter(output)

    def size_bytes(self, members: t.Sequence[Member]) -> int:
        inside = self._tar.size_bytes(members)
        blocks = inside // _STORED_BYTES + 1
        return len(_GZIP_HEADER) + blocks * _BLOCK_HEADER.size + inside + _GZIP_TRAILER.size

    def first_file(self, beginning: bytes, name: str) -> bytes | None:
        try:
            # Output is limited to the input's size: ours is stored, and a hostile one could fill the memory.
            inside = zlib.decompressobj(_INFLATE_GZIP).decompress(beginning, max(1, len(beginning)))
        except zlib.error:
            return None
        return self._tar.first_file(inside, name)


class _TarWriter:
    def __init__(self, write: t.Callable[[Chunk], None]) -> None:
        self._write = write
        self._position = 0

    def add(self, member: Member, chunks: t.Iterable[Chunk]) -> None:
        header = _header(member)
        self._write(header)
        for chunk in chunks:
            self._write(chunk)
        padded = _padded(member.size_bytes)
        self._write(bytes(padded - member.size_bytes))
        self._position += len(header) + padded

    def finish(self) -> None:
        end = _rounded(self._position + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)
        self._write(bytes(end - self._position))


class _TarGzipWriter:
    def __init__(self, output: Output) -> None:
        self._gzip = _StoredGzip(output)
        self._tar = _TarWriter(self._gzip.write)

    def add(self, member: Member, chunks: t.Iterable[Chunk]) -> None:
        self._tar.add(member, chunks)

    def finish(self) -> None:
        self._tar.finish()
        self._gzip.finish()


class _StoredGzip:
    """A gzip stream of stored blocks of full size, whatever the chunks' sizes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rest = bytearray()
        self._crc = 0
        self._size = 0
        output.write(_GZIP_HEADER)

    def write(self, data: Chunk) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._rest += data
        whole = len(self._rest) // _STORED_BYTES * _STORED_BYTES
        if whole:
            with memoryview(self._rest) as view:
                header = _block_header(_STORED_BYTES, last=False)
                starts = range(0, whole, _STORED_BYTES)
                self._output.write(b"".join(piece for start in starts for piece in (header, view[start : start + _STORED_BYTES])))
            del self._rest[:whole]

    def finish(self) -> None:
        trailer = _GZIP_TRAILER.pack(self._crc, self._size & 0xFFFFFFFF)
        self._output.write(_block_header(len(self._rest), last=True) + self._rest + trailer)


def _block_header(size: int, *, last: bool) -> bytes:
    return _BLOCK_HEADER.pack(last, size, size ^ 0xFFFF)


def _header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.size = member.size_bytes
    info.mtime = int(member.time.timestamp())
    info.mode = MEMBER_MODE
    return info.tobuf(tarfile.PAX_FORMAT, "ascii", "strict")


def _padded(size: int) -> int:
    return _rounded(size, tarfile.BLOCKSIZE)


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
