"""Lists the files of a host's selected backups for the controller, which fetches them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import LARGEST_MANIFEST
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload_plan import select_backups
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore


@dataclass(frozen=True)
class OfferRequest:
    """The backups that the controller asks for."""

    store: ReadableStore
    selection: Selection


def offer(request: OfferRequest, context: Context) -> Outcome:
    """Return each selected backup's size, time and manifest. Reads no payload and changes nothing."""
    store, now = request.store, context.clock()
    chosen = select_backups(store, request.selection, now, check_mode=False)
    names = [backup.filename for backup in chosen]
    manifests = store.read_many(map(manifest_name, names), LARGEST_MANIFEST + 1)
    files = [
        {
            "filename": name,
            "bytes": backup.size_bytes,
            "modified": backup.facts.modified_seconds,
            "manifest": base64.b64encode(data).decode("ascii") if isinstance(data, bytes) else None,
        }
        for name, backup, data in zip(names, chosen, manifests)
    ]
    values = {"changed": False, "location": store.location, "time": now.timestamp(), "files": files}
    return Outcome(values, store.warnings)
