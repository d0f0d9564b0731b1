"""Options for the path and the format of an archive."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import ArchiveFormat
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS, format_by_ending
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


def destination_from(params: Params) -> str:
    """Return the file to write. Raises ArgumentInvalid unless it is an absolute path of a file."""
    destination: str = params["dest"]
    if not os.path.isabs(destination) or os.path.basename(destination) in ("", ".", ".."):
        raise ArgumentInvalid(
            f"dest is {destination!r}, which is not the absolute path of a file.", "Name the file from the root on."
        )
    return destination


def archive_format_from(params: Params) -> ArchiveFormat:
    """Return the format of an archive. Raises ArgumentInvalid if neither ``format`` nor the suffix of ``dest`` gives it."""
    name: str | None = params["format"]
    found = format_by_ending(params["dest"]) if name is None else FORMATS[name]
    if found is None:
        raise ArgumentInvalid(f"dest is {params['dest']!r}, which does not say what format it has.", "Give format as well.")
    return found
