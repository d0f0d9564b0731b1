"""Reads and updates the status of the runs in a directory of backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    EMPTY,
    LARGEST_STATUS,
    STATUS_NAME,
    Run,
    Status,
    StatusUnusable,
    from_bytes,
    to_bytes,
    with_dead_runs,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.bookkeeping import Bookkeeping


def read_status(store: ReadableStore) -> Status:
    """Return the status, with the outcome died for each dead run. Without a file it is empty.

    Writes nothing. Raises StoreFailed if the file can't be read, or another user may have made it.
    """
    books = store.bookkeeping()
    if books is None or not store.exists():
        return EMPTY
    data = books.read(STATUS_NAME, LARGEST_STATUS + 1)
    return EMPTY if data is None else mark_dead_runs(store, from_bytes(data))


def mark_dead_runs(store: ReadableStore, status: Status) -> Status:
    """Return the status, with the outcome died for each dead run of this host."""
    books = store.bookkeeping()

    def died(_run: Run, partials: t.Sequence[str]) -> bool:
        return books is not None and _is_dead(store, books, partials)

    return with_dead_runs(status, died)


def _is_dead(store: ReadableStore, books: Bookkeeping, partials: t.Sequence[str]) -> bool:
    """Return whether a run is dead, by the partials that it was writing.

    A run that holds the lock of a partial is alive. A partial without a lock proves that its run is dead. Without a partial,
    the run is dead if no run holds the directory's lock, which does not show which runs hold it.
    """
    if any(store.is_held(partial) for partial in partials):
        return False
    return any(store.taken(partial) for partial in partials) or books.has_no_live_run()


def update_status(
    store: ReadableStore, change: t.Callable[[Status], Status], *, seconds: float = 5.0, durable: bool = True
) -> StatusUnusable | None:
    """Write a changed status. Return the error of the old file if that could not be used, and was replaced.

    Raises StoreError, in particular Locked if the directory's lock is not free within ``seconds``. A file that is not ours, or
    of a newer version, remains as it is.
    """
    books = store.bookkeeping()
    if books is None:
        return None
    unusable = None
    with books.locked(seconds):
        try:
            data = books.read(STATUS_NAME, LARGEST_STATUS + 1)
            status = EMPTY if data is None else from_bytes(data)
        except StatusUnusable as error:
            if error.is_newer:
                raise
            status, unusable = EMPTY, error
        books.write(STATUS_NAME, to_bytes(change(status)), durable=durable)
    return unusable
