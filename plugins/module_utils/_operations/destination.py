"""The file that an operation writes beside the backups: an archive, or metrics."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._errors import DestinationUnusable
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


def check_destination(folder: LocalStore, filename: str) -> None:
    """Raise an error if the name is not free or a regular file's: another file would be lost, and a link followed."""
    if folder.facts(filename) is None and folder.taken(filename):
        raise DestinationUnusable(
            f"{folder.path(filename)} exists, and is no regular file.", "Name another, or the file that a link leads to."
        )
