"""xz, by Python's own library. Its place in the collection is ``_codecs/xz/codec.py``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import lzma

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import (
    BufferingMember,
    InlineCodec,
    InlineDecoding,
)

_PRESETS: dict[Level, int] = {"fast": 0, "balanced": 3, "small": 6}


def xz_codec(level: Level) -> Codec:
    """Return the xz encoder."""
    return InlineCodec("lzma", lambda: lzma.LZMACompressor(preset=_PRESETS[level]))


def xz_decoding() -> Decoding:
    """Return the xz decoder."""
    return InlineDecoding(lambda: BufferingMember(lzma.LZMADecompressor(lzma.FORMAT_XZ)), (lzma.LZMAError,))
