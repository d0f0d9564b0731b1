"""Record in the directory's status file when its backups were last sent, verified and drilled."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import GroupStatus, Status, merged
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status_file import update_status
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore


def note_uploads(
    store: ReadableStore, chosen: t.Iterable[Backup], sent: t.Collection[str], present: t.Collection[str], now: datetime
) -> list[str]:
    """Record which backups a server has: those that this run ``sent``, and those already ``present``. Return the warnings.

    A group counts as uploaded if the server has the newest of its chosen backups.
    """
    newest: dict[Group, Backup] = {}
    for backup in sorted(chosen, key=age_order):
        if backup.state == "good":
            newest[backup.group] = backup
    has = {*sent, *present}
    groups = {group: GroupStatus(uploaded_at=now) for group, backup in newest.items() if backup.filename in has}

    def change(status: Status) -> Status:
        uploads = {name: status.uploads.get(name, now) for name in present}
        return merged(status, Status(groups, uploads={**uploads, **dict.fromkeys(sent, now)}))

    return _update(store, change) if has else []


def note_verifications(store: ReadableStore, passed: t.Iterable[Backup], now: datetime, *, is_drill: bool) -> list[str]:
    """Record that backups passed a verification, and return the warnings."""
    known = GroupStatus(verified_at=now, drilled_at=now if is_drill else None)
    groups = {backup.group: known for backup in passed}
    return _update(store, lambda status: merged(status, Status(groups))) if groups else []


def _update(store: ReadableStore, change: t.Callable[[Status], Status]) -> list[str]:
    try:
        unusable = update_status(store, change)
    except BackupError as error:
        return [f"The time could not be recorded in the directory's status: {error.problem} {error.remedy}"]
    return [] if unusable is None else [f"The status of earlier runs is lost: {unusable.problem}"]
