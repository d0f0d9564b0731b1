"""Finds the backups in a store, and reads no more files than the answer needs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group, is_future
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import (
    newer_candidate,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    NO_MANIFEST,
    from_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    BackupName,
    label_for,
    manifest_name,
    parse,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection, labels_of, selector_for
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore

_WARNINGS_AT_MOST = 3
_BATCH = 128  # files that are read at a time: enough to hide a network's delay, few enough to be held in memory


class Newest(t.NamedTuple):
    """The newest backups of a group.

    ``good`` is the last good backup. ``created_at`` is the newest time of any backup that is not from the future, since its
    state may change. ``unread`` has the newer backups whose manifest can't be read.
    """

    good: Backup | None = None
    created_at: datetime | None = None
    unread: tuple[Backup, ...] = ()


class Catalog:
    """The backups in a store, read anew by each call."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store

    def files(self) -> set[str]:
        """Return the names of all files. A store that does not exist has none."""
        return set(self._store.names()) if self._store.exists() else set()

    def select(self, selection: Selection, files: set[str] | None = None) -> t.Iterator[Backup]:
        """Yield the backups with the selected names and databases, ordered by file name.

        ``files`` are the names in the store, if the caller has listed them already. Does not apply ``selection.newest``:
        the caller knows which backups count, and then calls ``newest_of_each``.
        """
        files = self.files() if files is None else files
        databases = selection.databases
        labels = None if databases is None else {"", *labels_of(databases)}
        # Sorted, so that files that were written one after another are read one after another.
        candidates = map(parse, sorted(files if selection.names is None else files.intersection(selection.names)))
        names = (name for name in candidates if name is not None and (labels is None or name.label in labels))
        for backup in self._load(names):
            if databases is None or selector_for(backup.name.kind, backup.database) in databases:
                yield backup

    def find(self, filename: str) -> Backup | None:
        """Return the backup with that file name, None if it does not exist."""
        return next(self.find_all([filename]), None)

    def find_all(self, filenames: t.Sequence[str]) -> t.Iterator[Backup]:
        """Yield the backups with those file names, in their order. Skips those that do not exist."""
        return self._load(filter(None, map(parse, filenames)))

    def newest_good(self, groups: t.Iterable[Group], now: datetime, files: t.Iterable[str] | None = None) -> dict[Group, Backup]:
        """Return the last good backup of each group that has one. Reads backwards from the newest, as far as needed.

        ``files`` are the names in the store, if the caller has listed them already.
        """
        files = self.files() if files is None else set(files)
        by_label: dict[str, list[BackupName]] = {}
        for name in filter(None, map(parse, files)):
            by_label.setdefault(name.label, []).append(name)
        found = {}
        for group in groups:
            # An older tool's file name has no database: the manifest says which one it is.
            names = by_label.get(_label_of(group), []) + by_label.get("", [])
            newest = self.newest_of(group, names, now).good
            if newest is not None:
                found[group] = newest
        return found

    def newest_of(self, group: Group, names: t.Iterable[BackupName], now: datetime) -> Newest:
        """Return a group's newest backups. ``names`` has all its backups. Reads backwards from the newest, as far as needed."""
        newest: Backup | None = None
        latest: datetime | None = None
        unread: list[Backup] = []
        for name in sorted(names, key=lambda name: (name.stamp, name.filename), reverse=True):
            if newest is not None and name.stamp < newest.created_at:  # created_at is never later than the stamp
                break
            backup = next(self._load([name]), None)
            if backup is None or is_future(backup.created_at, now) or not (backup.group == group or backup.state == "unverified"):
                continue
            latest = backup.created_at if latest is None else max(latest, backup.created_at)
            if backup.unread is not None:
                unread.append(backup)
            newest = newer_candidate(newest, backup, now)
        return Newest(newest, latest, tuple(unread))

    def _load(self, names: t.Iterable[BackupName]) -> t.Iterator[Backup]:
        """Yield the backups that exist, with their manifests. Reads many at a time, since a store may be far away."""
        store, rest = self._store, iter(names)
        while batch := list(itertools.islice(rest, _BATCH)):
            facts_of = store.facts_of([name.filename for name in batch])
            present = [(name, facts) for name, facts in zip(batch, facts_of) if facts is not None]
            # Also those that were not listed: a manifest may have been put in place since.
            manifests = store.read_many([manifest_name(name.filename) for name, _facts in present], LARGEST_MANIFEST + 1)
            for (name, facts), data in zip(present, manifests):
                unread = data if isinstance(data, StoreFailed) else None
                manifest = NO_MANIFEST if data is None or isinstance(data, StoreFailed) else from_bytes(data)
                yield Backup(name, store.path(name.filename), facts, manifest, unread=unread)


def _label_of(group: Group) -> str:
    return label_for("globals" if group.kind == "globals" else "database", group.database)


def unread_warnings(backups: t.Iterable[Backup]) -> list[str]:
    """Return a warning for each backup whose manifest can't be read: the first few by name, and how many more."""
    unread = [(backup.path, backup.unread.problem) for backup in backups if backup.unread is not None]
    warnings = [f"The manifest of {path} can't be read, so that it does not count: {problem}" for path, problem in unread]
    more = len(warnings) - _WARNINGS_AT_MOST
    return warnings if more <= 0 else [*warnings[:_WARNINGS_AT_MOST], f"{more} more manifests can't be read."]
