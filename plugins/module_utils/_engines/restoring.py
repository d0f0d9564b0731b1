"""The part of an engine that db_restore uses: it restores a backup to a database."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest


@dataclass(frozen=True)
class TargetState:
    """The target of a restore: whether the database exists, who is connected to it, and its prepared transactions."""

    exists: bool
    sessions: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swapped:
    """The result of a restore.

    ``previous`` is the new name of the old database, None if it was not retained. For ``seconds``, clients found no database
    under the old name.
    """

    previous: str | None
    seconds: float
    warnings: tuple[str, ...] = ()


class Restoration(t.Protocol):
    """A running restore. The methods are called in this order. The old database stays as it is until ``swap``."""

    def write_globals(self, data: bytes | memoryview) -> None:
        """Receive the globals, if any. They come before the content."""

    def write(self, data: bytes | memoryview) -> None:
        """Receive the content."""

    def fill(self) -> None:
        """Make the new database beside the old one. Called after all digests matched."""

    def swap(self) -> Swapped:
        """Put the new database in the old one's place."""


class Restorer(t.Protocol):
    """Restores backups to one database.

    ``unpacks`` is whether it needs room for the unpacked content in the file of ``make_file``. ``in_use_remedy`` says what to
    do about a target that is in use.
    """

    name: t.ClassVar[str]
    unpacks: t.ClassVar[bool]
    in_use_remedy: t.ClassVar[str]

    @property
    def database(self) -> str:
        """The target, as the user names it."""

    @property
    def plan(self) -> tuple[str, ...]:
        """What differs from a restore of the whole backup alone, as lines for a diff."""

    def describe_server(self, manifest: Manifest) -> str | None:
        """Return the server that a backup is from, with its version; None if the engine has no servers."""

    def examine_target(self, manifest: Manifest) -> TargetState:
        """Examine the target for a backup. Raises an error if the backup can't be restored to it at all."""

    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.ContextManager[Restoration]:
        """Begin to restore. Leaving the context before the end of ``swap`` removes the new database.

        ``make_file`` makes a file without a name for the content, and returns its descriptor.
        """
