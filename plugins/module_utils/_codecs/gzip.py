# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""gzip, RFC 1952: by python-isal where it can be imported, else by the program pigz, else by zlib."""

from __future__ import annotations

import zlib

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Level
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import InlineCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_ISAL_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 2, "small": 3}
_ZLIB_LEVELS: dict[Level, int] = {"fast": 1, "balanced": 6, "small": 9}
_GZIP_WINDOW = 31  # zlib's own number for: the largest window, in a gzip container


def gzip_codec(level: Level, runner: Runner) -> Codec:
    """Return the fastest way to gzip that the host has."""
    return _isal(level) or _pigz(level, runner) or _zlib(level)


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
    return ProgramCodec("pigz", runner, (program, "--no-name", "--stdout", f"-{_ZLIB_LEVELS[level]}"))


def _zlib(level: Level) -> Codec:
    return InlineCodec(
        f"zlib {zlib.ZLIB_RUNTIME_VERSION}", lambda: zlib.compressobj(_ZLIB_LEVELS[level], zlib.DEFLATED, _GZIP_WINDOW)
    )
