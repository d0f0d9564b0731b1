"""The option for the format of an archive."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import ArchiveFormat
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS, format_by_ending
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


def archive_format_from(params: Params) -> ArchiveFormat:
    """Return the format of an archive. Raises ArgumentInvalid if neither ``format`` nor the suffix of ``dest`` gives it."""
    name: str | None = params["format"]
    found = format_by_ending(params["dest"]) if name is None else FORMATS[name]
    if found is None:
        raise ArgumentInvalid(f"dest is {params['dest']!r}, which does not say what format it has.", "Give format as well.")
    return found
