"""The part of an engine that db_backup uses: it surveys and dumps databases."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest, Format
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Position
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Kind


@dataclass(frozen=True)
class Target:
    """One database or cluster to dump, as its manifest will describe it.

    ``instance`` distinguishes databases of the same name. ``partial`` has the arguments that exclude a part of the database.
    ``copy_bytes`` is the size of the engine's own copy, which is beside the payload while the dump runs.
    """

    kind: Kind
    database: str | None
    engine: str
    instance: str
    source: str
    server_version: str
    tool: str
    format: Format
    major_mismatch: bool = False
    partial: tuple[str, ...] = ()
    copy_bytes: int = 0

    @property
    def title(self) -> str:
        """The name of the target in messages."""
        return "the cluster's globals" if self.kind == "globals" else f"the database {self.database}"


@dataclass(frozen=True)
class Unavailable:
    """A database that was selected and can't be backed up, and why. ``source`` is set if each database has its own."""

    database: str
    error: BackupError
    source: str | None = None


@dataclass(frozen=True)
class Scope:
    """The server's address and the selected databases, known from the options alone.

    If ``databases`` is None, it selects all that match no pattern of ``exclude``. ``partial`` is as in ``Target``.
    """

    address: str
    databases: tuple[str, ...] | None
    exclude: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    with_globals: bool = False

    def named(self) -> list[str]:
        """Return the databases that are selected by their names."""
        return [name for name in self.databases or () if not self._is_excluded(name)]

    def covers(self, kind: str, database: str | None, partial: tuple[str, ...]) -> bool:
        """Return whether a database, or the globals, are selected."""
        if kind == "globals" or database is None:
            return kind == "globals" and self.with_globals
        is_selected = self.databases is None or database in self.databases
        return is_selected and partial == self.partial and not self._is_excluded(database)

    def _is_excluded(self, database: str) -> bool:
        return any(fnmatch.fnmatchcase(database, pattern) for pattern in self.exclude)


@dataclass(frozen=True)
class Survey:
    """The databases that an engine can and can't back up."""

    targets: tuple[Target, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class Content(t.Protocol):
    """A running dump."""

    def readinto(self, buffer: memoryview) -> int:
        """Read into the buffer, and return the number of bytes: 0 at the end of the dump."""

    def finish(self) -> Position | None:
        """Wait for the end of the dump. Raises ProgramFailed or another error unless the dump is complete.

        Returns the position in the server's binary log, None if it is not known.
        """


class Dumper(t.Protocol):
    """Dumps the databases of one engine that the options select."""

    name: t.ClassVar[str]

    def scope(self) -> Scope:
        """Return the address and the selection in the options, without asking the server."""

    def survey(self) -> Survey:
        """Return the databases to dump. Raises an error if the server can't be asked."""

    def dumping(self, target: Target, make_copy_file: t.Callable[[], str]) -> t.ContextManager[Content]:
        """Begin to dump. Leaving the context before the end cancels the dump.

        ``make_copy_file`` makes an empty file beside the payload, for an engine that can only be dumped as a copy.
        """

    def content_digest(self, target: Target, algorithm: Hash) -> ContentDigest:
        """Return a new digest for a dump of the target, computed by a new hash."""
