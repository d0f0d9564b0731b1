"""PostgreSQL: the new database takes the name of the old one, in one transaction.

A session that waits for the lock on a database keeps every new client of that database waiting behind it. So each attempt
waits a moment only, and between two attempts clients come in. The server ends an attempt whose client has died.

The connection may be lost at the COMMIT, before or after the server has done it. Only the server knows: once the old session
has ended there, a new one reads which database has the name.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    execute,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import set_encoding
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.watch import Watch, watching
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionLost,
    DatabaseExists,
    DatabaseInUse,
    DatabaseLocked,
    Interrupted,
    QueryFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import psycopg2.extensions

_IN_USE = "55006"
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK_WAIT_MILLISECONDS = 1000  # a new client of the database waits as long, too
_PAUSE_SECONDS = 1.0
_ALL_ATTEMPTS_SECONDS = 20.0
_IDLE_MILLISECONDS = 30_000  # a client that stands still in the transaction holds the database's lock
_AFTERWARDS_SECONDS = 60.0  # a server that has crashed at the COMMIT has to recover first
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Names:
    """The names of the new database while it is filled, during the swap, and afterwards; and the new name of the old one."""

    restoring: str
    restored: str
    target: str
    replaced: str


@dataclass(frozen=True)
class SwapDone:
    """The names are swapped. For ``seconds`` clients found no database; ``problem`` is the error of the COMMIT, if any."""

    replaced: bool
    seconds: float
    problem: str | None


@dataclass(frozen=True)
class Swap:
    """Gives the new database its name. ``properties`` are the statements that run in the same transaction."""

    control: psycopg2.extensions.connection
    login: Login
    runner: Runner
    names: Names
    properties: t.Callable[[], t.Sequence[str]]
    terminate_sessions: bool
    keep_old: bool
    may_replace: bool

    def run(self) -> SwapDone:
        """Swap. After an error the old database still has its name, except after ConnectionLost, when that is not known."""
        names = self.names
        new = databases.oid(self.control, names.restoring)
        session = databases.session_of(self.control)
        exists = databases.exists(self.control, names.target)
        if exists and not self.may_replace:
            raise DatabaseExists(
                f"The database {names.target} came into being during the restore, and is as it was.",
                "See who made it, or restore under another name.",
            )
        with watching(self.control, self.login, names.target, terminate=exists and self.terminate_sessions) as watch:
            began = self._attempt_until_done(watch, exists)
            problem = self._commit(session, new)
            return SwapDone(exists, time.monotonic() - began if exists else 0.0, problem)

    def _attempt_until_done(self, watch: Watch, exists: bool) -> float:
        """Try until the names are changed, but for the commit. Return the time from which on clients may notice."""
        deadline = time.monotonic() + _ALL_ATTEMPTS_SECONDS
        while True:
            began = time.monotonic()
            if exists and self.terminate_sessions:
                watch.end_sessions()
            try:
                with watch.waiting():
                    self._attempt(watch, exists)
                return began
            except QueryFailed as error:
                self._check_stopped()
                if error.details.get("sqlstate") != _LOCK_NOT_AVAILABLE:
                    raise
                if time.monotonic() > deadline:
                    raise self._locked(watch) from error
            self._pause()

    def _attempt(self, watch: Watch, exists: bool) -> None:
        names = self.names
        databases.begin(self.control)
        try:
            execute(self.control, f"SET LOCAL lock_timeout = {_LOCK_WAIT_MILLISECONDS}")
            execute(self.control, f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MILLISECONDS}")
            for statement in self.properties():
                execute(self.control, statement)
            self._rename(names.restoring, names.restored)  # nobody can connect to it any more: nothing holds up what follows
            if exists:
                if not self.terminate_sessions:
                    databases.check_unused(self.control, names.target)
                self._rename(names.target, names.replaced, watch)
            self._rename(names.restored, names.target)
            if exists and not self.keep_old:
                databases.mark(self.control, names.replaced)
            self._check_stopped()
        except BaseException:
            databases.roll_back(self.control)
            raise

    def _rename(self, name: str, new_name: str, watch: Watch | None = None) -> None:
        try:
            execute(self.control, f"ALTER DATABASE {quote_identifier(name)} RENAME TO {quote_identifier(new_name)}")
        except QueryFailed as error:
            if error.details.get("sqlstate") != _IN_USE:
                raise
            if watch is not None and watch.failure is not None:
                raise watch.failure from error
            raise DatabaseInUse(
                f"The database {name} could not be swapped: {error.problem}",
                "End what is connected to it, or set terminate_sessions; the database is as it was.",
            ) from error

    def _pause(self) -> None:
        end = time.monotonic() + _PAUSE_SECONDS
        while time.monotonic() < end:
            self._check_stopped()
            time.sleep(_POLL_SECONDS)

    def _check_stopped(self) -> None:
        if self.runner.is_stopped():
            raise Interrupted("The run was ended before the swap.", "The database is as it was; run it again.")

    def _locked(self, watch: Watch) -> DatabaseLocked:
        return DatabaseLocked(
            f"The database {self.names.target} could not be swapped: it was locked for {_ALL_ATTEMPTS_SECONDS:g} seconds, by "
            f"{'; '.join(watch.holders) or 'a session that pg_locks names'}.",
            "End that transaction (pg_terminate_backend ends its session), or run again when it has ended; the database is as "
            "it was.",
            holders=watch.holders,
        )

    def _commit(self, session: databases.Session, new: int) -> str | None:
        """Commit. Return the error if the server reported one but the swap was done."""
        try:
            databases.commit(self.control)
        except BackupError as error:
            if self._has_name(new, session, error):
                return error.problem
            databases.roll_back(self.control)
            self._check_stopped()
            raise QueryFailed(error.problem, "The server did not swap; the database is as it was. Run it again.") from error
        return None

    def _has_name(self, new: int, session: databases.Session, lost: BackupError) -> bool:
        """Return whether the database with that oid has the name. Asks after the lost session has ended."""
        deadline = time.monotonic() + _AFTERWARDS_SECONDS
        while True:
            try:
                with connecting(self.login) as connection:
                    set_encoding(connection)
                    databases.end_session(connection, session)
                    return databases.find_oid(connection, self.names.target) == new
            except BackupError as error:
                if time.monotonic() > deadline or self.runner.is_stopped():
                    raise ConnectionLost(
                        f"The connection was lost at the COMMIT of the swap ({lost.problem}), and the server can't say since "
                        f"then whether it was done: {error.problem}",
                        f"See which database is called {self.names.target}: the restored one has the oid {new}, and the old one "
                        f"is called {self.names.replaced} if it was swapped. Nothing that was made was removed.",
                        oid=new,
                    ) from error
            time.sleep(_POLL_SECONDS)
