"""Encoders and decoders in this process: by a library, or without one."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Decoder, Encoder, Write
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

# The size of a piece of output: small enough to stay in a processor's cache until it is digested and written.
PIECE_BYTES = CHUNK_BYTES // 2
# A member's first input; each later one is twice as large. Bytes after a member's end are copied, and a stream may have
# many short members.
_FIRST_BYTES = 1024

_DAMAGED = "Take another backup, or another copy of this one."


class Compressor(t.Protocol):
    """A compressor object of zlib, python-isal or a zstd library."""

    def compress(self, data: memoryview, /) -> bytes:
        """Return the compressed bytes that are ready, which may be none."""

    def flush(self) -> bytes:
        """Return the last compressed bytes."""


@dataclass(frozen=True)
class InlineEncoder:
    """Compresses in this process."""

    compressor: Compressor
    output: Write

    def write(self, chunk: memoryview) -> None:
        compressed = self.compressor.compress(chunk)
        if compressed:
            self.output(compressed)

    def finish(self) -> None:
        self.output(self.compressor.flush())


@dataclass(frozen=True)
class InlineCodec:
    """Makes encoders, each with a new compressor object."""

    tool: str
    make: t.Callable[[], Compressor]

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        yield InlineEncoder(self.make(), write)


class Member(t.Protocol):
    """A member of a compressed stream that is being decoded. A stream may have several in sequence.

    Once it ``ended``, ``rest_bytes`` says how many of the last bytes followed it.
    """

    ended: bool
    rest_bytes: int

    def decode(self, data: memoryview) -> t.Iterator[bytes]:
        """Take in the next bytes, and yield the output in bounded pieces. Raises the library's errors."""


class BufferingMember:
    """A member, by an object with the interface of bz2.BZ2Decompressor, which buffers its remaining input."""

    def __init__(self, decompressor: t.Any) -> None:
        self._decompressor = decompressor
        self.ended = False
        self.rest_bytes = 0

    def decode(self, data: memoryview) -> t.Iterator[bytes]:
        decompressor, pending = self._decompressor, data
        while True:
            yield decompressor.decompress(pending, PIECE_BYTES)
            pending = memoryview(b"")
            if decompressor.eof or decompressor.needs_input:
                break
        self.ended, self.rest_bytes = decompressor.eof, len(decompressor.unused_data)


class InlineDecoder:
    """Decompresses in this process, member by member."""

    def __init__(self, make: t.Callable[[], Member], errors: tuple[type[Exception], ...], output: Write) -> None:
        self._make = make
        self._errors = errors
        self._output = output
        self._member: Member | None = None
        self._most_bytes = 0
        self._has_begun = False  # a stream without members is incomplete too

    def write(self, chunk: memoryview) -> None:
        while chunk:
            if self._member is None:
                self._member, self._most_bytes, self._has_begun = self._make(), _FIRST_BYTES, True
            member, taken = self._member, min(len(chunk), self._most_bytes)
            for piece in self._decode(member, chunk[:taken]):
                self._output(piece)
            self._most_bytes = min(2 * self._most_bytes, CHUNK_BYTES)
            if member.ended:
                self._member = None
                taken -= member.rest_bytes
            chunk = chunk[taken:]

    def finish(self) -> None:
        if self._member is not None or not self._has_begun:
            raise ContentInvalid("The compressed stream ends before its end.", _DAMAGED)

    def _decode(self, member: Member, chunk: memoryview) -> t.Iterator[bytes]:
        pieces = member.decode(chunk)
        while True:
            try:
                piece = next(pieces)
            except StopIteration:
                return
            except self._errors as error:
                raise ContentInvalid(f"The compressed stream is broken: {error}.", _DAMAGED) from error
            if piece:
                yield piece


@dataclass(frozen=True)
class InlineDecoding:
    """Makes decoders around a library's objects. ``errors`` are the library's errors for invalid data."""

    make: t.Callable[[], Member]
    errors: tuple[type[Exception], ...]

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        yield InlineDecoder(self.make, self.errors, write)


@dataclass(frozen=True)
class PlainEncoder:
    """Passes on its input."""

    output: Write

    def write(self, chunk: memoryview) -> None:
        self.output(chunk)

    def finish(self) -> None:
        pass


class PlainCodec:
    """No compression, both ways."""

    tool = "none"

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        yield PlainEncoder(write)

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        yield PlainEncoder(write)
