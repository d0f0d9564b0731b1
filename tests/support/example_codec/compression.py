"""The face of the smallest compression.

docs/architecture.md, "Add a codec", refers to it. Its place in the collection is ``_codecs/xz/compression.py``.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class XzCompression:
    """The compression ``xz``."""

    name: t.ClassVar[str] = "xz"
    suffix: t.ClassVar[str] = ".xz"

    def codec(self, level: Level, runner: Runner) -> Codec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.xz.codec import xz_codec

        return xz_codec(level)

    def decoding(self, runner: Runner) -> Decoding:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.xz.codec import xz_decoding

        return xz_decoding()
