# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Zstandard, RFC 8878: by the standard library (Python 3.14) or the library zstandard, else by the program zstd."""

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import InlineCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._errors import LibraryMissing
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 3, "small": 12}


def zstd_codec(level: Level, runner: Runner) -> Codec:
    """Return the best way to make Zstandard that the host has. Raises LibraryMissing where it has none."""
    codec = _standard_library(level) or _zstandard(level) or _program(level, runner)
    if codec is None:
        raise LibraryMissing(
            "compression=zstd needs Python 3.14, the Python library zstandard, or the program zstd, and this host has none.",
            "Install the package zstd (Debian, Ubuntu, RHEL, SUSE and Alpine call it so), or use compression=gzip.",
            library="zstandard",
        )
    return codec


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
