"""What every codec promises, in each way in which a host can do it. A new one joins by a line in ``WAYS``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    NoSpace,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

Encode = Callable[[Codec, bytes], bytes]
Bounded = Callable[[Callable[[], Any]], Any]


class Way(NamedTuple):
    """How a host encodes and decodes: what it lacks, or another way would come first."""

    compression: str
    lacks: tuple[str, ...] = ()


WAYS = {
    "none": Way("none"),
    "isal": Way("gzip"),
    "zlib": Way("gzip", ("isal",)),
    "zstandard": Way("zstd", ("compression",)),
    "zstd": Way("zstd", ("compression", "zstandard")),
}
if sys.version_info >= (3, 14):
    WAYS["compression.zstd"] = Way("zstd")
COMPRESSED = [name for name, way in WAYS.items() if way.compression != "none"]


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def decoding(way: Way, runner: ModuleRunner, without_library: Callable[[str], None], nothing_left: None) -> Decoding:
    for library in way.lacks:
        without_library(library)
    return COMPRESSIONS[way.compression].decoding(runner)


@pytest.fixture
def decode(decoding: Decoding, bounded: Callable[[Callable[[], Any]], Any]) -> Callable[[bytes], bytes]:
    """Decode as an operation does: chunk by chunk out of one buffer, which holds something else a moment later."""

    def do(encoded: bytes) -> bytes:
        decoded = bytearray()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with decoding.decoding(decoded.extend) as decoder:
            for start in range(0, len(encoded), CHUNK_BYTES):
                chunk = encoded[start : start + CHUNK_BYTES]
                buffer[: len(chunk)] = chunk
                decoder.write(buffer[: len(chunk)])
                buffer[: len(chunk)] = b"\xaa" * len(chunk)
            decoder.finish()
        return bytes(decoded)

    return lambda encoded: bytes(bounded(lambda: do(encoded)))


def compress(compression: str, content: bytes) -> bytes:
    """By the program that an operator has, which has the compression's name."""
    if compression == "none":
        return content
    return subprocess.run((f"/usr/bin/{compression}", "-1c"), input=content, capture_output=True, check=True).stdout


every_way = pytest.mark.parametrize("way", WAYS, indirect=True)
every_compressed = pytest.mark.parametrize("way", COMPRESSED, indirect=True)


@every_way
def test_what_was_encoded_comes_back(way: Way, content: bytes, decode: Callable[[bytes], bytes]) -> None:
    assert decode(compress(way.compression, content)) == content


@every_compressed
def test_several_streams_one_after_the_other_are_one(way: Way, text: bytes, decode: Callable[[bytes], bytes]) -> None:
    whole = b"".join(compress(way.compression, part) for part in (text[:10], b"", text[10:2_000_000], text[2_000_000:]))
    assert decode(whole) == text


@every_compressed
@pytest.mark.parametrize("kept", [0, 1, 0.5, -9, -1], ids=["nothing", "a byte", "half", "all but 9 bytes", "all but one"])
def test_a_stream_that_was_cut_is_an_error(way: Way, text: bytes, decode: Callable[[bytes], bytes], kept: float) -> None:
    encoded = compress(way.compression, text)
    with pytest.raises(ContentInvalid) as caught:
        decode(encoded[: int(len(encoded) * kept) if kept == 0.5 else int(kept)])
    assert caught.value.code == "content_invalid"


@every_compressed
@pytest.mark.parametrize("place", [0, 0.5, -2], ids=["first byte", "middle", "last bytes"])
def test_a_flipped_bit_is_an_error(way: Way, text: bytes, decode: Callable[[bytes], bytes], place: float) -> None:
    encoded = bytearray(compress(way.compression, text))
    encoded[int(len(encoded) * place) if place == 0.5 else int(place)] ^= 0x10
    with pytest.raises(ContentInvalid):
        decode(bytes(encoded))


@every_compressed
@pytest.mark.parametrize("garbage", [b"x", bytes(10), b"garbage" * 500_000], ids=["a byte", "zeros", "much"])
def test_what_follows_the_end_and_is_no_such_stream_is_an_error(
    way: Way, text: bytes, decode: Callable[[bytes], bytes], garbage: bytes
) -> None:
    with pytest.raises(ContentInvalid):
        decode(compress(way.compression, text) + garbage)


@every_compressed
def test_a_stream_of_another_kind_is_an_error(way: Way, text: bytes, decode: Callable[[bytes], bytes]) -> None:
    for other in (text, text[:3]):
        with pytest.raises(ContentInvalid):
            decode(other)


@every_compressed
def test_a_bomb_comes_out_in_pieces(way: Way, decoding: Decoding) -> None:
    bomb = compress(way.compression, bytes(100_000_000))
    pieces: list[int] = []
    with decoding.decoding(lambda piece: pieces.append(len(piece))) as decoder:
        decoder.write(memoryview(bomb))
        decoder.finish()
    assert sum(pieces) == 100_000_000
    assert max(pieces) <= 8 * CHUNK_BYTES


@every_way
def test_an_error_of_whoever_takes_what_comes_out_comes_out_as_it_is(way: Way, text: bytes, decoding: Decoding) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(piece: bytes | memoryview) -> None:
        raise error

    with pytest.raises(BackupError) as caught, decoding.decoding(write) as decoder:
        decoder.write(memoryview(compress(way.compression, text)))
        decoder.finish()
    assert caught.value is error


@pytest.fixture
def codec(way: Way, runner: ModuleRunner, without_library: Callable[[str], None], nothing_left: None) -> Codec:
    for library in way.lacks:
        without_library(library)
    return COMPRESSIONS[way.compression].codec("fast", runner)


@every_way
def test_what_is_encoded_is_decoded_by_the_program_that_an_operator_has(
    way: Way, codec: Codec, content: bytes, encode: Encode, read_back: Callable[[bytes, str], bytes], bounded: Bounded
) -> None:
    encoded = bounded(lambda: encode(codec, content))
    assert (encoded if way.compression == "none" else read_back(encoded, way.compression)) == content


@every_way
def test_equal_content_gives_equal_bytes_and_a_codec_may_be_used_again(
    codec: Codec, text: bytes, noise: bytes, encode: Encode, bounded: Bounded
) -> None:
    first, _other, again = (bounded(lambda content=content: encode(codec, content)) for content in (text, noise, text))
    assert first == again


@every_way
def test_a_manifest_says_what_did_the_work(way: Way, codec: Codec) -> None:
    assert codec.tool
    assert (codec.tool == "none") == (way.compression == "none")


@every_way
def test_an_error_of_whoever_writes_what_comes_out_comes_out_as_it_is(codec: Codec, noise: bytes, bounded: Bounded) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(piece: bytes | memoryview) -> None:
        raise error

    def encode_it() -> None:
        with codec.encoding(write) as encoder:
            encoder.write(memoryview(noise))
            encoder.finish()

    with pytest.raises(NoSpace) as caught:
        bounded(encode_it)
    assert caught.value is error


@every_way
def test_leaving_without_an_end_writes_no_end(codec: Codec, noise: bytes) -> None:
    whole, part = bytearray(), bytearray()
    with codec.encoding(whole.extend) as encoder:
        encoder.write(memoryview(noise))
        encoder.finish()
    with pytest.raises(KeyError), codec.encoding(part.extend) as encoder:
        encoder.write(memoryview(noise)[:-1])
        raise KeyError
    assert len(part) < len(whole)
