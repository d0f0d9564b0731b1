"""Puts a new database in the place of an old one.

No statement renames a database. One RENAME TABLE, which is atomic, moves all tables of both. It moves no trigger or view:

take      drop the triggers of the old database, whose statements were read before
rename    move the old tables away, and the new ones to their place
make      replace the other objects of the old database by those of the new one
undo      after an error in one of these, reverse them, so that the old database is as it was
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql import databases, objects
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import execute
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.databases import SequenceDefault, qualified
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.objects import StoredObject
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Database
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DatabaseExists,
    DatabaseLocked,
    Interrupted,
    QueryFailed,
)

if t.TYPE_CHECKING:
    import pymysql

_ALL_ATTEMPTS_SECONDS = 20.0
_PAUSE_SECONDS = 0.2
_LOCKED = (1205, 1213)


@dataclass(frozen=True)
class Names:
    """The names in a restore: of the new database, of the target, and of the old database after the swap."""

    restoring: str
    target: str
    replaced: str


class Swap:
    """One swap, for a single ``run``."""

    def __init__(
        self,
        connection: pymysql.Connection[t.Any],
        names: Names,
        new_objects: t.Sequence[StoredObject],
        is_stopped: t.Callable[[], bool],
        *,
        may_replace: bool,
    ) -> None:
        self._connection = connection
        self._names = names
        self._new_objects = new_objects
        self._is_stopped = is_stopped
        self._may_replace = may_replace
        self._old: Database | None = None
        self._old_objects: list[StoredObject] = []
        self._created = False  # whether the target is ours to drop: somebody else may make it in the meantime
        self._renamed = False
        self._defaults: list[SequenceDefault] = []  # of the new tables

    def run(self) -> float:
        """Swap, and return for how many seconds clients found no complete database. After an error, undo it and raise that."""
        connection, names = self._connection, self._names
        new = dataclasses.replace(databases.read(connection, names.restoring), name=names.target)
        self._prepare(new)
        execute(connection, "SET SESSION lock_wait_timeout = 1")
        deadline = time.monotonic() + _ALL_ATTEMPTS_SECONDS
        while True:
            began = time.monotonic()
            try:
                self._attempt(new)
            except BaseException as error:
                self._undo(error)
                if not _is_locked(error):
                    raise
                if self._is_stopped():
                    raise Interrupted("The run was ended before the swap.", "Run it again.") from error
                if time.monotonic() > deadline:
                    raise DatabaseLocked(
                        f"Other sessions held locks on the tables of {names.target} for {_ALL_ATTEMPTS_SECONDS:g} seconds.",
                        "See in SHOW FULL PROCESSLIST who holds them; the database is as it was.",
                    ) from error
                time.sleep(_PAUSE_SECONDS)
                continue
            return time.monotonic() - began

    def keep(self) -> None:
        """Give the old database its views, triggers, routines and events again. Its events do not run."""
        if self._old is None:
            return
        names = self._names
        defaults = databases.sequence_defaults(self._connection, names.replaced, names.target)
        databases.move_sequence_defaults(self._connection, defaults, names.target, names.replaced)
        replaced = dataclasses.replace(self._old, name=names.replaced)
        objects.make_all(self._connection, replaced, [each for each in self._old_objects if each.kind != "EVENT"])

    @property
    def left_out(self) -> list[str]:
        """The events that the retained old database lacks."""
        return [each.name for each in self._old_objects if each.kind == "EVENT"]

    @property
    def replaced(self) -> bool:
        """Whether there was an old database."""
        return self._old is not None

    def _prepare(self, new: Database) -> None:
        """Read the objects of the old database, and make the databases that the tables move to."""
        connection, names = self._connection, self._names
        objects.remove(connection, names.restoring, objects.names(connection, names.restoring))
        self._defaults = databases.sequence_defaults(connection, names.restoring, names.restoring)
        if not databases.exists(connection, names.target):
            return
        if not self._may_replace:
            raise DatabaseExists(
                f"The database {names.target} came into being during the restore, and is as it was.",
                "See who made it, or restore under another name.",
            )
        self._old = databases.read(connection, names.target)
        self._old_objects = objects.read_all(connection, names.target)
        execute(connection, f"CREATE DATABASE {quote_identifier(names.replaced)} {self._old.settings()}")
        databases.mark(connection, names.replaced, (each.to_note() for each in self._old_objects))

    def _attempt(self, new: Database) -> None:
        connection, names = self._connection, self._names
        if self._old is None:
            execute(connection, f"CREATE DATABASE {quote_identifier(names.target)} {new.settings()}")
            self._created = True
        self._remove(self._old_objects, "TRIGGER")
        self._rename(names.restoring, names.target, names.replaced)
        self._renamed = True
        databases.move_sequence_defaults(connection, self._defaults, names.restoring, names.target)
        execute(connection, f"ALTER DATABASE {quote_identifier(names.target)} {_all_of(new)}")
        self._remove(self._old_objects)
        objects.make_all(connection, new, self._new_objects)

    def _undo(self, cause: BaseException) -> None:
        """Restore the target's earlier state."""
        connection, names = self._connection, self._names
        try:
            if self._old is None:
                if self._renamed:
                    objects.remove(connection, names.target, objects.names(connection, names.target))
                    self._rename(names.target, names.restoring, None)
                if self._created:
                    databases.drop(connection, names.target)
                    self._created = False
            else:
                if self._renamed:
                    objects.remove(connection, names.target, objects.names(connection, names.target))
                    self._rename(names.replaced, names.target, names.restoring)
                    execute(connection, f"ALTER DATABASE {quote_identifier(names.target)} {_all_of(self._old)}")
                present = set(objects.names(connection, names.target))
                objects.make_all(connection, self._old, [one for one in self._old_objects if (one.kind, one.name) not in present])
            self._renamed = False
        except BackupError as error:
            raise QueryFailed(
                f"The swap failed, and could not be undone: {error.problem} The tables of {names.target} are in {names.replaced} "
                f"or {names.restoring}. The swap had failed because: {cause}",
                "Move the tables by RENAME TABLE, and make views, triggers, routines and events anew.",
            ) from cause

    def _remove(self, found: t.Sequence[StoredObject], kind: str | None = None) -> None:
        listed = [(one.kind, one.name) for one in found if kind in (None, one.kind)]
        objects.remove(self._connection, self._names.target, listed)

    def _rename(self, source: str, target: str, away: str | None) -> None:
        """Move the tables of the target away, and those of the source to the target."""
        connection = self._connection
        moves = [] if away is None or not databases.exists(connection, away) else [(target, away)]
        parts = [
            f"{qualified(before, table)} TO {qualified(after, table)}"
            for before, after in (*moves, (source, target))
            for table in databases.tables(connection, before)
        ]
        if parts:
            execute(connection, f"RENAME TABLE {', '.join(parts)}")


def _all_of(database: Database) -> str:
    """Return all settings of a database, including an empty comment."""
    return database.settings() if database.comment else f"{database.settings()} /*M!100502 COMMENT '' */"


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, QueryFailed) and error.details.get("number") in _LOCKED
