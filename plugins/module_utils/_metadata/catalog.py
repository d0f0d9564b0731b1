# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What is here: the backups in a store, read only as far as the answer needs."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import heapq
import itertools
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import FileMissing, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group, is_future
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import (
    age_order,
    newer_candidate,
    why_not_candidate,
)
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

READINGS = 3  # of a payload at most: two that agree on a wrong digest, and one more where a reading failed
_WARNINGS_AT_MOST = 3
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


class Newest(t.NamedTuple):
    """The newest good backup of a group, and the latest time of any that may count one day, whatever its state is now."""

    good: Backup | None = None
    created_at: datetime | None = None
    unread: tuple[Backup, ...] = ()


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
        for backup in self._load(names):
            if databases is None or called(backup.name.kind, backup.database) in databases:
                yield backup

    def find(self, filename: str) -> Backup | None:
        """Return the backup of that file name, None when there is none."""
        return next(self.find_all([filename]), None)

    def find_all(self, filenames: t.Sequence[str]) -> t.Iterator[Backup]:
        """Return the backups of those file names, in their order, without those that are not there."""
        return self._load(filter(None, map(parse, filenames)))

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
            newest = self.newest_of(group, names, now).good
            if newest is not None:
                found[group] = newest
        return found

    def newest_of(self, group: Group, names: t.Iterable[BackupName], now: datetime) -> Newest:
        """Return what is newest in a group, of which all names are among these. Reads from the newest back, and no further."""
        newest: Backup | None = None
        latest: datetime | None = None
        unread: list[Backup] = []
        for name in sorted(names, key=lambda name: (name.stamp, name.filename), reverse=True):
            if newest is not None and name.stamp < newest.created_at:  # a stamp is never before the backup's own time
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
        """Read what there is to know of those that are there, many at a time: a store may be far away."""
        store, rest = self._store, iter(names)
        while batch := list(itertools.islice(rest, _BATCH)):
            facts_of = store.facts_of([name.filename for name in batch])
            present = [(name, facts) for name, facts in zip(batch, facts_of) if facts is not None]
            # Whatever the listing says: it may have missed a manifest that was put in place meanwhile.
            manifests = store.read_many([manifest_name(name.filename) for name, _facts in present], LARGEST_MANIFEST + 1)
            for (name, facts), data in zip(present, manifests):
                unread = data if isinstance(data, StoreFailed) else None
                manifest = NO_MANIFEST if data is None or isinstance(data, StoreFailed) else from_bytes(data)
                yield Backup(name, store.path(name.filename), facts, manifest, unread=unread)


def _label_of(group: Group) -> str:
    return label_for("globals" if group.kind == "globals" else "database", group.database)


def labels_of(databases: t.Collection[str]) -> set[str]:
    """Return what may stand in the file names of these databases' backups."""
    labels = {label_for("database", database) for database in databases}
    return labels | {GLOBALS_LABEL} if GLOBALS_LABEL in databases else labels


def called(kind: str, database: str | None) -> str | None:
    """Return what a selection calls a database, or a cluster's globals."""
    return GLOBALS_LABEL if kind == "globals" else database


def passed_over(found: t.Iterable[Backup], chosen: t.Collection[Backup], now: datetime) -> list[str]:
    """Return, in words, the backups that are newer than the newest one chosen of their group, and why each does not count.

    An unverified backup may be of any group of its database, so it is compared with all of them.
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


def unread_warnings(backups: t.Iterable[Backup]) -> list[str]:
    """Return warnings of backups whose manifest can't be read: a few by name, and how many more there are."""
    unread = [(backup.path, backup.unread.problem) for backup in backups if backup.unread is not None]
    warnings = [f"The manifest of {path} can't be read, so that it does not count: {problem}" for path, problem in unread]
    more = len(warnings) - _WARNINGS_AT_MOST
    return warnings if more <= 0 else [*warnings[:_WARNINGS_AT_MOST], f"{more} more manifests can't be read."]


def missing_from(found: t.Collection[Backup], selection: Selection) -> list[str]:
    """Return the names and the databases of a selection that none of the backups is of."""
    names = {backup.name.filename for backup in found}
    databases = {called(backup.name.kind, backup.database) for backup in found}
    missing = [name for name in selection.names or () if name not in names]
    missing += [database for database in selection.databases or () if database not in databases]
    return list(dict.fromkeys(missing))


def newest_of_each(backups: t.Iterable[Backup], count: int, now: datetime) -> list[Backup]:
    """Return the newest ``count`` backups of each group; one from the future is not among them."""
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
    """Read a payload from end to end, and return whether it has the digest in its manifest. A deleted one has not.

    A wrong digest counts only when a second reading, from the medium, gives the same one. Raises StoreFailed where the payload
    can't be read, or where each reading differs: neither says that it is bad.
    """
    name, digests = backup.name.filename, set[str]()
    failure: StoreFailed | None = None
    for _number in range(READINGS):
        try:
            digest = sha256_of(store, name)
        except FileMissing:
            return False
        except StoreFailed as error:
            if failure is not None:
                raise
            failure = error
        else:
            if digest == backup.manifest.payload_sha256:
                return True
            if digest in digests:
                return False
            digests.add(digest)
        store.drop_cache(name)
    raise failure or StoreFailed(f"Each reading of {backup.path} gives another content.", "Check the host's disk and memory.")


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
