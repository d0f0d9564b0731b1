"""A store of backups: a flat set of named files. The protocol has a reading half and a writing half.

tests/integration/plugins/module_utils/_stores/test_contract.py tests each promise on each store.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.bookkeeping import Bookkeeping

# How long to wait for a store's lock. A run holds it for moments, or while a slow disk deletes many files: a run
# that holds it longer hangs.
LOCK_SECONDS = 600.0


class FileFacts(t.NamedTuple):
    """The properties of a file in a store."""

    size_bytes: int
    modified_seconds: float  # since 1970

    @property
    def modified_at(self) -> datetime:
        """When the file was last written, or the nearest time that datetime has."""
        try:
            return datetime.fromtimestamp(self.modified_seconds, timezone.utc)
        except (OverflowError, ValueError, OSError):
            return (datetime.max if self.modified_seconds > 0 else datetime.min).replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Capabilities:
    """The abilities of only some stores. Operations and modules ask for these, never for the kind of a store."""

    reads_cheaply: bool  # reading a payload transfers nothing over a network
    has_locks: bool  # ``lock`` excludes other runs, and ``is_held`` knows which files they write
    replaces_atomically: bool  # while ``replace`` runs, a reader always finds the old file or the new one


@dataclass(frozen=True)
class Sidecar:
    """A small file beside a payload, of at most ``limit`` bytes.

    ``fits`` returns whether one that already exists belongs to the same payload.
    """

    name: str
    data: bytes
    limit: int
    fits: t.Callable[[bytes], bool]


@dataclass(frozen=True)
class NewPayload:
    """A payload to store, and how to read it.

    ``chunks`` reads it from its first byte, each time it is called; ``source`` names it in messages. ``partial`` is the name of
    the file that is being written, if a store needs one: a later call with the same name continues with it. ``replaces``
    deletes a payload of the same name just before the new one takes the name.
    """

    name: str
    partial: str
    size_bytes: int
    sha256: str
    source: str
    chunks: t.Callable[[], t.Generator[memoryview, None, None]]
    sidecar: Sidecar
    replaces: bool = False


class Written(t.NamedTuple):
    """The bytes of a payload that were written, and whether an earlier call had written the others."""

    bytes: int
    resumed: bool


class Staging(t.Protocol):
    """A place on this host for a file that has no name."""

    location: str

    def unnamed_file(self) -> int:
        """Return the descriptor of a new file without a name: it exists for as long as a process has it open."""

    def free_bytes(self) -> int:
        """Return how many bytes can still be written."""


class ReadableStore(t.Protocol):
    """The reading half. Names are plain file names; only regular files count, and no link is followed.

    Every method raises DirectoryUnusable, StoreFailed (FileMissing and FileForbidden among them) or ConnectionFailed.
    """

    location: str
    warnings: list[str]
    capabilities: Capabilities

    def close(self) -> None:
        """Close the connection or the directory. The next call of another method opens it again."""

    def exists(self) -> bool:
        """Return whether the directory itself exists."""

    def path(self, name: str) -> str:
        """Return the path of a file, for messages and results."""

    def staging(self) -> Staging | None:
        """Return a place to unpack a backup beside the others, None if the store is not on this host."""

    def bookkeeping(self) -> Bookkeeping | None:
        """Return the record of the runs beside the backups, None if the store is not on this host."""

    def names(self) -> list[str]:
        """Return the names of all files, in no order."""

    def facts(self, name: str) -> FileFacts | None:
        """Return the properties of a file, None if it does not exist."""

    def taken(self, name: str) -> bool:
        """Return whether the name exists, also as a link or a directory."""

    def is_held(self, name: str) -> bool:
        """Return whether a living run holds the file; False if the file does not exist.

        A store that can't know returns False: callers delete only files that are also older than a day.
        """

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the first ``limit`` bytes of a file, None if it does not exist. Raises StoreFailed if it can't be read."""

    def facts_of(self, names: t.Iterable[str]) -> t.Iterator[FileFacts | None]:
        """Return the facts of many files, in order. Over a network that takes no longer than the facts of one file."""

    def read_many(self, names: t.Iterable[str], limit: int) -> t.Iterator[bytes | StoreFailed | None]:
        """Return the first ``limit`` bytes of each of many small files, in their order, as ``facts_of`` does.

        A file that can't be read yields the error, so that the others are still read.
        """

    def chunks(self, name: str, offset: int = 0) -> t.Generator[memoryview, None, None]:
        """Read a file from the byte at ``offset`` to its last. A chunk is valid until the next is requested."""

    def drop_cache(self, name: str) -> None:
        """Make the next read of a file come from the medium, if the store supports that."""


class Store(ReadableStore, t.Protocol):
    """The reading half and the writing half. Every writing method may raise NoSpace."""

    creates_directory: bool  # whether the task allows ``ensure`` to make what is missing

    def ensure(self) -> None:
        """Make the directory and its parents if they do not exist, with mode 0700."""

    def check(self) -> None:
        """Raise DirectoryUnusable if the directory exists and can't be written to, as far as reading shows that."""

    def lock(self, seconds: float = LOCK_SECONDS) -> t.ContextManager[object]:
        """Keep other runs from committing, deleting and sweeping. Raises Locked after ``seconds``."""

    def replace(self, name: str, data: bytes, like: str | None = None) -> None:
        """Write a small file whole: a reader finds the old one or the new one. Under the lock only.

        If ``like`` names another file, it gets that one's owner and mode, in a store that has files of several users.
        """

    def put(self, payload: NewPayload, before_chunk: t.Callable[[int], None], *, reads_back: bool) -> Written:
        """Store a payload and its sidecar, whole or not at all. Takes the lock itself.

        ``before_chunk`` is called with the number of bytes to be written next, and may wait or raise. A later call continues with
        the bytes written until then. ``reads_back`` verifies the digest by reading the payload back, and not its size alone.

        Raises PayloadCorrupt if the source does not match the digest, ReadBackDiffers if the store does not have the written
        bytes, and NameConflict if the name is another payload's.
        """

    def remove(self, name: str) -> bool:
        """Delete a file, and return whether it existed. Under the lock only."""


Step = tuple[str, t.Callable[[], None]]  # a name for the report, and the function to call


class Trial(t.Protocol):
    """Performs the steps of an upload, and of a prune after it, with a small file."""

    def refusal(self) -> str | None:
        """Return why the account may delete nothing, None if it may. Writes no file."""

    def steps(self) -> t.Sequence[Step]:
        """Return the steps in order. The first one writes, the last one deletes."""

    def clean_up(self) -> None:
        """Delete what a failed step left, as far as that is possible."""


class RemoteStore(Store, t.Protocol):
    """A store behind a connection, which can be tried step by step."""

    @property
    def remembered(self) -> bool:
        """Return whether opening the connection added something to this host's files, or in check mode would have."""

    def steps(self) -> t.Iterator[Step]:
        """Yield the steps that open the connection, in order. Call each before taking the next."""

    def server_facts(self) -> dict[str, t.Any]:
        """Return the facts of the server for the result. A fact that is not known yet is None."""

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written, None if the server does not report that."""

    def trial(self) -> Trial:
        """Return a trial of the store with a small file."""
