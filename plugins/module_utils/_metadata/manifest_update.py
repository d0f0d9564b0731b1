"""Change the manifest of a good backup, unless it was deleted or replaced meanwhile."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


def update_manifest(store: Store, backup: Backup, **values: t.Any) -> Backup | None:
    """Set values in a good backup's manifest, and return the changed backup.

    Changes nothing and returns None if the backup was deleted or replaced, or is no longer good. Call it only while
    holding the store's lock.
    """
    filename = backup.name.filename
    current = Catalog(store).find(filename)
    if current is None or current.state != "good" or not _is_same(current, backup):
        return None
    rewritten = current._replace(manifest=current.manifest._replace(**values))
    store.replace(manifest_name(filename), rewritten.manifest.to_bytes(), like=filename)
    return rewritten


def _is_same(current: Backup, backup: Backup) -> bool:
    return (current.group, current.manifest.payload_sha256) == (backup.group, backup.manifest.payload_sha256)
