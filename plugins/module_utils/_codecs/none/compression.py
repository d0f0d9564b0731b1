"""The face of a payload that is not compressed."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class NoCompression:
    """The compression ``none``: the payload is the content."""

    name: t.ClassVar[str] = "none"
    suffix: t.ClassVar[str] = ""

    def codec(self, level: Level, runner: Runner) -> Codec:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec

        return PlainCodec()

    def decoding(self, runner: Runner) -> Decoding:
        from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec

        return PlainCodec()
