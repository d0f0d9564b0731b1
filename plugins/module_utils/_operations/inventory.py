# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Say which backups are here, and for each group which one is the last good one."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import (
    EVERYTHING,
    Catalog,
    Selection,
    by_group,
    newest_of_each,
    read_again,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store

SortBy = t.Literal["filename", "created_at", "modified_at", "size"]
SORT_BY: tuple[SortBy, ...] = t.get_args(SortBy)

_SORT_KEYS: dict[SortBy, t.Callable[[Backup], t.Any]] = {
    "filename": lambda backup: backup.name.filename,
    "created_at": lambda backup: (backup.created_at, backup.name.filename),
    "modified_at": lambda backup: (backup.modified_at, backup.name.filename),
    "size": lambda backup: (backup.size_bytes, backup.name.filename),
}


@dataclass(frozen=True)
class InventoryRequest:
    """Which backups are asked for, and which page of them. A ``page_size`` of 0 is all on one page."""

    store: Store
    selection: Selection = EVERYTHING
    states: t.Collection[str] | None = None
    sort_by: SortBy = "filename"
    descending: bool = False
    page: int = 1
    page_size: int = 100
    checksum: bool = False


def inventory(request: InventoryRequest, now: datetime) -> dict[str, t.Any]:
    """Return the facts about the backups that are asked for."""
    store = request.store
    backups = _matching(request, now)
    backups.sort(key=_SORT_KEYS[request.sort_by], reverse=request.descending)
    return {
        "directory": store.location,
        "exists": store.exists(),
        "count": len(backups),
        "total_bytes": sum(backup.size_bytes for backup in backups),
        "pages": _pages(len(backups), request.page_size),
        "files": [backup.record(now) for backup in _page(backups, request)],
        "databases": [_summary(group, members, now) for group, members in sorted(by_group(backups).items(), key=_group_key)],
    }


def _matching(request: InventoryRequest, now: datetime) -> list[Backup]:
    """Return the backups that are asked for, in no order: those of the states first, then the newest of these."""
    backups = Catalog(request.store).select(request.selection)
    if request.checksum:
        backups = [read_again(backup, request.store) for backup in backups]
    if request.states is not None:
        backups = [backup for backup in backups if backup.state in request.states]
    newest = request.selection.newest
    return backups if newest is None else newest_of_each(backups, newest, now)


def _pages(count: int, page_size: int) -> int:
    if page_size == 0:
        return min(count, 1)
    return -(-count // page_size)


def _page(backups: list[Backup], request: InventoryRequest) -> list[Backup]:
    if request.page_size == 0:
        return backups if request.page == 1 else []
    start = (request.page - 1) * request.page_size
    return backups[start : start + request.page_size]


def _summary(group: Group, members: list[Backup], now: datetime) -> dict[str, t.Any]:
    good = [backup for backup in members if backup.state == "good"]
    newest = next(iter(newest_of_each(good, 1, now)), None)
    return {
        "origin": group.origin,
        "engine": group.engine,
        "instance": group.instance,
        "kind": group.kind,
        "database": group.database,
        "count": len(members),
        "newest_good": None if newest is None else newest.name.filename,
        "age_seconds": None if newest is None else newest.age_seconds(now),
        "bytes": sum(backup.size_bytes for backup in members),
    }


def _group_key(item: tuple[Group, list[Backup]]) -> tuple[str, ...]:
    group = item[0]
    return tuple(text or "" for text in (group.database, group.kind, group.engine, group.instance, group.origin))
