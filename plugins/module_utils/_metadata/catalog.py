# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What is here: the backups in a store, read only as far as the answer needs."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import heapq
import itertools
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    NO_MANIFEST,
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

_ROT = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)  # what file systems say of data that the disk, or their checksum, disowns
_BATCH = 128  # files that are asked for at a time: enough to hide a network's delay, few enough to be kept in memory


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
        """Find the backups of the names and databases that are meant, by file name; among these ``files``, if they are given.

        How many of each group comes last, when it is known which of them count: see ``newest_of_each``.
        """
        files = self.files() if files is None else files
        databases = selection.databases
        labels = None if databases is None else {"", *labels_of(databases)}
        # In order, since what lies side by side on the disk and in time is then looked at side by side.
        candidates = map(parse, sorted(files if selection.names is None else files.intersection(selection.names)))
        names = (name for name in candidates if name is not None and (labels is None or name.label in labels))
        for backup in self._load(names, files):
            if databases is None or called(backup.name.kind, backup.database) in databases:
                yield backup

    def find(self, filename: str) -> Backup | None:
        """Return the backup of that file name, None when there is none."""
        return next(self.find_all([filename]), None)

    def find_all(self, filenames: t.Sequence[str]) -> t.Iterator[Backup]:
        """Return the backups of those file names, in their order, without those that are not there."""
        return self._load(filter(None, map(parse, filenames)), {manifest_name(filename) for filename in filenames})

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
            newest = self._newest_good(group, names, now, files)
            if newest is not None:
                found[group] = newest
        return found

    def _newest_good(self, group: Group, names: list[BackupName], now: datetime, files: set[str]) -> Backup | None:
        newest: Backup | None = None
        for name in sorted(names, key=lambda name: (name.stamp, name.filename), reverse=True):
            if newest is not None and name.stamp < newest.created_at:  # a stamp is never before the backup's own time
                break
            backup = next(self._load([name], files), None)
            if backup is None or backup.state != "good" or backup.group != group or backup.from_future(now):
                continue
            newest = backup if newest is None else max(newest, backup, key=age_order)
        return newest

    def _load(self, names: t.Iterable[BackupName], files: set[str]) -> t.Iterator[Backup]:
        """Read what there is to know of those that are there, many at a time: a store may be far away."""
        store, rest = self._store, iter(names)
        while batch := list(itertools.islice(rest, _BATCH)):
            facts_of = store.facts_of([name.filename for name in batch])
            there = [(name, manifest_name(name.filename), facts) for name, facts in zip(batch, facts_of) if facts is not None]
            sidecars = [sidecar for _name, sidecar, _facts in there if sidecar in files]
            manifests = dict(zip(sidecars, store.read_many(sidecars, LARGEST_MANIFEST + 1)))
            for name, sidecar, facts in there:
                data = manifests.get(sidecar)
                manifest = NO_MANIFEST if data is None else from_bytes(data)
                yield Backup(name, store.path(name.filename), facts, manifest)


def _label_of(group: Group) -> str:
    return label_for("globals" if group.kind == "globals" else "database", group.database)


def labels_of(databases: t.Collection[str]) -> set[str]:
    """Return what may stand in the file names of these databases' backups."""
    labels = {label_for("database", database) for database in databases}
    return labels | {GLOBALS_LABEL} if GLOBALS_LABEL in databases else labels


def called(kind: str, database: str | None) -> str | None:
    """Return what a selection calls a database, or a cluster's globals."""
    return GLOBALS_LABEL if kind == "globals" else database


def missing_from(found: t.Collection[Backup], selection: Selection) -> list[str]:
    """Return the names and the databases of a selection that none of the backups is of."""
    names = {backup.name.filename for backup in found}
    databases = {called(backup.name.kind, backup.database) for backup in found}
    missing = [name for name in selection.names or () if name not in names]
    missing += [database for database in selection.databases or () if database not in databases]
    return list(dict.fromkeys(missing))


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


@contextlib.contextmanager
def collector_paused() -> t.Iterator[None]:
    """Make records of many thousand backups without Python's cyclic collector: it would find none, and look again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def is_sound(store: Store, backup: Backup) -> bool:
    """Read a payload from end to end, and return whether it has the digest in its manifest. One that is gone has not.

    Raises StoreFailed where it could not be read for a reason that says nothing of it.
    """
    try:
        return sha256_of(store, backup.name.filename) == backup.manifest.payload_sha256
    except StoreFailed as error:
        if tells_of_rot(error) or isinstance(error.__cause__, FileNotFoundError):
            return False
        raise


def rewrite(store: Store, backup: Backup, **values: t.Any) -> Backup | None:
    """Change what a good backup's manifest says. Return the backup as it is then, None where it is no longer that one.

    Under the lock only.
    """
    filename = backup.name.filename
    current = Catalog(store).find(filename)
    if current is None or current.state != "good" or not _is_same(current, backup):
        return None
    rewritten = current._replace(manifest=current.manifest._replace(**values))
    store.replace(manifest_name(filename), rewritten.manifest.to_bytes(), like=filename)
    return rewritten


def _is_same(current: Backup, backup: Backup) -> bool:
    return (current.group, current.manifest.payload_sha256) == (backup.group, backup.manifest.payload_sha256)


def sha256_of(store: Store, name: str) -> str:
    """Read a file from end to end, and return its digest in hexadecimal."""
    digest = hashlib.sha256()
    with contextlib.closing(store.chunks(name)) as chunks:
        for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()


def tells_of_rot(error: StoreFailed) -> bool:
    """Whether a payload could not be read because of what lies on this host's disk.

    That we may not read it, or that a server would not say why, tells nothing of a backup.
    """
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _ROT
