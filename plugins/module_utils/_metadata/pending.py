# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""A payload that is being written: claimed, filled, and committed by one rename, or gone.

    claim     under the lock: what dead runs left is swept, a free second is taken, the partial is made and flocked
    fill      no lock but the partial's own: other databases go on side by side
    commit    under the lock: the manifest in place, then the rename

A dead run is told by its partial's lock being free. That is sure, since a partial is made and locked under the lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import typing as t
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted, Locked, StoreFailed, store_errors
from ansible_collections.lastgood.database.plugins.module_utils._metadata import names
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import write_all
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import LocalStore, close_quietly, wait_for_lock

_POLL_SECONDS = 0.2


class Pending:
    """A payload that nobody sees yet. Written through ``write``, which counts and digests what passes."""

    def __init__(
        self, store: LocalStore, filename: str, created_at: datetime, descriptor: int, files: list[str], swept: list[str]
    ) -> None:
        """``files`` is what was in the store at the claim. From then on nobody else adds to the backups of the database."""
        self.filename = filename
        self.created_at = created_at
        self.files = files
        self.swept = swept
        self.bytes_written = 0
        self._store = store
        self._partial = names.partial_name(filename)
        self._copy = names.copy_name(filename)
        self._descriptor = descriptor
        self._copy_descriptor: int | None = None
        self._digest = hashlib.sha256()

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
        """Make an empty file for an engine that must copy before it can be read, and return its path. It goes with us."""
        self._copy_descriptor = self._store.create(self._copy)
        wait_for_lock(self._copy_descriptor, 0)
        return self._store.path(self._copy)

    def commit(self, manifest: Manifest) -> None:
        """Bring the payload to the disk, put the manifest in place, and give the payload its name."""
        store, sidecar = self._store, names.manifest_name(self.filename)
        store.finish(self._descriptor)
        with store.lock():
            if store.taken(self.filename) or store.taken(sidecar):
                raise StoreFailed(
                    f"{store.path(self.filename)} appeared while the backup was being made.",
                    "Nothing is ever overwritten: see who else writes here, and run again.",
                )
            try:
                store.replace(sidecar, manifest.to_bytes())
                store.rename(self._partial, self.filename)
            except BaseException:
                if not store.taken(self._partial):  # the payload has its name, but may not have it on the disk
                    store.remove(self.filename)
                store.remove(sidecar)
                raise

    def release(self) -> None:
        """Remove what is left of us, and let go of our locks. After a commit nothing is left but the locks."""
        with contextlib.ExitStack() as stack:
            for name, descriptor in ((self._partial, self._descriptor), (self._copy, self._copy_descriptor)):
                if descriptor is not None:
                    stack.callback(close_quietly, descriptor)
                    stack.callback(self._store.remove, name)


@contextlib.contextmanager
def pending(
    store: LocalStore,
    label: str,
    compression: names.Compression,
    clock: Clock,
    lock_timeout: float,
    is_stopped: t.Callable[[], bool] = lambda: False,
    writing: set[str] | None = None,
) -> t.Iterator[Pending]:
    """Claim the next backup of a database. Raises Locked when another run writes one of that name for longer than
    ``lock_timeout``, in seconds, or does not let go of the store.

    ``writing`` has the payloads that this run is writing, each of another database, also where their names begin alike; ours
    is among them meanwhile.
    """
    deadline = time.monotonic() + lock_timeout
    writing = set() if writing is None else writing
    while True:
        claimed = _claim(store, label, compression, clock, writing)
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
        writing.remove(claimed.filename)  # first: once it is released, the name may be another run's
        claimed.release()


def _claim(store: LocalStore, label: str, compression: names.Compression, clock: Clock, writing: set[str]) -> Pending | str:
    """Return the claim, or the name of the partial while somebody else writes a backup of a database of that name."""
    with store.lock():
        files = store.names()
        swept, alive = _sweep(store, files)
        for other in alive:
            if other.label == label and other.filename not in writing:
                return names.partial_name(other.filename)
        created_at = clock().replace(microsecond=0)
        filename = _free_name(store, files, label, created_at, compression)
        descriptor = store.create(names.partial_name(filename))
        wait_for_lock(descriptor, 0)
        writing.add(filename)
        return Pending(store, filename, created_at, descriptor, files, swept)


def _sweep(store: LocalStore, files: t.Iterable[str]) -> tuple[list[str], list[names.BackupName]]:
    """Delete what dead runs left: partials, and the manifest of a payload that never came.

    Return their names, and what those that live are writing.
    """
    dead, alive = partials(store, files)
    swept: list[str] = []
    for file, partial in dead.items():
        orphans = [] if store.taken(partial.filename) else [names.manifest_name(partial.filename)]
        swept += [name for name in (*orphans, file) if store.remove(name)]
    return swept, alive


def partials(store: Store, files: t.Iterable[str]) -> tuple[dict[str, names.BackupName], list[names.BackupName]]:
    """Return the partials of dead runs by file name, and what the runs that live are writing.

    A run lives as long as any of its partials is held.
    """
    found = {file: partial for file in files if (partial := names.parse_partial(file)) is not None}
    alive = {partial.filename: partial for file, partial in found.items() if store.is_held(file)}
    dead = {file: partial for file, partial in found.items() if partial.filename not in alive}
    return dead, list(alive.values())


def _free_name(store: LocalStore, files: list[str], label: str, created_at: datetime, compression: names.Compression) -> str:
    """Return a name with the first second that no file of this database has, whatever its compression."""
    stamp = created_at
    while True:
        filename = names.compose(label, stamp, compression)
        taken = names.compose(label, stamp, "none")  # which is how the others begin
        if not any(file.startswith((taken, f".{taken}")) for file in files) and not _is_taken(store, filename):
            return filename
        stamp += timedelta(seconds=1)


def _is_taken(store: LocalStore, filename: str) -> bool:
    """Return whether anything bears a name that we shall need, be it a directory or a link that no listing has."""
    manifest = names.manifest_name(filename)
    partials = (names.partial_name(filename), names.copy_name(filename), names.partial_name(manifest))
    return any(map(store.taken, (filename, manifest, *partials)))
