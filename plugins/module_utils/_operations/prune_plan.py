"""Plan a prune: the backups to delete and to retain, with reasons, and the files that dead runs left."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._collector import collector_paused
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog, unread_warnings
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import MANIFEST_SUFFIX, is_archive_partial, parse
from ansible_collections.lastgood.database.plugins.module_utils._metadata.pending import partials
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection, labels_of, selector_for
from ansible_collections.lastgood.database.plugins.module_utils._operations.named_deletion import (
    Named,
    WholeGroups,
    decide_by_name,
    decide_whole_groups,
)
from ansible_collections.lastgood.database.plugins.module_utils._retention import Decision, Entry, Rules, decide
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import UNNAMED_PREFIX

_LEFTOVER_STAYS = timedelta(days=1)


class Leftover(t.NamedTuple):
    """A file that a dead run left, and that is no backup."""

    filename: str
    size_bytes: int
    reason: str


@dataclass
class Plan:
    """The files to delete or to retain, and why."""

    decision: Decision
    leftovers: list[Leftover] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        return bool(self.decision.deleted or self.leftovers)


@dataclass(frozen=True)
class Planner:
    """Plans what to delete from a store. See ``PruneRequest`` for its fields."""

    store: Store
    choice: Rules | Named | WholeGroups
    databases: tuple[str, ...] | None
    groups: frozenset[Group] | None

    @property
    def selection(self) -> Selection:
        """The backups to plan for. Includes other groups with the same database name, so that the report mentions them."""
        if self.groups is None:
            return Selection(databases=self.databases)
        names = (selector_for(group.kind, group.database) for group in self.groups)
        return Selection(databases=tuple(name for name in names if name is not None))

    @collector_paused()
    def plan(self, now: datetime, sound: t.Container[str]) -> Plan:
        """Plan from a fresh listing. ``sound`` has the names of backups that are recorded as corrupt, but proved sound."""
        choice, catalog, selection = self.choice, Catalog(self.store), self.selection
        files = catalog.files()
        unread: list[Backup] = []
        backups = _entries(catalog.select(selection, files), sound, unread)
        if isinstance(choice, Rules):
            decision = decide(backups, choice, now, self.groups)
            return Plan(decision, list(_leftovers(self.store, selection, files, now)), warnings=unread_warnings(unread))
        if isinstance(choice, WholeGroups):
            decision = decide_whole_groups(backups, self.groups or frozenset())
            return Plan(decision, warnings=_warnings_of_pinned(decision))
        decision = decide_by_name(backups, choice, now)
        found = {ruling.backup.filename for ruling in decision.deleted}
        return Plan(decision, absent=[name for name in dict.fromkeys(choice.names) if name not in found])

    def warnings_of_unmatched(self, decision: Decision, groups: frozenset[Group] | None) -> list[str]:
        """Return a warning for each requested database and group without a backup: the name may be misspelled."""
        location = self.store.location
        found = {ruling.backup.group for ruling in decision.rulings()}
        databases = {selector_for(group.kind, group.database) for group in found}
        unmatched = [
            f"{location} has no backup of the database {name}." for name in self.databases or () if name not in databases
        ]
        return unmatched + sorted(
            f"{location} has no backup of {selector_for(group.kind, group.database)} with origin {group.origin}, "
            f"engine {group.engine} and instance {group.instance}."
            for group in (groups or frozenset()) - found
        )


def _warnings_of_pinned(decision: Decision) -> list[str]:
    return [
        f"{ruling.backup.filename} is pinned, and stays. To delete it, unpin it first (backup_label with pinned=false)."
        for ruling in decision.passed_over
    ]


def _entries(backups: t.Iterable[Backup], sound: t.Container[str], unread: list[Backup]) -> t.Iterator[Entry]:
    """Yield the entry of each backup, and collect those whose manifest can't be read in ``unread``."""
    for backup in backups:
        if backup.unread is not None:
            unread.append(backup)
        is_sound_again = backup.name.filename in sound and backup.state == "corrupt"
        yield Entry.of(_without_verdict(backup) if is_sound_again else backup)


def _without_verdict(backup: Backup) -> Backup:
    return backup._replace(manifest=backup.manifest._replace(verification=None))


def _leftovers(store: Store, selection: Selection, files: set[str], now: datetime) -> t.Iterator[Leftover]:
    """Yield the files that dead runs left over a day ago: partials, and manifests without a payload."""
    labels = None if selection.databases is None else labels_of(selection.databases)
    hidden = [file for file in files if file.startswith(".")]  # like all partials
    dead, _alive = partials(store, hidden)
    found = {file: (partial, "what a dead run was writing") for file, partial in dead.items()}
    orphans = [file for file in files if file.endswith(MANIFEST_SUFFIX) and file[: -len(MANIFEST_SUFFIX)] not in files]
    for file in orphans:
        payload = parse(file[: -len(MANIFEST_SUFFIX)])
        if payload is not None and not store.taken(payload.filename):
            found[file] = payload, "a manifest without its payload"
    others = [file for file in hidden if is_archive_partial(file) or file.startswith(UNNAMED_PREFIX)]
    candidates: list[tuple[str, str | None, str]] = []
    candidates += [(file, payload.label, reason) for file, (payload, reason) in found.items()]
    candidates += [(file, None, "what a dead run was writing") for file in others if not store.is_held(file)]
    for file, label, reason in sorted(candidates, key=lambda candidate: candidate[0]):
        facts = store.facts(file)
        is_selected = labels is None or label in labels
        if is_selected and facts is not None and now - facts.modified_at > _LEFTOVER_STAYS:
            yield Leftover(file, facts.size_bytes, reason)
