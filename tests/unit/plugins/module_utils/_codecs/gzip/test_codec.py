"""gzip by each of the ways that a host may have, read back by the program gzip."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from typing import Any, cast, get_args

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gzip.codec import gzip_codec, gzip_decoding
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

pytestmark = pytest.mark.usefixtures("nothing_left")

Bounded = Callable[[Callable[[], Any]], Any]
Encode = Callable[[Codec, bytes], bytes]
ReadBack = Callable[[bytes, str], bytes]
CodecOf = Callable[[Level], Codec]


@pytest.fixture(params=["isal", "pigz", "zlib"])
def codec_of(
    request: pytest.FixtureRequest,
    runner: ModuleRunner,
    without_library: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> CodecOf:
    """Return how this host makes codecs: it has the one compressor, and none that would come before it."""
    if request.param != "isal":
        without_library("isal")
    if request.param == "zlib":
        monkeypatch.setenv("PATH", "/nonexistent")
    elif request.param == "pigz":
        assert shutil.which("pigz"), "the tests need the program pigz"

    def make(level: Level) -> Codec:
        codec = gzip_codec(level, runner)
        assert codec.tool.split()[0] == request.param
        return codec

    return make


def test_the_program_gzip_reads_it_back(
    codec_of: CodecOf, content: bytes, encode: Encode, read_back: ReadBack, bounded: Bounded
) -> None:
    encoded = bounded(lambda: encode(codec_of("balanced"), content))
    assert read_back(encoded, "gzip") == content


@pytest.mark.parametrize("level", get_args(Level))
def test_equal_content_gives_equal_bytes(
    codec_of: CodecOf, text: bytes, encode: Encode, read_back: ReadBack, bounded: Bounded, level: Level
) -> None:
    first, second = (bounded(lambda: encode(codec_of(level), text)) for _time in range(2))
    assert first == second
    assert read_back(first, "gzip") == text


def test_neither_a_name_nor_a_time_is_in_the_header(codec_of: CodecOf, text: bytes, encode: Encode, bounded: Bounded) -> None:
    encoded = bounded(lambda: encode(codec_of("fast"), text))
    flags, time = encoded[3], encoded[4:8]
    assert (flags, time) == (0, bytes(4))


def test_the_levels_make_it_smaller_and_smaller(codec_of: CodecOf, text: bytes, encode: Encode, bounded: Bounded) -> None:
    fast, balanced, small = (len(bounded(lambda level=level: encode(codec_of(level), text))) for level in get_args(Level))
    assert fast > balanced > small


def test_a_codec_may_be_used_again(
    codec_of: CodecOf, text: bytes, noise: bytes, encode: Encode, read_back: ReadBack, bounded: Bounded
) -> None:
    codec = codec_of("fast")
    for content in (text, noise, text):
        assert read_back(bounded(lambda content=content: encode(codec, content)), "gzip") == content


def test_isal_comes_before_pigz_and_pigz_before_zlib(
    runner: ModuleRunner, without_library: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.access(shutil.which("pigz") or "", os.X_OK)
    assert gzip_codec("fast", runner).tool.startswith("isal ")
    without_library("isal")
    assert gzip_codec("fast", runner).tool.startswith("pigz")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert gzip_codec("fast", runner).tool.startswith("zlib ")


def test_pigz_gets_the_level_that_the_documentation_says(
    runner: ModuleRunner, without_library: Callable[[str], None], bounded: Bounded
) -> None:
    without_library("isal")
    arguments = {level: cast(ProgramCodec, gzip_codec(level, runner)).arguments for level in get_args(Level)}
    assert {level: words[-1] for level, words in arguments.items()} == {"fast": "-1", "balanced": "-5", "small": "-9"}


@pytest.mark.parametrize("library", ["isal", "zlib"])
@pytest.mark.parametrize("flags", range(0x20))
def test_a_header_may_have_all_that_the_standard_knows(without_library: Callable[[str], None], library: str, flags: int) -> None:
    if library == "zlib":
        without_library("isal")
    header = bytes((0x1F, 0x8B, 8, flags)) + bytes(5) + b"\xff"
    header += struct.pack("<H", 2000) + bytes(2000) if flags & 4 else b""
    header += b"a name\0" if flags & 8 else b""
    header += b"a comment\0" if flags & 16 else b""
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) if flags & 2 else b""
    encoded = header + gzip.compress(b"content")[10:]
    for size in (1, 7, len(encoded)):
        decoded = bytearray()
        with gzip_decoding().decoding(decoded.extend) as decoder:
            for start in range(0, len(encoded), size):
                decoder.write(memoryview(encoded)[start : start + size])
            decoder.finish()
        assert decoded == b"content"


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_a_header_with_flags_that_mean_nothing_is_an_error(without_library: Callable[[str], None], library: str) -> None:
    if library == "zlib":
        without_library("isal")
    encoded = bytearray(gzip.compress(b"content"))
    encoded[3] = 0x80
    with pytest.raises(ContentInvalid), gzip_decoding().decoding(bytearray().extend) as decoder:
        decoder.write(memoryview(encoded))
        decoder.finish()
