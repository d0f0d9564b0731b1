"""The smallest store: a dictionary. It shows what a new store needs, and uses no server and no disk."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DirectoryMissing,
    FileMissing,
    Locked,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import (
    LOCK_SECONDS,
    Capabilities,
    FileFacts,
    NewPayload,
    Written,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.partials import put_by_partial

_CHUNK_BYTES = 64 * 1024


class MemoryStore:
    """Files by name. Stores over the same dictionary have the same files; None is a missing directory."""

    creates_directory = True
    capabilities = Capabilities(reads_cheaply=True, has_locks=True, replaces_atomically=True)
    _lock = threading.Lock()

    def __init__(self, files: dict[str, bytes] | None) -> None:
        self.location = "memory:"
        self.warnings: list[str] = []
        self._files = files

    def close(self) -> None:
        """Nothing is open."""

    def exists(self) -> bool:
        return self._files is not None

    def ensure(self) -> None:
        self._files = {} if self._files is None else self._files

    def check(self) -> None:
        """Memory can be written to."""

    def path(self, name: str) -> str:
        return f"{self.location}/{name}"

    def staging(self) -> None:
        return None

    def bookkeeping(self) -> None:
        return None

    def names(self) -> list[str]:
        return list(self._there())

    def facts(self, name: str) -> FileFacts | None:
        data = self._there().get(name)
        return None if data is None else FileFacts(len(data), time.time())

    def facts_of(self, names: t.Iterable[str]) -> t.Iterator[FileFacts | None]:
        return map(self.facts, names)

    def taken(self, name: str) -> bool:
        return name in self._there()

    def is_held(self, name: str) -> bool:
        return False

    def read(self, name: str, limit: int) -> bytes | None:
        data = self._there().get(name)
        return None if data is None else data[:limit]

    def read_many(self, names: t.Iterable[str], limit: int) -> t.Iterator[bytes | StoreFailed | None]:
        return (self.read(name, limit) for name in names)

    def chunks(self, name: str, offset: int = 0) -> t.Generator[memoryview, None, None]:
        data = self._there().get(name)
        if data is None:
            raise FileMissing(f"Reading {self.path(name)}: no such file.", "Name another.")
        for start in range(offset, len(data), _CHUNK_BYTES):
            yield memoryview(data)[start : start + _CHUNK_BYTES]

    def drop_cache(self, name: str) -> None:
        """Nothing is cached."""

    @contextlib.contextmanager
    def lock(self, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
        if not self._lock.acquire(timeout=seconds):
            raise Locked("Another run holds the lock.", "Wait for it.")
        try:
            yield
        finally:
            self._lock.release()

    def replace(self, name: str, data: bytes, like: str | None = None) -> None:
        self._there()[name] = data

    def put(self, payload: NewPayload, before_chunk: t.Callable[[int], None], *, reads_back: bool) -> Written:
        return put_by_partial(self, payload, before_chunk, reads_back=reads_back)

    def add(self, name: str, data: bytes) -> None:
        if self.taken(name):
            raise StoreFailed(f"{self.path(name)} exists already.", "Take another name.")
        self.replace(name, data)

    def write_from(self, name: str, offset: int, chunks: t.Iterable[memoryview]) -> int:
        data = bytearray(self._there().get(name, b""))
        end = offset
        try:
            for chunk in chunks:
                data[end : end + len(chunk)] = chunk
                end += len(chunk)
        finally:
            self._there()[name] = bytes(data)
        return end - offset

    def rename(self, name: str, new_name: str) -> None:
        self._there()[new_name] = self._there().pop(name)

    def remove(self, name: str) -> bool:
        return self._there().pop(name, None) is not None

    def _there(self) -> dict[str, bytes]:
        if self._files is None:
            raise DirectoryMissing(f"{self.location} does not exist.", "Make it.")
        return self._files
