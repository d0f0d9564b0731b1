"""Pin and label backups in their manifests.

plan     which manifests change
         check mode stops here, and so does a run that has nothing to change
apply    under the lock: plan again from the current manifests, and replace each in one step
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    Interrupted,
    ManifestUnusable,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import NewLabels, relabelled
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection, missing_error, missing_from
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store

_REMEDY = "List the backups with backup_facts. No backup was changed."


@dataclass(frozen=True)
class LabelRequest:
    """The backups to pin or unpin (None: neither), and the labels to set or, if the value is None, to remove."""

    store: Store
    names: tuple[str, ...]
    pinned: bool | None = None
    labels: NewLabels = field(default_factory=dict)


@dataclass(frozen=True)
class _Change:
    before: Backup
    after: Backup

    @property
    def changes(self) -> bool:
        return self.before.manifest != self.after.manifest


def label(request: LabelRequest, context: Context) -> Outcome:
    """Pin and label. Check mode writes nothing, and returns the plan."""
    store, now = request.store, context.clock()
    changes = _plan(request, now)
    failure: BackupError | None = None
    if any(change.changes for change in changes):
        store.check()
        if not context.check_mode:
            with store.lock():
                changes, failure = _apply(store, _plan(request, now), context)
    values = {
        "changed": any(change.changes for change in changes),
        "backups": [change.after.record(now) for change in changes],
    }
    return Outcome(values, store.warnings, failure, diff=lambda: diff_of(store.location, *_lines(changes)))


def _plan(request: LabelRequest, now: datetime) -> list[_Change]:
    """Return the change of each backup, in the order of the names. Raises BackupMissing, ManifestUnusable, ArgumentInvalid."""
    store, names = request.store, tuple(dict.fromkeys(request.names))
    found = list(Catalog(store).find_all(names))
    if missing := missing_from(found, Selection(names=names)):
        raise missing_error(missing, store.location, _REMEDY)
    return [_Change(backup, _relabelled(backup, request, now)) for backup in found]


def _relabelled(backup: Backup, request: LabelRequest, now: datetime) -> Backup:
    if backup.unread is not None:
        raise backup.unread
    if backup.state == "unverified":
        raise ManifestUnusable(
            f"{backup.path} has no manifest that is its own and of a known version, so that it can't be pinned or labelled.",
            "Verify it (backup_verify with the level structure makes a manifest where there is none). No backup was changed.",
        )
    return backup._replace(manifest=relabelled(backup.manifest, request.pinned, request.labels, now))


def _apply(store: Store, planned: list[_Change], context: Context) -> tuple[list[_Change], BackupError | None]:
    """Write the changed manifests. Return each backup before and after, and the error that ended the run."""
    applied: list[_Change] = []
    failure: BackupError | None = None
    for change in planned:
        try:
            if failure is None and change.changes:
                _write(store, change.after, context)
        except BackupError as error:
            failure = error
        applied.append(change if failure is None else _Change(change.before, change.before))
    return applied, failure


def _write(store: Store, backup: Backup, context: Context) -> None:
    """Replace a manifest, and delete it if the payload was deleted meanwhile, as can happen in a store without locks."""
    if context.is_stopped():
        raise Interrupted("The run was ended before all was pinned or labelled.", "See backups, and run it again.")
    name = backup.filename
    store.replace(manifest_name(name), backup.manifest.to_bytes(), like=name)
    if store.facts(name) is None:
        store.remove(manifest_name(name))
        raise missing_error([name], store.location, "It was deleted meanwhile. See backups, and run it again.")


def _lines(changes: t.Iterable[_Change]) -> tuple[list[str], list[str]]:
    """Return the pin and the labels of each backup, before and after."""
    changes = list(changes)
    return [_line(change.before) for change in changes], [_line(change.after) for change in changes]


def _line(backup: Backup) -> str:
    labels = json.dumps(dict(backup.manifest.labels or {}), sort_keys=True, ensure_ascii=False)
    return f"{backup.filename}  ({'pinned' if backup.pinned else 'not pinned'}, labels: {labels})"
