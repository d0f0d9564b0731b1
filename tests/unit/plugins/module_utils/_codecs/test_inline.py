# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import (
    InlineCodec,
    InlineDecoding,
    PlainCodec,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

CODECS = [PlainCodec(), InlineCodec("zlib", lambda: zlib.compressobj(1))]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=["plain", "zlib"])


def test_no_compression_hands_on_every_byte(content: bytes, encode: Callable[[Codec, bytes], bytes]) -> None:
    assert encode(PlainCodec(), content) == content


def test_a_compressor_object_has_all_of_it(content: bytes, encode: Callable[[Codec, bytes], bytes]) -> None:
    assert zlib.decompress(encode(InlineCodec("zlib", lambda: zlib.compressobj(1)), content)) == content


def test_nothing_is_written_for_a_chunk_that_the_compressor_keeps() -> None:
    written: list[int] = []
    with InlineCodec("zlib", lambda: zlib.compressobj(1)).encoding(lambda data: written.append(len(data))) as encoder:
        for _time in range(100):
            encoder.write(memoryview(b"x"))
        encoder.finish()
    assert 0 not in written


@each_codec
def test_an_error_in_writing_comes_out_as_it_is(codec: Codec, noise: bytes) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(data: bytes | memoryview) -> None:
        raise error

    with pytest.raises(NoSpace) as caught, codec.encoding(write) as encoder:
        encoder.write(memoryview(noise))
    assert caught.value is error


@each_codec
def test_leaving_without_an_end_writes_no_end(codec: Codec, noise: bytes) -> None:
    whole, part = bytearray(), bytearray()
    with codec.encoding(whole.extend) as encoder:
        encoder.write(memoryview(noise))
        encoder.finish()
    with pytest.raises(KeyError), codec.encoding(part.extend) as encoder:
        encoder.write(memoryview(noise)[:-1])
        raise KeyError
    assert len(part) < len(whole)


def test_a_member_is_fed_no_more_at_a_time_however_long_it_is() -> None:
    fed: list[int] = []

    class Endless:
        """A member that never ends."""

        ended = False
        rest_bytes = 0

        def decode(self, data: memoryview) -> Iterator[bytes]:
            fed.append(len(data))
            yield b""

    chunk = memoryview(bytes(8 * CHUNK_BYTES))
    with InlineDecoding(Endless, ()).decoding(bytearray().extend) as decoder:
        for _time in range(4):
            decoder.write(chunk)
    assert max(fed) == CHUNK_BYTES


def test_a_stream_of_nothing_but_ends_is_not_copied_for_each() -> None:
    fed: list[int] = []

    class Short:
        """A member of two bytes."""

        ended = True
        rest_bytes = 0

        def decode(self, data: memoryview) -> Iterator[bytes]:
            fed.append(len(data))
            self.rest_bytes = len(data) - 2
            yield bytes(data[:1])

    stream = b"x\n" * 100_000
    decoded = bytearray()
    with InlineDecoding(Short, ()).decoding(decoded.extend) as decoder:
        decoder.write(memoryview(stream))
        decoder.finish()
    assert decoded == b"x" * 100_000
    assert sum(fed) <= 1024 * len(fed)
