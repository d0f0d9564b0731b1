"""Store a payload by way of a partial, in a store whose files can be renamed.

agree     read the partial of an earlier call, and compare: equal bytes are not written again
write     digest the payload on the way, so that a damaged one is not passed on
verify    the size, or the digest by reading back
commit    put the sidecar in place, then rename once, without replacing a file
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionFailed,
    NameConflict,
    PayloadCorrupt,
    ReadBackDiffers,
    StoreError,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._lane import lane
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import NewPayload, Store, Written
from ansible_collections.lastgood.database.plugins.module_utils._stores.digests import sha256_of


class RenamingStore(Store, t.Protocol):
    """A store that writes to a file from any offset, and renames files."""

    def write_from(self, name: str, offset: int, chunks: t.Iterable[memoryview]) -> int:
        """Write to a file from ``offset`` on, make it if it is missing, and return how many bytes were written."""

    def add(self, name: str, data: bytes) -> None:
        """Write a small file whole. Raises StoreFailed if the name is taken. Under the lock only."""

    def rename(self, name: str, new_name: str) -> None:
        """Rename a file. The new name must not exist. Under the lock only."""


def put_by_partial(
    store: RenamingStore, payload: NewPayload, before_chunk: t.Callable[[int], None], *, reads_back: bool
) -> Written:
    """Store a payload and its sidecar, whole or not at all: see ``Store.put``."""
    return _Putting(store, payload, before_chunk).put(reads_back)


def publish(store: RenamingStore, partial: str, name: str, size: int) -> None:
    """Rename a complete file to its final name, and verify that. Raises StoreFailed if the name is taken."""
    if store.taken(name):  # not every server refuses to replace a file
        raise StoreFailed(f"{store.path(name)} exists already.", "Find out who else writes to this directory.")
    store.rename(partial, name)
    check_size(store, name, size)


def check_size(store: Store, name: str, size: int) -> None:
    """Check that the store lists a file under its final name, with its size."""
    facts = store.facts(name)
    if facts is None or facts.size_bytes != size:
        shown = "shows no such file" if facts is None else f"shows {facts.size_bytes} bytes of {size}"
        raise ReadBackDiffers(
            f"{store.path(name)} was given its name without an error, and the server {shown}.",
            "See what moves, collects or deletes files on the server, and run again.",
        )


def name_conflict(path: str) -> NameConflict:
    """Return the error for a name that another payload has already."""
    return NameConflict(
        f"{path} already exists, and is another backup.",
        "See whether two hosts use one directory: each needs its own. Nothing was replaced.",
    )


class _Putting:
    """The upload of one payload."""

    def __init__(self, store: RenamingStore, payload: NewPayload, before_chunk: t.Callable[[int], None]) -> None:
        self._store = store
        self._payload = payload
        self._before_chunk = before_chunk
        self._digest = hashlib.sha256()

    def put(self, reads_back: bool) -> Written:
        offset = self._agreed_bytes()
        with contextlib.closing(self._content_from(offset)) as content:
            written = self._store.write_from(self._payload.partial, offset, content)
        self._check_source()
        self._verify(reads_back)
        with self._store.lock():
            self._commit()
        return Written(written, resumed=offset > 0)

    def _agreed_bytes(self) -> int:
        """Return how many bytes of an earlier call's partial match the payload. Reads it, since it is not trusted."""
        store, partial = self._store, self._payload.partial
        facts = store.facts(partial)
        if facts is None or facts.size_bytes > self._payload.size_bytes:
            if store.taken(partial):  # only then: some accounts may delete nothing
                store.remove(partial)
            return 0
        agreed = 0
        ours = _Window(self._payload.chunks())
        with contextlib.closing(ours), contextlib.closing(store.chunks(partial)) as theirs:
            for chunk in theirs:
                if bytes(chunk) != ours.take(len(chunk)):
                    break  # overwritten from this byte on
                agreed += len(chunk)
        return agreed

    def _content_from(self, offset: int) -> t.Generator[memoryview, None, None]:
        """Yield the payload from ``offset`` on, and digest all of it."""
        place = 0
        chunks = self._payload.chunks()
        with contextlib.closing(chunks), lane(self._digest.update) as digesting:
            for chunk in chunks:
                rest = chunk[max(0, offset - place) :]
                place += len(chunk)
                self._before_chunk(len(rest))
                digesting.give(chunk)  # while it is written
                if rest:
                    yield rest
                digesting.settle()

    def _check_source(self) -> None:
        if self._digest.hexdigest() != self._payload.sha256:
            left = self._discard()
            raise PayloadCorrupt(
                f"{self._payload.source} does not match its manifest any more, and was not sent.{left}",
                "Verify it (backup_verify), and make a new backup.",
            )

    def _verify(self, reads_back: bool) -> None:
        """Check that the store has the bytes that were written."""
        partial, size = self._payload.partial, self._payload.size_bytes
        facts = self._store.facts(partial)
        if facts is None or facts.size_bytes != size:
            shown = "nothing" if facts is None else f"{facts.size_bytes} bytes"
            raise self._differs(f"the server has {shown} of {size} bytes")
        if reads_back and sha256_of(self._store, partial) != self._payload.sha256:
            raise self._differs("reading it back gives another digest")

    def _differs(self, reason: str) -> ReadBackDiffers:
        left = self._discard()
        return ReadBackDiffers(
            f"{self._store.path(self._payload.name)} did not arrive whole: {reason}.{left}",
            "Check the server's disk, and run again.",
        )

    def _discard(self) -> str:
        """Delete the written files, and return a sentence about those that could not be deleted."""
        try:
            self._store.remove(self._payload.partial)
        except (StoreError, ConnectionFailed) as error:
            return f" {self._store.path(self._payload.partial)} is left: {error.problem}"
        return ""

    def _commit(self) -> None:
        store, payload, sidecar = self._store, self._payload, self._payload.sidecar
        if payload.replaces:  # payload first: a sidecar without a payload is no backup
            store.remove(payload.name)
            store.remove(sidecar.name)
        present = store.read(sidecar.name, sidecar.limit)
        if present is None:
            present = sidecar.data
            store.add(sidecar.name, present)
        elif not sidecar.fits(present):
            raise name_conflict(store.path(payload.name))
        if store.taken(payload.name):
            raise name_conflict(store.path(payload.name))
        publish(store, payload.partial, payload.name, payload.size_bytes)
        if store.read(sidecar.name, sidecar.limit) != present:  # another program may have removed it meanwhile
            raise ReadBackDiffers(
                f"{store.path(sidecar.name)} is missing or differs, after {payload.name} was sent.",
                "See what moves, collects or deletes files on the server, and run again.",
            )


class _Window:
    """Takes pieces of any size from a stream of chunks."""

    def __init__(self, chunks: t.Generator[memoryview, None, None]) -> None:
        self._chunks = chunks
        self._rest = b""

    def take(self, count: int) -> bytes:
        while len(self._rest) < count and (chunk := next(self._chunks, None)) is not None:
            self._rest += bytes(chunk)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def close(self) -> None:
        self._chunks.close()
