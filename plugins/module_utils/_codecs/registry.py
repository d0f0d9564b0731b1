"""Which codec a compression is. Imported by name, so that the packer which ships a module finds every file."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gzip import gzip_codec, gzip_decoding
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.zstd import zstd_codec, zstd_decoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Compression
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class _Entry(t.NamedTuple):
    codec: t.Callable[[Level, Runner], Codec]
    decoding: t.Callable[[Runner], Decoding]


_CODECS: dict[Compression, _Entry] = {
    "gzip": _Entry(gzip_codec, lambda runner: gzip_decoding()),
    "zstd": _Entry(zstd_codec, zstd_decoding),
    "none": _Entry(lambda level, runner: PlainCodec(), lambda runner: PlainCodec()),
}
COMPRESSIONS = tuple(_CODECS)


def codec_for(compression: Compression, level: Level, runner: Runner) -> Codec:
    """Return the codec to encode with. Raises LibraryMissing where the host has nothing that could."""
    return _entry(compression).codec(level, runner)


def decoder_for(compression: Compression, runner: Runner) -> Decoding:
    """Return the way to decode. Raises LibraryMissing where the host has nothing that could."""
    return _entry(compression).decoding(runner)


def _entry(compression: Compression) -> _Entry:
    entry = _CODECS.get(compression)
    if entry is None:
        raise ArgumentInvalid(f"compression is {compression}, which is unknown.", f"Give one of {', '.join(_CODECS)}.")
    return entry
