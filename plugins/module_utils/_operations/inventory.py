"""Report the backups in a store, and the last good backup of each group."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._collector import collector_paused
from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import (
    STATES,
    Backup,
    Group,
    is_future,
    time_facts,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog, unread_warnings
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import (
    age_order,
    newer_candidate,
    why_not_candidate,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import (
    EVERYTHING,
    Selection,
    newest_of_each,
    selector_for,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import GroupStatus, Status
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.run_facts import GroupFacts, run_facts, status_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore

SortBy = t.Literal["filename", "created_at", "modified_at", "size"]
SORT_BY: tuple[SortBy, ...] = t.get_args(SortBy)

_SORT_KEYS: dict[SortBy, t.Callable[[Backup], t.Any]] = {
    "filename": lambda backup: backup.name.filename,
    "created_at": lambda backup: backup.created_at,
    "modified_at": lambda backup: backup.modified_at,
    "size": lambda backup: backup.size_bytes,
}


@dataclass(frozen=True)
class InventoryRequest:
    """The backups to report, and the page of them. A ``page_size`` of 0 puts all on one page."""

    store: ReadableStore
    selection: Selection = EVERYTHING
    states: t.Collection[str] | None = None
    sort_by: SortBy = "filename"
    descending: bool = False
    page: int = 1
    page_size: int = 100
    checksum: bool = False

    def settles(self, summary: _Summary) -> bool:
        """Whether the listed backups of a group prove which one is its last good backup."""
        if self.selection.names is not None or (self.states is not None and "good" not in self.states):
            return False
        return summary.newest_good is not None or (self.selection.newest is None and self.states is None)

    def without_backups(self, status: Status, listed: t.Container[Group]) -> list[Group]:
        """Return the selected groups that runs know and that have no backup. Those with one are ``listed``."""
        if self.selection.names is not None or self.states is not None:
            return []
        wanted = self.selection.databases
        return [
            group
            for group in status.groups
            if group not in listed and (wanted is None or selector_for(group.kind, group.database) in wanted)
        ]


class _Line(t.NamedTuple):
    """The part of a backup that stays in memory until the page is determined."""

    key: t.Any
    filename: str
    corrupt: bool


@dataclass
class _Summary:
    """The totals and newest backups of a group, from the backups added so far."""

    count: int = 0
    bytes: int = 0
    newest_good: Backup | None = None
    newest: Backup | None = None
    history: GroupFacts = field(default_factory=GroupFacts)
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))

    def add(self, backup: Backup, now: datetime) -> None:
        self.count += 1
        self.bytes += backup.size_bytes
        self.states[backup.state] += 1
        if self.newest is None or age_order(backup) > age_order(self.newest):
            self.newest = backup
        self.newest_good = newer_candidate(self.newest_good, backup, now)
        if not is_future(backup.created_at, now):
            self.history.add(backup)

    def record(self, group: Group, status: Status, now: datetime) -> dict[str, t.Any]:
        newest = self.newest_good
        described = newest or self.newest
        known = status.groups.get(group, GroupStatus())
        return {
            **group.facts(),
            "source": known.source if described is None else described.manifest.source,
            "expected": _is_expected(group, status),
            "count": self.count,
            "states": self.states,
            "newest_good": None if newest is None else newest.name.filename,
            **time_facts("confirmed_at", None if newest is None else newest.last_confirmed_at(now)),
            "age_seconds": None if newest is None else newest.age_seconds(now),
            "bytes": self.bytes,
            "newest_good_payload_bytes": None if newest is None else newest.size_bytes,
            **self.history.record(known, status.runs, newest),
        }


@collector_paused()
def inventory(request: InventoryRequest, context: Context) -> Outcome:
    """Return the facts about the requested backups.

    Holds only the backups on the page in memory, since a store may have a hundred thousand; counts and drops the others.
    """
    store, now, catalog = request.store, context.clock(), Catalog(request.store)
    warnings: list[str] = []
    status = status_of(store, warnings)  # before the backups: one that a run stores meanwhile overrides its failure
    files = catalog.files()
    key_of = _SORT_KEYS[request.sort_by]
    lines: list[_Line] = []
    groups: dict[Group, _Summary] = collections.defaultdict(_Summary)
    unread: list[Backup] = []
    future: list[Backup] = []
    selected = _watched(catalog.select(request.selection, files), now, unread, future)
    for backup in _matching(request, selected, now, warnings):
        lines.append(_Line(key_of(backup), backup.name.filename, backup.corrupt))
        groups[backup.group].add(backup, now)
    warnings += unread_warnings(unread)
    if request.selection.newest is not None:
        newer = [backup for backup in future if backup.group in groups]
        warnings += [f"Newer, and passed over: {one.name.filename} ({why_not_candidate(one, now)})." for one in newer]
    for group in request.without_backups(status, groups):
        groups[group] = _Summary()
    lines.sort(reverse=request.descending)
    if unsettled := [group for group, summary in groups.items() if not request.settles(summary)]:
        # Backups that are not listed count as well, except those whose payload was read and is corrupt.
        files -= {line.filename for line in lines if line.corrupt}
        for group, newest in catalog.newest_good(unsettled, now, files).items():
            groups[group].newest_good = newest
    facts = {
        "directory": store.location,
        "exists": store.exists(),
        "count": len(lines),
        "total_bytes": sum(summary.bytes for summary in groups.values()),
        "pages": _pages(len(lines), request.page_size),
        "files": _records(_page(lines, request), catalog, status, now),
        "databases": [groups[group].record(group, status, now) for group in sorted(groups, key=_group_order)],
        **run_facts(status),
    }
    return Outcome({"ansible_facts": {"database_backups": facts}}, [*store.warnings, *warnings])


def _is_expected(group: Group, status: Status) -> bool:
    """Return whether runs back a group up, or try to. If no run is known, every group is expected."""
    known = status.groups.get(group)
    return not status.runs or (known is not None and known.address is not None)


def _watched(backups: t.Iterable[Backup], now: datetime, unread: list[Backup], future: list[Backup]) -> t.Iterator[Backup]:
    """Yield the backups, and collect those whose manifest can't be read and those from the future."""
    for backup in backups:
        if backup.unread is not None:
            unread.append(backup)
        if is_future(backup.created_at, now):
            future.append(backup)
        yield backup


def _matching(request: InventoryRequest, backups: t.Iterable[Backup], now: datetime, warnings: list[str]) -> t.Iterable[Backup]:
    """Return the requested backups, unsorted: selects by state first, then the newest of these."""
    newest, states = request.selection.newest, request.states
    if states is None:
        # Read no more payloads than are reported.
        return _read_again(backups if newest is None else newest_of_each(backups, newest, now), request, warnings)
    backups = (backup for backup in _read_again(backups, request, warnings) if backup.state in states)
    return backups if newest is None else newest_of_each(backups, newest, now)


def _read_again(backups: t.Iterable[Backup], request: InventoryRequest, warnings: list[str]) -> t.Iterable[Backup]:
    """Where the request has ``checksum``, read the payloads, and mark those with a wrong digest as corrupt.

    Does not read unverified backups: they have no digest to compare.
    """
    if not request.checksum:
        return backups
    return (backup if backup.state == "unverified" else _as_read(request.store, backup, warnings) for backup in backups)


def _as_read(store: ReadableStore, backup: Backup, warnings: list[str]) -> Backup:
    try:
        return backup if is_sound(store, backup) else backup._replace(corrupt=True)
    except StoreFailed as error:
        warnings.append(f"{backup.path} could not be read, and its state is the one on record: {error.problem}")
        return backup


def _records(lines: t.Iterable[_Line], catalog: Catalog, status: Status, now: datetime) -> list[dict[str, t.Any]]:
    corrupt = {line.filename: line.corrupt for line in lines}
    return [
        {
            **backup._replace(corrupt=corrupt[backup.filename]).record(now),
            **time_facts("uploaded_at", status.uploads.get(backup.filename)),
        }
        for backup in catalog.find_all(list(corrupt))
    ]


def _pages(count: int, page_size: int) -> int:
    if page_size == 0:
        return min(count, 1)
    return -(-count // page_size)


def _page(lines: list[_Line], request: InventoryRequest) -> list[_Line]:
    if request.page_size == 0:
        return lines if request.page == 1 else []
    start = (request.page - 1) * request.page_size
    return lines[start : start + request.page_size]


def _group_order(group: Group) -> tuple[str, ...]:
    return tuple(text or "" for text in (group.database, group.kind, group.engine, group.instance, group.origin, *group.partial))
