"""Zstandard, RFC 8878: by the standard library (Python 3.14) or the library zstandard, else by the program zstd."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import (
    PIECE_BYTES,
    BufferingMember,
    InlineCodec,
    InlineDecoding,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec, ProgramDecoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import LibraryMissing
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 3, "small": 12}
_INSTALL = "Install the package zstd (Debian, Ubuntu, RHEL, SUSE and Alpine call it so)"


def zstd_codec(level: Level, runner: Runner) -> Codec:
    """Return the best way to encode Zstandard that the host has. Raises LibraryMissing if it has none."""
    codec = _standard_library(level) or _zstandard(level) or _program(level, runner)
    if codec is None:
        raise LibraryMissing(
            "compression=zstd needs Python 3.14, the Python library zstandard, or the program zstd, and this host has none.",
            f"{_INSTALL}, or use compression=gzip.",
            library="zstandard",
        )
    return codec


def zstd_decoding(runner: Runner) -> Decoding:
    """Return the best way to decode Zstandard that the host has. Raises LibraryMissing if it has none."""
    decoding = _standard_library_decoding() or _zstandard_decoding() or _program_decoding(runner)
    if decoding is None:
        raise LibraryMissing(
            "Zstandard is read by Python 3.14, the Python library zstandard, or the program zstd, and this host has none.",
            f"{_INSTALL}.",
            library="zstandard",
        )
    return decoding


def _standard_library(level: Level) -> Codec | None:
    try:
        from compression import zstd
    except ImportError:
        return None

    options = {zstd.CompressionParameter.compression_level: _LEVELS[level], zstd.CompressionParameter.checksum_flag: 1}
    return InlineCodec(f"compression.zstd {zstd.zstd_version}", lambda: zstd.ZstdCompressor(options=options))


def _zstandard(level: Level) -> Codec | None:
    try:
        import zstandard
    except ImportError:
        return None

    def make() -> zstandard.ZstdCompressionObj:
        return zstandard.ZstdCompressor(level=_LEVELS[level], write_checksum=True).compressobj()

    return InlineCodec(f"zstandard {zstandard.__version__}", make)


def _program(level: Level, runner: Runner) -> Codec | None:
    program = runner.find_program("zstd")
    if program is None:
        return None
    # --force: the input is a pipe, reached through a link.
    return ProgramCodec("zstd", runner, (program, "--quiet", "--force", "--stdout", f"-{_LEVELS[level]}"))


def _standard_library_decoding() -> Decoding | None:
    try:
        from compression import zstd
    except ImportError:
        return None

    return InlineDecoding(lambda: BufferingMember(zstd.ZstdDecompressor()), (zstd.ZstdError,))


def _zstandard_decoding() -> Decoding | None:
    try:
        import zstandard
    except ImportError:
        return None
    if not hasattr(zstandard.ZstdDecompressor().decompressobj(), "unused_data"):  # before 0.19: it can't find a frame's end
        return None

    return InlineDecoding(lambda: _SlicedFrame(zstandard.ZstdDecompressor().decompressobj()), (zstandard.ZstdError,))


def _program_decoding(runner: Runner) -> Decoding | None:
    program = runner.find_program("zstd")
    if program is None:
        return None
    # Without --force, which passes on other data unchanged.
    return ProgramDecoding(ProgramCodec("zstd", runner, (program, "--decompress", "--quiet", "--stdout")))


class _SlicedFrame:
    """A frame, by an object that returns all output at once: so its input is small.

    A block of one repeated byte grows most: from 4 bytes to 128 KiB.
    """

    _SLICE_BYTES = 256

    def __init__(self, decompressor: t.Any) -> None:
        self._decompressor = decompressor
        self.ended = False
        self.rest_bytes = 0

    def decode(self, data: memoryview) -> t.Iterator[bytes]:
        decompressor, found = self._decompressor, bytearray()
        for start in range(0, len(data), self._SLICE_BYTES):
            end = start + self._SLICE_BYTES
            found += decompressor.decompress(data[start:end])
            if decompressor.eof:
                self.ended, self.rest_bytes = True, len(decompressor.unused_data) + len(data[end:])
                break
            yield from _taken_from(found, PIECE_BYTES)
        yield from _taken_from(found, 1)


def _taken_from(found: bytearray, least: int) -> t.Iterator[bytes]:
    """Take pieces from the beginning while ``least`` bytes are left."""
    while len(found) >= least:
        with memoryview(found) as view:
            piece = bytes(view[:PIECE_BYTES])
        del found[:PIECE_BYTES]
        yield piece
