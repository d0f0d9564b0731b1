# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Which codec a compression is. Imported by name, so that the packer which ships a module finds every file."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gzip import gzip_codec, gzip_decoding
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.zstd import zstd_codec, zstd_decoding
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Compression
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


def codec_for(compression: Compression, level: Level, runner: Runner) -> Codec:
    """Return the codec to encode with. Raises LibraryMissing where the host has nothing that could."""
    if compression == "gzip":
        return gzip_codec(level, runner)
    if compression == "zstd":
        return zstd_codec(level, runner)
    return PlainCodec()


def decoder_for(compression: Compression, runner: Runner) -> Decoding:
    """Return the way to decode. Raises LibraryMissing where the host has nothing that could."""
    if compression == "gzip":
        return gzip_decoding()
    if compression == "zstd":
        return zstd_decoding(runner)
    return PlainCodec()
