"""A payload that is being written: claimed, filled, and committed by one rename, or deleted.

    claim     under the lock: sweep what dead runs left, take a free second, create and flock the partial
    fill      only the partial's own lock is held: other databases are dumped side by side
    commit    under the lock: put the manifest in place, then rename

A run is dead if the lock of its partial is free. A partial of a living run is always locked: both steps are done under the lock.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import time
import typing as t
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    Interrupted,
    Locked,
    StoreError,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock
from ansible_collections.lastgood.database.plugins.module_utils._metadata import names
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog, Newest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.listing import Listing
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

_POLL_SECONDS = 0.2
_BURST = timedelta(seconds=5)  # several backups in one second get one second each, and may be this far ahead

# A partial of a transfer is not swept until this long after its last byte: another transfer may resume it.
TRANSFER_STAYS = timedelta(days=1)


class Pending:
    """A payload without its final name. ``write`` adds to it, and counts and digests the bytes."""

    def __init__(
        self,
        store: LocalStore,
        listing: Listing,
        filename: str,
        created_at: datetime,
        claimed_at: datetime,
        descriptor: int,
        newest: Newest,
        swept: list[str],
    ) -> None:
        """``newest`` is the newest backup at the claim. Until the release no other run adds a backup of the database."""
        self.filename = filename
        self.created_at = created_at
        self.newest = newest
        self.swept = swept
        self.bytes_written = 0
        self.is_committed = False
        self._store = store
        self._listing = listing
        self._claimed_at = claimed_at
        self._partial = names.partial_name(filename)
        self._copy = names.copy_name(filename)
        self._descriptor = descriptor
        self._copy_descriptor: int | None = None
        self._digest = hashlib.sha256()

    @property
    def clock_behind(self) -> int:
        """The seconds that the clock is behind the newest backup of the group; 0 if only a burst of backups explains it."""
        return seconds_behind(self.newest.created_at, self._claimed_at)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Add to the payload. Raises NoSpace and StoreFailed."""
        with store_errors(f"Writing {self._store.path(self.filename)}"):
            write_all(self._descriptor, data)
        self._digest.update(data)
        self.bytes_written += len(data)

    def make_copy_file(self) -> str:
        """Make an empty file for an engine that must copy before it reads, and return its path. ``release`` deletes it."""
        self._copy_descriptor = self._store.create(self._copy)
        try_lock(self._copy_descriptor)
        return self._store.path(self._copy)

    def commit(self, manifest: Manifest) -> None:
        """Flush the payload to the disk, put the manifest in place, and rename the payload to its name."""
        store, sidecar = self._store, names.manifest_name(self.filename)
        store.finish(self._descriptor)
        with self._listing.locked():
            if store.taken(self.filename) or store.taken(sidecar):
                raise StoreFailed(
                    f"{store.path(self.filename)} appeared while the backup was being made.",
                    "Nothing is ever overwritten: see who else writes here, and run again.",
                )
            try:
                store.replace(sidecar, manifest.to_bytes())
                store.rename(self._partial, self.filename)
            except BaseException as error:
                if not self._has_its_name():
                    with contextlib.suppress(StoreError):
                        store.remove(sidecar)
                    raise
                if not isinstance(error, Exception):
                    raise
            self.is_committed = True
            self._listing.remove(self._partial)
            self._listing.add(self.filename)

    def _has_its_name(self) -> bool:
        """Return whether the payload was renamed, even if the call reported an error: then it is stored."""
        try:
            is_stored = self._store.is_file(self.filename, self._descriptor)
        except StoreError:
            return False
        if is_stored:
            self._store.sync_directory(self.filename)
        return is_stored

    def release(self) -> None:
        """Delete what was not committed, and release the locks. The next run sweeps what can't be deleted."""
        left = [] if self.is_committed else [self._partial]
        left += [] if self._copy_descriptor is None else [self._copy]
        try:
            if left:
                self._remove(left)
        finally:
            for descriptor in (self._descriptor, self._copy_descriptor):
                if descriptor is not None:
                    close_quietly(descriptor)

    def _remove(self, partials: list[str]) -> None:
        """Delete partials of this run, under the lock if it is free, so that the listing stays current."""
        try:
            try:
                with self._listing.locked(0):
                    for partial in partials:
                        self._store.remove(partial)
                        self._listing.remove(partial)
            except (Locked, Interrupted):
                for partial in partials:
                    self._store.remove(partial)
        except StoreError as error:
            self._store.warnings.append(f"A partial is left, which the next run removes: {error.problem}")


def seconds_behind(newest: datetime | None, now: datetime) -> int:
    """Return how far a clock is behind the newest backup; 0 if a burst of backups explains the difference."""
    behind = timedelta(0) if newest is None else newest - now
    return int(behind.total_seconds()) if behind > _BURST else 0


@contextlib.contextmanager
def pending(
    store: LocalStore,
    label: str,
    encoding: Encoding,
    clock: Clock,
    lock_timeout: float,
    is_stopped: t.Callable[[], bool],
    writing: set[str] | None = None,
    group: Group | None = None,
    listing: Listing | None = None,
) -> t.Iterator[Pending]:
    """Claim the next backup of a database. Raises Locked if another run writes one of that name for longer than
    ``lock_timeout``, in seconds, or does not release the store's lock.

    ``writing`` has the payloads that this run is writing, with the claimed one. Each is of another database, although names
    that were cut may be equal. The backup gets a time that makes it the newest of its ``group``, whatever the clock says.
    """
    deadline = time.monotonic() + lock_timeout
    writing = set() if writing is None else writing
    listing = Listing(store) if listing is None else listing
    while True:
        claimed = _claim(store, listing, label, encoding, clock, writing, group)
        if isinstance(claimed, Pending):
            break
        if is_stopped():
            raise Interrupted("The run was ended while it waited for another one.", "Run it again.")
        if time.monotonic() >= deadline:
            raise Locked(
                f"Another run is still writing a backup of a database of the same name after {lock_timeout:g} seconds: "
                f"{store.path(claimed)}.",
                "Wait for it, see what it hangs on, or raise lock_timeout. Where no such run is alive, the file is another "
                "user's, whose lock can't be seen: remove it.",
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield claimed
    finally:
        writing.remove(claimed.filename)  # first: after the release another run may take the name
        claimed.release()


def _claim(
    store: LocalStore,
    listing: Listing,
    label: str,
    encoding: Encoding,
    clock: Clock,
    writing: set[str],
    group: Group | None,
) -> Pending | str:
    """Return the claim, or the name of the partial of another run that writes a backup of a database of that name."""
    with listing.locked():
        swept, alive = _sweep(store, listing, clock())
        for other in alive:
            if other.label == label and other.filename not in writing:
                return names.partial_name(other.filename)
        now = clock()
        newest = Newest() if group is None else Catalog(store).newest_of(group, listing.of_label(label), now)
        created_at = now.replace(microsecond=0)
        if newest.created_at is not None:
            created_at = max(created_at, newest.created_at + timedelta(seconds=1))
        filename = _free_name(store, listing, label, created_at, encoding)
        partial = names.partial_name(filename)
        descriptor = store.create(partial)
        try_lock(descriptor)
        listing.add(partial)
        writing.add(filename)
        return Pending(store, listing, filename, created_at, now, descriptor, newest, swept)


def _sweep(store: LocalStore, listing: Listing, now: datetime) -> tuple[list[str], list[names.BackupName]]:
    """Delete what dead runs left: partials, and manifests whose payload was never committed.

    Return their names, and the payloads that living runs are writing.
    """
    dead, alive = partials(store, listing.partials())
    swept: list[str] = []
    for file, partial in dead.items():
        if names.is_transfer(file) and not _is_stale(store, file, now):
            continue
        orphans = [] if store.taken(partial.filename) else [names.manifest_name(partial.filename)]
        swept += [name for name in (*orphans, file) if store.remove(name)]
        listing.remove(file)
    return swept, alive


def _is_stale(store: LocalStore, file: str, now: datetime) -> bool:
    """Return whether nothing was added to a file for a day: a transfer from another host holds no lock on this one."""
    facts = store.facts(file)
    return facts is None or now - facts.modified_at > TRANSFER_STAYS


def partials(store: Store, files: t.Iterable[str]) -> tuple[dict[str, names.BackupName], list[names.BackupName]]:
    """Return the partials of dead runs by file name, and the payloads that living runs are writing.

    A run is alive while any of its partials is locked.
    """
    found = {file: partial for file in files if (partial := names.parse_partial(file)) is not None}
    alive = {partial.filename: partial for file, partial in found.items() if store.is_held(file)}
    dead = {file: partial for file, partial in found.items() if partial.filename not in alive}
    return dead, list(alive.values())


def _free_name(store: LocalStore, listing: Listing, label: str, created_at: datetime, encoding: Encoding) -> str:
    """Return a name with the first free second: one that no file of this database has, whatever its encoding."""
    stamp = created_at
    while True:
        filename = names.compose(label, stamp, encoding)
        if not listing.has_stamp(label, stamp) and not _is_taken(store, filename):
            return filename
        stamp += timedelta(seconds=1)


def _is_taken(store: LocalStore, filename: str) -> bool:
    """Return whether a name that the backup needs is taken, even by a directory or a link, which no listing has."""
    manifest = names.manifest_name(filename)
    partials = (names.partial_name(filename), names.copy_name(filename), names.partial_name(manifest))
    return any(map(store.taken, (filename, manifest, *partials)))
