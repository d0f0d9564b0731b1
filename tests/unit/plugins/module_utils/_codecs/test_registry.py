# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import LEVELS, Codec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS, codec_for, decoder_for
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    LibraryMissing,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Compression

MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "none": b"some"}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("compression", get_args(Compression))
def test_each_compression_has_its_codec(
    runner: ModuleRunner, encode: Callable[[Codec, bytes], bytes], compression: Compression, level: str
) -> None:
    codec = codec_for(compression, level, runner)  # type: ignore[arg-type]
    assert encode(codec, b"some content").startswith(MAGIC[compression])
    assert (codec.compressor == "none") == (compression == "none")


# --- And back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", get_args(Compression))
def test_each_compression_of_a_file_name_has_its_codec(compression: Compression) -> None:
    assert compression in COMPRESSIONS


def test_an_unknown_compression_is_refused(runner: ModuleRunner) -> None:
    for ask in (lambda: codec_for("lz4", "fast", runner), lambda: decoder_for("lz4", runner)):  # type: ignore[arg-type]
        with pytest.raises(ArgumentInvalid, match=r"compression is lz4.*gzip, zstd, none"):
            ask()


def test_a_program_that_is_killed_says_nothing_of_the_stream(
    runner: ModuleRunner,
    without_library: Callable[[str], None],
    without_programs: None,
    shell_program: Callable[..., str],
    text: bytes,
) -> None:
    without_library("compression")
    without_library("zstandard")
    shell_program("zstd", "kill -9 $$")
    with pytest.raises(ProgramFailed), decoder_for("zstd", runner).decoding(lambda piece: None) as decoder:
        decoder.write(memoryview(text))
        decoder.finish()


def test_a_host_that_can_not_read_zstandard_is_told_what_to_install(
    runner: ModuleRunner, without_library: Callable[[str], None], without_programs: None
) -> None:
    without_library("compression")
    without_library("zstandard")
    with pytest.raises(LibraryMissing, match="package zstd"):
        decoder_for("zstd", runner)
