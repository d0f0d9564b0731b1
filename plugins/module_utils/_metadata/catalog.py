# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What is here: the backups in a store, read only as far as the answer needs."""

from __future__ import annotations

import hashlib
import heapq
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    NO_MANIFEST,
    Manifest,
    from_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    GLOBALS_LABEL,
    BackupName,
    label_for,
    manifest_name,
    parse,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


@dataclass(frozen=True)
class Selection:
    """Which backups are meant: those of these file names and of these databases, and the newest so many of each group.

    A cluster's globals are meant by the name that stands for them in file names, ``@globals``. None asks for no such thing; a
    Selection of nothing but None is every backup.
    """

    names: tuple[str, ...] | None = None
    databases: tuple[str, ...] | None = None
    newest: int | None = None


EVERYTHING = Selection()


class Catalog:
    """The backups in a store, as they are when one asks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def files(self) -> set[str]:
        """Return the names of all files; without the place there are none."""
        return set(self._store.names()) if self._store.exists() else set()

    def select(self, selection: Selection, files: set[str] | None = None) -> t.Iterator[Backup]:
        """Find the backups of the names and databases that are meant, in no order; among these ``files``, if they are given.

        How many of each group comes last, when it is known which of them count: see ``newest_of_each``.
        """
        files = self.files() if files is None else files
        databases = selection.databases
        labels = None if databases is None else {"", *labels_of(databases)}
        for file in files if selection.names is None else files.intersection(selection.names):
            name = parse(file)
            if name is None or (labels is not None and name.label not in labels):
                continue
            backup = self._load(name, files)
            if backup is not None and (databases is None or called(backup) in databases):
                yield backup

    def find(self, filename: str) -> Backup | None:
        """Return the backup of that file name, None when there is none."""
        name = parse(filename)
        return None if name is None else self._load(name, {manifest_name(filename)})

    def newest_good(self, groups: t.Iterable[Group], now: datetime, files: t.Iterable[str] | None = None) -> dict[Group, Backup]:
        """Return the newest good backup of each group that has one. Reads from the newest back, and no further.

        ``files`` are the names in the store, where they are known already. Without the place there are no backups.
        """
        files = self.files() if files is None else set(files)
        by_label: dict[str, list[BackupName]] = {}
        for name in filter(None, map(parse, files)):
            by_label.setdefault(name.label, []).append(name)
        found = {}
        for group in groups:
            # An older tool's name leaves it to the manifest of which database it is.
            names = by_label.get(_label_of(group), []) + by_label.get("", [])
            for name in sorted(names, key=lambda name: (name.stamp, name.filename), reverse=True):
                backup = self._load(name, files)
                if backup is not None and backup.state == "good" and backup.group == group and not backup.from_future(now):
                    found[group] = backup
                    break
        return found

    def _load(self, name: BackupName, files: set[str]) -> Backup | None:
        facts = self._store.facts(name.filename)
        if facts is None:
            return None
        manifest = self._read_manifest(name) if manifest_name(name.filename) in files else NO_MANIFEST
        return Backup(name, self._store.path(name.filename), facts.size_bytes, facts.modified_at, manifest)

    def _read_manifest(self, name: BackupName) -> Manifest:
        data = self._store.read(manifest_name(name.filename), LARGEST_MANIFEST + 1)
        return NO_MANIFEST if data is None else from_bytes(data)


def _label_of(group: Group) -> str:
    return label_for("globals" if group.kind == "globals" else "database", group.database)


def labels_of(databases: t.Collection[str]) -> set[str]:
    """Return what may stand in the file names of these databases' backups."""
    labels = {label_for("database", database) for database in databases}
    return labels | {GLOBALS_LABEL} if GLOBALS_LABEL in databases else labels


def called(backup: Backup) -> str | None:
    """Return what a selection calls the database of a backup."""
    return GLOBALS_LABEL if backup.name.kind == "globals" else backup.database


def age_order(backup: Backup) -> tuple[datetime, str]:
    """The older, the smaller; those of one time by name."""
    return backup.created_at, backup.name.filename


def newest_of_each(backups: t.Iterable[Backup], count: int, now: datetime) -> list[Backup]:
    """Return the newest ``count`` backups of each group; one from the future is not among them."""
    groups: dict[Group, list[tuple[datetime, str, Backup]]] = {}
    for backup in backups:
        if backup.from_future(now):
            continue
        newest = groups.setdefault(backup.group, [])
        item = (*age_order(backup), backup)
        if len(newest) < count:
            heapq.heappush(newest, item)
        else:
            heapq.heappushpop(newest, item)
    return [item[-1] for newest in groups.values() for item in newest]


def is_sound(store: Store, backup: Backup) -> bool:
    """Read a payload from end to end, and return whether it has the digest in its manifest. What can't be read has not.

    Raises StoreFailed where we may not read it: that says nothing of the payload.
    """
    digest = hashlib.sha256()
    try:
        for chunk in store.chunks(backup.name.filename):
            digest.update(chunk)
    except StoreFailed as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        return False
    return digest.hexdigest() == backup.manifest.payload_sha256
