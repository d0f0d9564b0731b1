"""Zstandard by each of the ways that a host may have, read back by the program zstd."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.zstd.codec import zstd_codec
from ansible_collections.lastgood.database.plugins.module_utils._errors import LibraryMissing

pytestmark = pytest.mark.usefixtures("nothing_left")

Bounded = Callable[[Callable[[], Any]], Any]
Encode = Callable[[Codec, bytes], bytes]
ReadBack = Callable[[bytes, str], bytes]
CodecOf = Callable[[Level], Codec]

IN_STANDARD_LIBRARY = sys.version_info >= (3, 14)
WAYS = [*(["compression.zstd"] if IN_STANDARD_LIBRARY else []), "zstandard", "zstd"]


@pytest.fixture(params=WAYS)
def codec_of(request: pytest.FixtureRequest, runner: ModuleRunner, without_library: Callable[[str], None]) -> CodecOf:
    """Return how this host makes codecs: it has the one compressor, and none that would come before it."""
    if request.param != "compression.zstd":
        without_library("compression")
    if request.param == "zstd":
        without_library("zstandard")
        assert shutil.which("zstd"), "the tests need the program zstd"

    def make(level: Level) -> Codec:
        codec = zstd_codec(level, runner)
        assert codec.tool.split()[0] == request.param
        return codec

    return make


def test_the_program_zstd_reads_it_back(
    codec_of: CodecOf, content: bytes, encode: Encode, read_back: ReadBack, bounded: Bounded
) -> None:
    encoded = bounded(lambda: encode(codec_of("balanced"), content))
    assert read_back(encoded, "zstd") == content


@pytest.mark.parametrize("level", get_args(Level))
def test_equal_content_gives_equal_bytes(
    codec_of: CodecOf, text: bytes, encode: Encode, read_back: ReadBack, bounded: Bounded, level: Level
) -> None:
    first, second = (bounded(lambda: encode(codec_of(level), text)) for _time in range(2))
    assert first == second
    assert read_back(first, "zstd") == text


def test_it_carries_a_checksum(codec_of: CodecOf, text: bytes, encode: Encode, bounded: Bounded) -> None:
    encoded = bounded(lambda: encode(codec_of("fast"), text))
    has_checksum = 4  # a bit of the frame header's first byte, which follows the magic number
    assert encoded[:4] == b"\x28\xb5\x2f\xfd"
    assert encoded[4] & has_checksum


def test_the_levels_make_it_smaller_and_smaller(codec_of: CodecOf, text: bytes, encode: Encode, bounded: Bounded) -> None:
    fast, balanced, small = (len(bounded(lambda level=level: encode(codec_of(level), text))) for level in get_args(Level))
    assert fast > balanced > small


def test_a_library_comes_before_the_program(runner: ModuleRunner, without_library: Callable[[str], None]) -> None:
    found = []
    for library in ("compression", "zstandard", None):
        found.append(zstd_codec("fast", runner).tool.split()[0])
        if library is not None:
            without_library(library)
    assert list(dict.fromkeys(found)) == WAYS


@pytest.mark.usefixtures("without_programs")
def test_a_host_that_has_none_is_told_what_to_install(runner: ModuleRunner, without_library: Callable[[str], None]) -> None:
    without_library("compression")
    without_library("zstandard")
    with pytest.raises(LibraryMissing) as caught:
        zstd_codec("fast", runner)
    assert caught.value.as_result() == {"code": "library_missing", "library": "zstandard"}
    for word in ("compression=zstd", "Python 3.14", "library zstandard", "program zstd", "Install", "compression=gzip"):
        assert word in str(caught.value)
