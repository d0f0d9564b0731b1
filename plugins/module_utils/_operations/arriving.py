"""Fetches one payload into a partial that this run holds, and gives it its name when its digest is right."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    FileMissing,
    Locked,
    NoSpace,
    PayloadCorrupt,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._lane import lane
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload_plan import PlannedUpload
from ansible_collections.lastgood.database.plugins.module_utils._progress import Task
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore, Written
from ansible_collections.lastgood.database.plugins.module_utils._stores.digests import sha256_of
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import name_conflict

_POLL_SECONDS = 0.05

# Takes a name in the source and the path of an existing file, and fills that file. Returns False if it can't, so that chunks are
# read instead.
Fetch = t.Callable[[str, str], bool]


@dataclass(frozen=True)
class Arriving:
    """A payload on its way from a store into the controller's folder."""

    source: ReadableStore
    folder: LocalStore
    planned: PlannedUpload
    partial: str
    fetch: Fetch | None
    task: Task

    @property
    def name(self) -> str:
        return self.planned.backup.filename

    @property
    def size(self) -> int:
        return self.planned.backup.size_bytes

    @property
    def sha256(self) -> str:
        return str(self.planned.backup.manifest.payload_sha256)

    def arrive(self) -> Written | None:
        """Fetch, check and store the payload. Return None if another run stored it meanwhile."""
        folder, partial = self.folder, self.partial
        descriptor = folder.claim_to_continue(partial)
        if descriptor is None:
            raise Locked(f"Another run is fetching {folder.path(self.name)}.", "Wait for it, and run again.")
        try:
            if not self.planned.replaces and folder.facts(self.name) is not None:
                self._check_stored()
                folder.remove(partial)
                return None
            offset = self._offset(descriptor)
            self._check_room(offset)
            self._receive(descriptor, offset)
            folder.finish(descriptor)
            with folder.lock():
                self._commit()
            return Written(self.size - offset, resumed=offset > 0)
        except NoSpace:
            folder.remove(partial)  # a full disk needs the room
            raise
        finally:
            close_quietly(descriptor)

    def _check_stored(self) -> None:
        """Raise NameConflict unless the file that another run stored is this payload."""
        if sha256_of(self.folder, self.name) != self.sha256:
            raise name_conflict(self.folder.path(self.name))

    def _offset(self, descriptor: int) -> int:
        """Return how many bytes an earlier run fetched, after which this one can continue."""
        offset = os.fstat(descriptor).st_size
        if offset <= self.size:
            return offset
        os.ftruncate(descriptor, 0)
        return 0

    def _check_room(self, offset: int) -> None:
        folder, needed = self.folder, self.size - offset
        check_space(folder.location, folder.free_bytes(), needed, self.name, "Make room on the controller, and run again.")

    def _receive(self, descriptor: int, offset: int) -> None:
        """Fill the partial. If a continued one has a wrong digest, begin anew."""
        digest = None
        if not offset and self.fetch is not None:
            digest = self._fetch_whole(descriptor, self.fetch)
            if digest is None:  # the rest comes in chunks
                offset = self._offset(descriptor)
        if digest is None:
            digest = self._fill(descriptor, offset)
        if digest != self.sha256 and offset:
            self.task.advance(-self.size)
            os.ftruncate(descriptor, 0)
            digest = self._fill(descriptor, 0)
        if digest != self.sha256:
            self.folder.remove(self.partial)
            raise PayloadCorrupt(
                f"{self.source.path(self.name)} did not arrive as its manifest describes it: its size or its digest differs.",
                "Verify it where it is (backup_verify), and run again. Nothing was stored.",
                filename=self.name,
            )

    def _fill(self, descriptor: int, offset: int) -> str | None:
        """Write the payload from ``offset`` on. Return the digest of all of it, None if the size is wrong."""
        digest = hashlib.sha256()
        self.task.advance(self._digest_beginning(descriptor, offset, digest))
        count = offset
        os.lseek(descriptor, offset, os.SEEK_SET)
        chunks = self.source.chunks(self.name, offset)
        with contextlib.closing(chunks), lane(digest.update) as digesting, store_errors(f"Writing {self._path}"):
            for chunk in chunks:
                count += len(chunk)
                if count > self.size:
                    return None
                digesting.give(chunk)  # digests it while it is written
                write_all(descriptor, chunk)
                self.task.advance(len(chunk))
                digesting.settle()
        return digest.hexdigest() if count == self.size else None

    @property
    def _path(self) -> str:
        return self.folder.path(self.partial)

    def _digest_beginning(self, descriptor: int, size: int, digest: t.Any) -> int:
        place = 0
        while place < size and (data := os.pread(descriptor, min(CHUNK_BYTES, size - place), place)):
            digest.update(data)
            place += len(data)
        return place

    def _fetch_whole(self, descriptor: int, fetch: Fetch) -> str | None:
        """Let the connection fill the partial, and digest it meanwhile. Return None if the partial is not complete then."""
        tail = _Tail(descriptor, self.size, self.task)
        with tail:
            if not fetch(self.name, self._path):
                return None
        if os.fstat(descriptor).st_size != self.size:
            return ""
        if tail.digest.hexdigest() == self.sha256:
            return self.sha256
        again = hashlib.sha256()  # the thread may have read a part before it was written
        self._digest_beginning(descriptor, self.size, again)
        return again.hexdigest()

    def _commit(self) -> None:
        folder, manifest = self.folder, manifest_name(self.name)
        if not self.planned.replaces and folder.taken(self.name):
            raise name_conflict(folder.path(self.name))
        folder.replace(manifest, self.planned.manifest.to_bytes())
        try:
            folder.rename(self.partial, self.name)
        except FileMissing as error:
            raise StoreFailed(f"{self._path} was deleted while it was being fetched.", "Run again.") from error


class _Tail:
    """Digests a file in a thread while another process writes it, and counts its bytes."""

    def __init__(self, descriptor: int, size: int, task: Task) -> None:
        self.digest = hashlib.sha256()
        self._descriptor = descriptor
        self._size = size
        self._task = task
        self._is_written = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Tail:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_written.set()
        self._thread.join()

    def _follow(self) -> None:
        place = 0
        while place < self._size:
            is_last = self._is_written.is_set()
            with contextlib.suppress(OSError):  # the digest then differs, and the file is read again
                while data := os.pread(self._descriptor, min(CHUNK_BYTES, self._size - place), place):
                    self.digest.update(data)
                    place += len(data)
                    self._task.advance(len(data))
            if is_last:
                return
            self._is_written.wait(_POLL_SECONDS)
