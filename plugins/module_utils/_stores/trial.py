"""Try a store with a small file: perform the steps of an upload, and of a prune after it, with the same methods."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    FileForbidden,
    ReadBackDiffers,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Step
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import RenamingStore, check_size, publish

_BYTES = 64 * 1024
_MANIFEST = b"{}\n"  # in place of a real one


class PartialTrial:
    """Tries a store whose files can be renamed."""

    def __init__(self, store: RenamingStore) -> None:
        self._store = store
        # If the run is killed, the file that remains is hidden, and its name is no backup's.
        self._name = f".lastgood-probe-{os.urandom(8).hex()}"
        self._partial, self._sidecar = f"{self._name}.partial", f"{self._name}.json"
        self._data = os.urandom(_BYTES)

    def refusal(self) -> str | None:
        """Return why the account may delete nothing. Tries to delete a file that does not exist."""
        try:
            self._store.remove(self._name)
        except FileForbidden as error:
            return error.problem
        except StoreFailed:
            return None
        return None

    def steps(self) -> list[Step]:
        return [("write", self._write), ("read_back", self._read_back), ("rename", self._rename), ("remove", self._remove)]

    def clean_up(self) -> None:
        for name in (self._name, self._sidecar, self._partial):
            with contextlib.suppress(BackupError):  # the error before it is the one to report
                self._store.remove(name)

    def _write(self) -> None:
        store, partial, data = self._store, self._partial, memoryview(self._data)
        if store.facts(partial) is not None or store.taken(self._name):  # a missing file has to be reported as missing
            raise StoreFailed(f"{store.path(partial)} can't exist, and the server says that it does.", "Use another server.")
        half = len(data) // 2
        store.write_from(partial, 0, [data[:half]])
        store.write_from(partial, half, [data[half:]])  # as an upload continues after an interruption
        check_size(store, partial, len(data))

    def _read_back(self) -> None:
        store, partial, data = self._store, self._partial, self._data
        if b"".join(map(bytes, store.chunks(partial))) != data or store.read(partial, len(data) + 1) != data:
            raise ReadBackDiffers(
                f"Reading back {store.path(partial)} gives other bytes than were written.",
                "Check the server's disk, and any proxy in front of it.",
            )

    def _rename(self) -> None:
        store, sidecar = self._store, self._sidecar
        with store.lock():
            store.add(sidecar, _MANIFEST)
            publish(store, self._partial, self._name, len(self._data))
            store.replace(sidecar, _MANIFEST * 2)
        if store.read(sidecar, len(_MANIFEST) * 3) != _MANIFEST * 2:
            raise ReadBackDiffers(f"{store.path(sidecar)} was replaced, and has not changed.", "Check the server's disk.")

    def _remove(self) -> None:
        for name in (self._name, self._sidecar):
            if not self._store.remove(name):
                raise StoreFailed(
                    f"{self._store.path(name)} was deleted by something else.",
                    "See what moves, collects or deletes files on the server.",
                )
