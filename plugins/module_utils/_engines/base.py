# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""What every engine of databases can do: say what there is to back up, dump it as a stream, and restore such a dump."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Kind

Format = t.Literal["custom", "plain"]


@dataclass(frozen=True)
class Target:
    """One thing to back up: what its manifest will say of where it comes from.

    ``instance`` tells databases of one name apart. ``partial`` has the arguments that leave a part of the database out.
    ``copy_bytes`` is the room that the engine's own copy takes beside the payload while the dump runs.
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
        """What the target is called in messages."""
        return "the cluster's globals" if self.kind == "globals" else f"the database {self.database}"


@dataclass(frozen=True)
class Unavailable:
    """Something that was asked for and can't be backed up, and why."""

    database: str
    error: BackupError


@dataclass(frozen=True)
class Survey:
    """What an engine found when it was asked what there is to back up."""

    targets: tuple[Target, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class ContentDigest(t.Protocol):
    """Looks at a dump as it passes: whether it is whole, and which digest its content has.

    The digest leaves out what changes without the data changing.
    """

    def update(self, chunk: memoryview) -> None:
        """Take in the next bytes; the chunk is used up when this returns."""

    def finish(self) -> str:
        """Return the SHA-256 in hexadecimal. Raises ContentInvalid when the dump is not whole."""


class Content(t.Protocol):
    """A dump that runs."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as the dump goes, and return how many bytes that were: 0 at its end."""

    def finish(self) -> None:
        """Wait for the end of the dump. Raises ProgramFailed and its like unless all went well."""


@dataclass(frozen=True)
class Found:
    """What a look that ended well came to, in words; after a restore also how many tables and rows came back."""

    detail: str
    tables: int | None = None
    rows: int | None = None


WHOLE = Found("Its structure is whole.")


class Look(t.Protocol):
    """Takes in the content of a backup, and judges it in the end."""

    def write(self, data: bytes | memoryview) -> None:
        """Take in the next bytes; they are used up when this returns."""

    def finish(self) -> Found:
        """Say that there are no more. Raises ContentInvalid for what is not good, any other error where that can't be told."""


class Examination(t.Protocol):
    """Looks at the content of one backup."""

    def looking(self) -> t.ContextManager[Look]:
        """Begin to look at the structure."""

    def restoring(self) -> t.ContextManager[Look]:
        """Begin to restore it, to where nobody else is; leaving this removes what came of it."""


class Engine(t.Protocol):
    """One kind of database."""

    name: t.ClassVar[str]

    def survey(self) -> Survey:
        """Return what there is to back up. Raises when the server can't even be asked."""

    def dumping(self, target: Target, make_copy_file: t.Callable[[], str]) -> t.ContextManager[Content]:
        """Begin to dump. Leaving it before the end gives up the dump.

        ``make_copy_file`` makes an empty file beside the payload, for an engine that can only be dumped by a copy.
        """

    def content_digest(self, target: Target) -> ContentDigest:
        """Return what looks at a dump of the target as it passes."""


@dataclass(frozen=True)
class Situation:
    """The target of a restore: whether the database exists, who is connected to it, and its prepared transactions."""

    exists: bool
    sessions: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swapped:
    """What came of a restore.

    ``previous`` is the name that the old database has now, None where none was kept. For ``seconds`` clients found none.
    """

    previous: str | None
    seconds: float
    warnings: tuple[str, ...] = ()


class Restoration(t.Protocol):
    """A restore that runs, in the order of its methods. What is there already stays as it is until ``swap``."""

    def write_globals(self, data: bytes | memoryview) -> None:
        """Take in the globals that come first, if they do."""

    def write(self, data: bytes | memoryview) -> None:
        """Take in the content."""

    def fill(self) -> None:
        """Make the new database beside the old one. Called when all that was taken in is known to be right."""

    def swap(self) -> Swapped:
        """Put the new database in the old one's place."""


class RestoreEngine(t.Protocol):
    """One kind of database, and one of its databases that is to be restored."""

    name: t.ClassVar[str]

    @property
    def database(self) -> str:
        """What is to be restored, as the user names it."""

    def look(self, manifest: Manifest) -> Situation:
        """Look at where a backup is to go. Raises what keeps it from going there at all."""

    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.ContextManager[Restoration]:
        """Begin to restore. Leaving it before the end of ``swap`` removes all that was made.

        ``make_file`` makes a file without a name for the content, and returns its descriptor.
        """
