"""The names in a directory of backups, listed once for a run of many databases.

A run updates its listing when it adds or deletes files. Every run that commits, deletes or sweeps holds the store's lock and
leaves a new mark on it: as long as the lock has the listing's mark, no other run has changed the directory.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    MANIFEST_SUFFIX,
    BackupName,
    parse,
    parse_partial,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import LOCK_SECONDS
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

_EXPIRES_SECONDS = 10.0  # so that a run sees files that other programs, such as cp, add without the lock


class Listing:
    """The backups and partials of a directory, by label. Read and change it only while ``locked``."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._mark: int | None = None
        self._listed_at = 0.0
        self._backups: dict[str, dict[str, BackupName]] = {}  # by label, then by file name
        self._partials: dict[str, BackupName] = {}  # by the partial's file name
        self._manifests: dict[str, set[datetime]] = {}  # by label: the payload may be missing

    @contextlib.contextmanager
    def locked(self, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
        """Hold the store's lock, with a current listing. Meanwhile, call ``add`` or ``remove`` for each file made or deleted."""
        with self._store.lock(seconds) as marks:
            is_current = self._mark is not None and marks.found == self._mark
            if not is_current or time.monotonic() - self._listed_at > _EXPIRES_SECONDS:
                self._list()
            self._mark = None  # after an exception, the listing has no mark, and is made anew
            yield
            self._mark = marks.left

    def of_label(self, label: str) -> list[BackupName]:
        """Return the backups that may be of that database, an older tool's too: only their manifests name the database."""
        return [*self._backups.get(label, {}).values(), *(self._backups.get("", {}).values() if label else ())]

    def partials(self) -> list[str]:
        """Return the file names of all partials."""
        return list(self._partials)

    def has_stamp(self, label: str, stamp: datetime) -> bool:
        """Return whether a backup of that label and second exists, or is being written, whatever its compression."""
        names = (*self._backups.get(label, {}).values(), *self._partials.values())
        is_named = any((name.label, name.stamp) == (label, stamp) for name in names)
        return is_named or stamp in self._manifests.get(label, ())

    def add(self, filename: str) -> None:
        """Add a file that the run made."""
        if (partial := parse_partial(filename)) is not None:
            self._partials[filename] = partial
        elif (backup := parse(filename)) is not None:
            self._backups.setdefault(backup.label, {})[filename] = backup
        elif filename.endswith(MANIFEST_SUFFIX) and (payload := parse(filename[: -len(MANIFEST_SUFFIX)])) is not None:
            self._manifests.setdefault(payload.label, set()).add(payload.stamp)

    def remove(self, filename: str) -> None:
        """Remove a file that the run deleted."""
        self._partials.pop(filename, None)
        if (backup := parse(filename)) is not None:
            self._backups.get(backup.label, {}).pop(filename, None)

    def _list(self) -> None:
        self._backups.clear()
        self._partials.clear()
        self._manifests.clear()
        for filename in self._store.names():
            self.add(filename)
        self._listed_at = time.monotonic()
