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

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import (
    Backup,
    Group,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    NO_MANIFEST,
    Manifest,
    from_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    BackupName,
    label_for,
    manifest_name,
    parse,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


@dataclass(frozen=True)
class Selection:
    """Which backups are meant: those of these file names and of these databases, and the newest so many of each group.

    None asks for no such thing; a Selection of nothing but None is every backup.
    """

    names: tuple[str, ...] | None = None
    databases: tuple[str, ...] | None = None
    newest: int | None = None


EVERYTHING = Selection()


class Catalog:
    """The backups in a store, as they are when one asks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def select(self, selection: Selection) -> list[Backup]:
        """Return the backups of the names and databases that are meant, in no order. Without the place there are none.

        How many of each group comes last, when it is known which of them count: see ``newest_of_each``.
        """
        if not self._store.exists():
            return []
        files = set(self._store.names())
        names = [name for name in map(parse, self._candidates(files, selection)) if name is not None]
        if selection.databases is not None:
            labels = {label_for("database", database) for database in selection.databases}
            names = [name for name in names if not name.label or name.label in labels]
        backups = [backup for backup in (self._load(name, files) for name in names) if backup is not None]
        if selection.databases is not None:
            backups = [backup for backup in backups if backup.database in selection.databases]
        return backups

    def find(self, filename: str) -> Backup | None:
        """Return the backup of that file name, None when there is none."""
        name = parse(filename)
        return None if name is None else self._load(name, {manifest_name(filename)})

    def newest_good(self, group: Group, now: datetime) -> Backup | None:
        """Return the newest good backup of a group, None when there is none. Reads from the newest back, and no further."""
        label = label_for("globals" if group.kind == "globals" else "database", group.database)
        files = set(self._store.names())
        names = [name for name in map(parse, files) if name is not None and name.label == label]
        for name in sorted(names, key=lambda name: (name.stamp, name.filename), reverse=True):
            backup = self._load(name, files)
            if backup is not None and backup.state == "good" and backup.group == group and not backup.from_future(now):
                return backup
        return None

    @staticmethod
    def _candidates(files: set[str], selection: Selection) -> t.Iterable[str]:
        if selection.names is None:
            return files
        return [name for name in dict.fromkeys(selection.names) if name in files]

    def _load(self, name: BackupName, files: set[str]) -> Backup | None:
        facts = self._store.facts(name.filename)
        if facts is None:
            return None
        manifest = self._read_manifest(name) if manifest_name(name.filename) in files else NO_MANIFEST
        return Backup(name, self._store.path(name.filename), facts.size_bytes, facts.modified_at, manifest)

    def _read_manifest(self, name: BackupName) -> Manifest:
        data = self._store.read(manifest_name(name.filename), LARGEST_MANIFEST + 1)
        return NO_MANIFEST if data is None else from_bytes(data)


def _age_order(backup: Backup) -> tuple[datetime, str]:
    """The older, the smaller; those of one time by name."""
    return backup.created_at, backup.name.filename


def by_group(backups: t.Iterable[Backup]) -> dict[Group, list[Backup]]:
    """Return the backups of each group, in the order in which they came."""
    groups: dict[Group, list[Backup]] = {}
    for backup in backups:
        groups.setdefault(backup.group, []).append(backup)
    return groups


def newest_of_each(backups: t.Iterable[Backup], count: int, now: datetime) -> list[Backup]:
    """Return the newest ``count`` backups of each group; one from the future is not among them."""
    groups = by_group(backup for backup in backups if not backup.from_future(now))
    return [backup for members in groups.values() for backup in heapq.nlargest(count, members, key=_age_order)]


def read_again(backup: Backup, store: Store) -> Backup:
    """Return the backup as its payload says: read from end to end, and corrupt if the digest is not the manifest's."""
    if not backup.manifest.usable or payload_digest(store, backup.name.filename) == backup.manifest.payload_sha256:
        return backup
    return backup._replace(corrupt=True)


def payload_digest(store: Store, name: str) -> str:
    """Read a file of a store from end to end, and return its SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in store.chunks(name):
        digest.update(chunk)
    return digest.hexdigest()
