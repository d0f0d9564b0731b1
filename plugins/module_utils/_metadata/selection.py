"""Select backups: by file name, by database, and the newest of each group."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import heapq
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupMissing
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group, is_future
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order, why_not_candidate
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import GLOBALS_LABEL, label_for


@dataclass(frozen=True)
class Selection:
    """Selects backups with one of these names, of one of these databases, and among the ``newest`` of their group.

    The database ``@globals`` selects the globals of clusters. None sets no condition: ``EVERYTHING`` selects every backup.
    """

    names: tuple[str, ...] | None = None
    databases: tuple[str, ...] | None = None
    newest: int | None = None


EVERYTHING = Selection()


def labels_of(databases: t.Collection[str]) -> set[str]:
    """Return the labels that the file names of these databases' backups may have."""
    labels = {label_for("database", database) for database in databases}
    return labels | {GLOBALS_LABEL} if GLOBALS_LABEL in databases else labels


def selector_for(kind: str, database: str | None) -> str | None:
    """Return the item of ``Selection.databases`` for a database, or for a cluster's globals."""
    return GLOBALS_LABEL if kind == "globals" else database


def missing_from(found: t.Collection[Backup], selection: Selection) -> list[str]:
    """Return the names and databases of a selection that match none of the backups."""
    names = {backup.name.filename for backup in found}
    databases = {selector_for(backup.name.kind, backup.database) for backup in found}
    missing = [name for name in selection.names or () if name not in names]
    missing += [database for database in selection.databases or () if database not in databases]
    return list(dict.fromkeys(missing))


def missing_error(missing: t.Collection[str], location: str, remedy: str) -> BackupMissing:
    """Return the error for names and databases of a selection that match no backup."""
    return BackupMissing(
        f"{location} has no backup of these names or databases: {', '.join(missing)}.", remedy, missing=list(missing)
    )


def newest_of_each(backups: t.Iterable[Backup], count: int, now: datetime) -> list[Backup]:
    """Return the newest ``count`` backups of each group, whatever their state. Backups from the future are left out."""
    groups: dict[Group, list[tuple[datetime, str, Backup]]] = {}
    for backup in backups:
        if is_future(backup.created_at, now):
            continue
        newest = groups.setdefault(backup.group, [])
        item = (*age_order(backup), backup)
        if len(newest) < count:
            heapq.heappush(newest, item)
        else:
            heapq.heappushpop(newest, item)
    return [item[-1] for newest in groups.values() for item in newest]


def passed_over(found: t.Iterable[Backup], chosen: t.Collection[Backup], now: datetime) -> list[str]:
    """Describe the backups that are newer than the newest chosen one of their group, each with the reason.

    Compares an unverified backup with all groups of its database: no manifest says which of them it belongs to.
    """
    newest: dict[Group, tuple[datetime, str]] = {}
    of_label: dict[str, tuple[datetime, str]] = {}
    for backup in chosen:
        age, group = age_order(backup), backup.group._replace(partial=())
        newest[group] = max(age, newest.get(group, age))
        of_label[backup.name.label] = max(age, of_label.get(backup.name.label, age))
    names = {backup.name.filename for backup in chosen}
    newer = []
    for backup in found:
        since = of_label.get(backup.name.label) if backup.state == "unverified" else newest.get(backup.group._replace(partial=()))
        if since is not None and age_order(backup) > since and backup.name.filename not in names:
            newer.append(backup)
    return [f"{backup.name.filename} ({why_not_candidate(backup, now)})" for backup in sorted(newer, key=age_order)]
