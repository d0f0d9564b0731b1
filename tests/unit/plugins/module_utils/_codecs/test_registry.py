# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import LEVELS, Codec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import codec_for
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
