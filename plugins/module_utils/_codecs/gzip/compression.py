"""The face of gzip."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class GzipCompression:
    """The compression ``gzip``."""

    name: t.ClassVar[str] = "gzip"
    suffix: t.ClassVar[str] = ".gz"

    def codec(self, level: Level, runner: Runner) -> Codec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.gzip.codec import gzip_codec

        return gzip_codec(level, runner)

    def decoding(self, runner: Runner) -> Decoding:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.gzip.codec import gzip_decoding

        return gzip_decoding()
