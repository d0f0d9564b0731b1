"""gzip, RFC 1952: by python-isal where it can be imported, else by the program pigz, else by zlib.

Decodes by python-isal, else by zlib: no program decodes faster.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import zlib

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import (
    PIECE_BYTES,
    BufferingMember,
    InlineCodec,
    InlineDecoding,
    Member,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_ISAL_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 2, "small": 3}
# pigz -5 comes within 1 or 2 % of the size of -6, in five sixths of the time or less: that makes up for the digests.
_PIGZ_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 5, "small": 9}
_ZLIB_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 6, "small": 9}
_FLAGS_OFFSET = 3  # in a member's header
_GZIP_WINDOW = 31  # in zlib's terms: the largest window, in a gzip container


def gzip_codec(level: Level, runner: Runner) -> Codec:
    """Return the fastest way to gzip that the host has."""
    return _isal(level) or _pigz(level, runner) or _zlib(level)


def gzip_decoding() -> Decoding:
    """Return the fastest way to decode gzip that the host has."""
    try:
        from isal import igzip_lib
    except ImportError:
        return InlineDecoding(_ZlibMember, (zlib.error,))
    error: t.Any = igzip_lib.IsalError  # a class, whatever its stub says

    def make() -> Member:
        # Not by its decompressobj, which copies the remaining input for each piece of output.
        return BufferingMember(igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))

    return InlineDecoding(lambda: _IsalMember(make), (error, zlib.error))


class _IsalMember:
    """A member of a gzip stream, by python-isal, or by zlib if its header has flags: ISA-L misparses several optional
    fields that come in two pieces, and accepts invalid flags.
    """

    def __init__(self, make: t.Callable[[], Member]) -> None:
        self._make = make
        self._head = b""
        self._member: Member | None = None
        self.ended = False
        self.rest_bytes = 0

    def decode(self, data: memoryview) -> t.Iterator[bytes]:
        if self._member is None:
            self._head += bytes(data)
            if len(self._head) <= _FLAGS_OFFSET:
                return
            self._member = _ZlibMember() if self._head[_FLAGS_OFFSET] else self._make()
            data = memoryview(self._head)
        yield from self._member.decode(data)
        self.ended, self.rest_bytes = self._member.ended, self._member.rest_bytes


class _ZlibMember:
    """A member of a gzip stream, by zlib."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(_GZIP_WINDOW)
        self.ended = False
        self.rest_bytes = 0

    def decode(self, data: memoryview) -> t.Iterator[bytes]:
        decompressor, pending = self._decompressor, data
        while True:
            piece = decompressor.decompress(pending, PIECE_BYTES)
            pending = memoryview(decompressor.unconsumed_tail)
            yield piece
            if decompressor.eof or (not pending and len(piece) < PIECE_BYTES):
                break
        self.ended, self.rest_bytes = decompressor.eof, len(decompressor.unused_data)


def _isal(level: Level) -> Codec | None:
    try:
        import isal
        from isal import isal_zlib
    except ImportError:
        return None

    return InlineCodec(
        f"isal {isal.__version__}", lambda: isal_zlib.compressobj(_ISAL_LEVELS[level], isal_zlib.DEFLATED, _GZIP_WINDOW)
    )


def _pigz(level: Level, runner: Runner) -> Codec | None:
    program = runner.find_program("pigz")
    if program is None:
        return None
    # -n: neither name nor time in the header, so that equal content gives equal bytes.
    return ProgramCodec("pigz", runner, (program, "--no-name", "--stdout", f"-{_PIGZ_LEVELS[level]}"))


def _zlib(level: Level) -> Codec:
    return InlineCodec(
        f"zlib {zlib.ZLIB_RUNTIME_VERSION}", lambda: zlib.compressobj(_ZLIB_LEVELS[level], zlib.DEFLATED, _GZIP_WINDOW)
    )
