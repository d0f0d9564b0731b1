# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""PostgreSQL: a restore into a new database beside the old one, and a swap of their names.

write, fill   the new database, see new_database
swap          in one transaction: what belongs to the database itself, and the two names
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.connection import Login, connecting, execute
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.new_database import (
    Filling,
    NewDatabase,
    controlling,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.preconditions import (
    check_room,
    check_version,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.base import Situation, Swapped
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupError,
    DatabaseInUse,
    Locked,
    NameRefused,
    QueryFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import psycopg2.extensions

_IN_USE = "55006"
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class PostgresqlRestoreOptions:
    """Which database is to be restored, where, and how."""

    login: Login
    database: str
    keep_old: bool = False
    terminate_sessions: bool = False
    no_owner: bool = False
    jobs: int = 2
    bin_directory: str | None = None


class PostgresqlRestoreEngine:
    """A database of a server that is to be restored."""

    name: t.ClassVar[str] = "postgresql"

    def __init__(self, options: PostgresqlRestoreOptions, runner: Runner) -> None:
        self.database = options.database
        self._options = options
        self._runner = runner

    def look(self, manifest: Manifest) -> Situation:
        _check_names(self._options)
        if self._options.no_owner and manifest.format == "plain":
            raise ArgumentInvalid(
                "no_owner is not for plain dumps, whose owners and grants are among the rest of the SQL.",
                "Leave it out; include_globals restores the roles that are missing.",
            )
        with connecting(self._options.login) as connection:
            check_version(connection, manifest)
            check_room(connection, manifest)
            return Situation(databases.exists(connection, self.database), databases.sessions(connection, self.database))

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[PostgresqlRestoration]:
        with contextlib.ExitStack() as stack:
            control = stack.enter_context(controlling(self._options.login))
            file = make_file()
            stack.callback(os.close, file)
            restoration = PostgresqlRestoration(self._options, self._runner, manifest, control, stamp, file)
            try:
                yield restoration
            except BaseException as error:
                left = restoration.new.remove()
                if left is None or not isinstance(error, BackupError):
                    raise
                # The error stays what it is; what it could not clean up is said with it.
                error.args = (f"{error} {left}", *error.args[1:])
                raise


class PostgresqlRestoration:
    """A restore that runs."""

    def __init__(
        self,
        options: PostgresqlRestoreOptions,
        runner: Runner,
        manifest: Manifest,
        control: psycopg2.extensions.connection,
        stamp: datetime,
        file: int,
    ) -> None:
        self._options = options = dataclasses.replace(options, login=options.login.reached(control))
        self._control = control
        target = options.database
        if not databases.lock(control, target):
            raise Locked(f"Another run is restoring the database {target}.", "Wait for it, or see in pg_locks who it is.")
        swept = databases.sweep(control)
        text = databases.free_stamp(control, target, stamp)
        self._restored = databases.derived_name(target, f"_restored_{text}")
        self._replaced = databases.derived_name(target, f"_replaced_{text}")
        filling = Filling(options.login, options.no_owner, options.jobs, options.bin_directory)
        name = databases.derived_name(target, f"_restoring_{text}")
        self.new = NewDatabase(filling, runner, manifest, control, file, name, properties_of=target)
        self.new.warnings += swept

    def write_globals(self, data: bytes | memoryview) -> None:
        self.new.write_globals(data)

    def write(self, data: bytes | memoryview) -> None:
        self.new.write(data)

    def fill(self) -> None:
        self.new.fill()

    def swap(self) -> Swapped:
        control, target = self._control, self._options.database
        self._wait_until_alone()
        exists = databases.exists(control, target)
        control.autocommit = False
        try:
            self._give_properties()
            self._rename(self.new.name, self._restored)  # nobody can connect to it any more: nothing holds up what follows
            with self._nobody_on_target() if exists else contextlib.nullcontext(time.monotonic()) as began:
                if exists:
                    self._rename(target, self._replaced)
                self._rename(self._restored, target)
                if exists and not self._options.keep_old:
                    databases.mark(control, self._replaced)
                control.commit()
            seconds = time.monotonic() - began
        except BaseException:
            if not control.closed:
                control.rollback()
            raise
        finally:
            if not control.closed:
                control.autocommit = True
        self.new.give_away()
        if exists and not self._options.keep_old:
            self._drop_replaced()
        kept = self._replaced if exists and self._options.keep_old else None
        return Swapped(kept, seconds if exists else 0.0, tuple(self.new.warnings))

    def _wait_until_alone(self) -> None:
        """Wait until the sessions of the program that filled it are gone: a name is changed only when there are none."""
        databases.wait_until_gone(self._control, self.new.name)
        databases.end_sessions(self._control, self.new.name)

    def _give_properties(self) -> None:
        name = quote_identifier(self.new.name)
        execute(self._control, f"COMMENT ON DATABASE {name} IS NULL")
        if self.new.changes_role():
            execute(self._control, f"REVOKE CONNECT ON DATABASE {name} FROM SESSION_USER")
        execute(self._control, f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
        for statement in self.new.properties.others_as(self.new.name):
            execute(self._control, statement)

    @contextlib.contextmanager
    def _nobody_on_target(self) -> t.Iterator[float]:
        """See that nobody is on the target, or end the sessions, those too that come before its name is taken away.

        Give the time from which on clients may notice.
        """
        target = self._options.database
        if not self._options.terminate_sessions:
            sessions = databases.sessions(self._control, target)
            if sessions:
                raise in_use(target, sessions)
            yield time.monotonic()
            return
        with connecting(self._options.login) as connection:
            began = time.monotonic()
            databases.end_sessions(connection, target)
            databases.wait_until_gone(connection, target)  # not by control, whose transaction sees the sessions as they were
            done = threading.Event()

            def keep_ending() -> None:
                while not done.wait(_POLL_SECONDS):
                    with contextlib.suppress(BackupError):  # then the name can't be taken, which says why
                        databases.end_sessions(connection, target)

            thread = threading.Thread(target=keep_ending, name="sessions", daemon=True)
            thread.start()
            try:
                yield began
            finally:
                done.set()
                thread.join()

    def _rename(self, name: str, new_name: str) -> None:
        try:
            execute(self._control, f"ALTER DATABASE {quote_identifier(name)} RENAME TO {quote_identifier(new_name)}")
        except QueryFailed as error:
            if error.details.get("sqlstate") != _IN_USE:
                raise
            raise DatabaseInUse(
                f"The database {name} could not be swapped: {error.problem}",
                "End what is connected to it, or set terminate_sessions; the database is as it was.",
            ) from error

    def _drop_replaced(self) -> None:
        try:
            databases.drop(self._control, self._replaced)
        except BackupError as error:
            self.new.warnings.append(f"The old database is still there as {self._replaced}: {error.problem}")


def in_use(database: str, sessions: t.Sequence[str]) -> DatabaseInUse:
    """Return the error that names who is connected."""
    return DatabaseInUse(
        f"The database {database} is in use: {'; '.join(sessions)}.",
        "End these sessions, or set terminate_sessions; the database is as it was.",
        sessions=list(sessions),
    )


def _check_names(options: PostgresqlRestoreOptions) -> None:
    if "\n" in options.database or "\r" in options.database:
        raise NameRefused(
            f"The database {options.database!r} has a line break in its name, and PostgreSQL's programs refuse such names.",
            "Restore it under another name.",
        )
    if not 0 < len(options.database.encode("utf-8", "surrogatepass")) <= databases.LONGEST_NAME:
        raise ArgumentInvalid(
            f"database is {options.database!r}, and PostgreSQL's names have 1 to {databases.LONGEST_NAME} bytes.",
            "Give another name.",
        )
    if options.database in (options.login.database, "template0", "template1"):
        raise ArgumentInvalid(
            f"database is {options.database}, and no database can be replaced while the module is connected to it.",
            "Name another database in login_db, such as template1.",
        )
