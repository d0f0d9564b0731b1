"""The archive formats, by name."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import ArchiveFormat
from ansible_collections.lastgood.database.plugins.module_utils._archives.tar import Tar, TarGzip
from ansible_collections.lastgood.database.plugins.module_utils._archives.zip import Zip

FORMATS: dict[str, ArchiveFormat] = {"zip": Zip(), "tar.gz": TarGzip(), "tar": Tar()}

_ENDINGS = {".zip": "zip", ".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar": "tar"}


def format_by_ending(filename: str) -> ArchiveFormat | None:
    """Return the format that a file name ends with, None when it ends with none."""
    return next((FORMATS[name] for ending, name in _ENDINGS.items() if filename.endswith(ending)), None)
