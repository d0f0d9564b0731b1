"""The face of Zstandard."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class ZstdCompression:
    """The compression ``zstd``."""

    name: t.ClassVar[str] = "zstd"
    suffix: t.ClassVar[str] = ".zst"

    def codec(self, level: Level, runner: Runner) -> Codec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.zstd.codec import zstd_codec

        return zstd_codec(level, runner)

    def decoding(self, runner: Runner) -> Decoding:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.zstd.codec import zstd_decoding

        return zstd_decoding(runner)
