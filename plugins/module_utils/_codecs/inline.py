"""Encoders and decoders that are a library's objects, or nothing at all."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Decoder, Encoder, Write
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

# How much comes out at a time: little enough to stay in a processor's cache until it is digested and written.
PIECE_BYTES = CHUNK_BYTES // 2
# What a member is fed at first, and twice as much each time: what follows its end is copied, and a stream may be made of
# nothing but ends.
_FIRST_BYTES = 1024

_DAMAGED = "Take another backup, or another copy of this one."


class Compressor(t.Protocol):
    """What zlib, python-isal and the zstd libraries call a compressor object."""

    def compress(self, data: memoryview, /) -> bytes:
        """Return the compressed bytes that are ready, which may be none."""

    def flush(self) -> bytes:
        """Return the last compressed bytes."""


@dataclass(frozen=True)
class InlineEncoder:
    """Compresses in our own process."""

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
    """Makes encoders around a new compressor object each."""

    compressor: str
    make: t.Callable[[], Compressor]

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        yield InlineEncoder(self.make(), write)


class Member(t.Protocol):
    """A member of a compressed stream that is being decoded: a stream may be several, one after the other.

    Once it ``ended``, ``rest_bytes`` is how much of the last bytes followed its end.
    """

    ended: bool
    rest_bytes: int

    def decode(self, data: memoryview) -> t.Iterator[bytes]:
        """Take in the next bytes, and give what comes out in bounded pieces. Raises what the library raises."""


class BufferingMember:
    """A member, by an object with the interface of bz2.BZ2Decompressor, which keeps the input that it has not come to."""

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
    """Decompresses in our own process, member by member."""

    def __init__(self, make: t.Callable[[], Member], errors: tuple[type[Exception], ...], output: Write) -> None:
        self._make = make
        self._errors = errors
        self._output = output
        self._member: Member | None = None
        self._most_bytes = 0
        self._has_begun = False  # a stream of no member at all has not ended either

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
    """Makes decoders around a library's objects. ``errors`` is what the library raises for what it can't read."""

    make: t.Callable[[], Member]
    errors: tuple[type[Exception], ...]

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        yield InlineDecoder(self.make, self.errors, write)


@dataclass(frozen=True)
class PlainEncoder:
    """Hands on what it gets."""

    output: Write

    def write(self, chunk: memoryview) -> None:
        self.output(chunk)

    def finish(self) -> None:
        pass


class PlainCodec:
    """No compression, both ways."""

    compressor = "none"

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        yield PlainEncoder(write)

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        yield PlainEncoder(write)
