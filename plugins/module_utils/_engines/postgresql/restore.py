"""PostgreSQL: a restore into a new database beside the old one, and a swap of their names.

write, fill   the new database, see new_database
swap          in one transaction: what belongs to the database itself, and the two names, see swap
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases, remains
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import connecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.filling import Filling
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.new_database import (
    NewDatabase,
    controlling,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.pooler import check_pooling
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.preconditions import (
    check_room,
    check_version,
    check_writable,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import protected, set_encoding
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.run_sql import run_sql
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.swap import Names, Swap
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Swapped, TargetState
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupError,
    ConnectionLost,
    Locked,
    NameRefused,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import psycopg2.extensions


class PostgresqlRestorer:
    """Restores backups to one database of a server."""

    name: t.ClassVar[str] = "postgresql"
    unpacks: t.ClassVar[bool] = True
    in_use_remedy: t.ClassVar[str] = "End these sessions, or set terminate_sessions; the database is as it was."

    def __init__(self, options: PostgresqlRestoreOptions, runner: Runner) -> None:
        self.database = options.database
        self._options = options
        self._runner = runner

    @property
    def plan(self) -> tuple[str, ...]:
        return tuple(one.plan for one in (self._options.parts, self._options.run_sql) if one is not None)

    def describe_server(self, manifest: Manifest) -> str | None:
        return f"PostgreSQL {manifest.server_version}" if manifest.server_version else None

    def examine_target(self, manifest: Manifest) -> TargetState:
        _check_names(self._options)
        if self._options.no_owner and manifest.format == "plain":
            raise ArgumentInvalid(
                "no_owner is not for plain dumps, whose owners and grants are among the rest of the SQL.",
                "Leave it out; include_globals restores the roles that are missing.",
            )
        if self._options.parts is not None and manifest.format == "plain":
            raise ArgumentInvalid(
                "restore_only is for archives: the backup is a plain dump, which is one text of SQL without a list of its parts.",
                "Restore all of it to a new database, and drop there what you don't need.",
            )
        check_pooling(self._options.login)
        with connecting(self._options.login, is_stopped=self._runner.is_stopped) as connection:
            set_encoding(connection)  # or a name could not be sent to a database in SQL_ASCII
            check_writable(connection)
            check_version(connection, manifest)
            check_room(connection, manifest)
            return TargetState(
                exists=databases.exists(connection, self.database),
                sessions=databases.sessions(connection, self.database),
                prepared=databases.prepared_transactions(connection, self.database),
            )

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[PostgresqlRestoration]:
        with contextlib.ExitStack() as stack:
            control = stack.enter_context(controlling(self._options.login))
            file = make_file()
            stack.callback(os.close, file)
            restoration = PostgresqlRestoration(self._options, self._runner, manifest, control, stamp, file)
            with remains.removing_after_failure(restoration.new.remove):
                yield restoration


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
        login = protected(options.login.reached(control), control)
        self._options = options = dataclasses.replace(options, login=login)
        self._runner = runner
        self._control = control
        target = options.database
        if not databases.lock(control, target):
            raise Locked(f"Another run is restoring the database {target}.", "Wait for it, or see in pg_locks who it is.")
        swept = remains.sweep(control, options.login)
        text = databases.free_stamp(control, target, stamp)
        self._names = Names(
            restoring=databases.derived_name(target, f"_restoring_{text}"),
            restored=databases.derived_name(target, f"_restored_{text}"),
            target=target,
            replaced=databases.derived_name(target, f"_replaced_{text}"),
        )
        filling = Filling(
            options.login, options.no_owner, options.jobs, options.bin_directory, becomes=target, parts=options.parts
        )
        self.new = NewDatabase(filling, runner, manifest, control, file, self._names.restoring, properties_of=target)
        self.new.warnings += swept

    def write_globals(self, data: bytes | memoryview) -> None:
        self.new.write_globals(data)

    def write(self, data: bytes | memoryview) -> None:
        self.new.write(data)

    def fill(self) -> None:
        with self._runner.stopping(self._control.cancel), self._naming_what_parts_lack():
            self.new.fill()
        if self._options.run_sql is not None:
            run_sql(self._options.login, self.new.name, self.new.properties.search_path, self._options.run_sql, self._runner)
        if self._options.analyze:
            self.new.analyze()

    @contextlib.contextmanager
    def _naming_what_parts_lack(self) -> t.Iterator[None]:
        """Add a remedy to errors of missing objects: the backup may lack them, or not record a need such as a function body's."""
        try:
            yield
        except ProgramFailed as error:
            if self._options.parts is None:
                raise
            raise ProgramFailed(
                error.problem,
                "Name in restore_only what this lacks. If the backup lacks it, as a partial one may, restore from a whole one. "
                "No database was made.",
                **error.details,
            ) from error

    def swap(self) -> Swapped:
        self.new.settle()
        options, names = self._options, self._names
        swap = Swap(
            control=self._control,
            login=options.login,
            runner=self._runner,
            names=names,
            properties=self.new.last_statements,
            terminate_sessions=options.terminate_sessions,
            keep_old=options.keep_old or not self.new.is_whole,
            may_replace=options.may_replace,
        )
        try:
            with self._runner.stopping(self._control.cancel):
                done = swap.run()
        except ConnectionLost:
            self.new.give_away()  # it may be in use by now, and the roles with it
            raise
        self.new.give_away()
        if done.problem is not None:
            self.new.warnings.append(f"The database was swapped, though its session was lost: {done.problem}")
        is_whole = self.new.finish(names.target)
        if done.replaced:
            self._warn_of_slots()
        kept = done.replaced and (options.keep_old or not is_whole)
        if done.replaced and not kept:
            self._drop_replaced()
        return Swapped(names.replaced if kept else None, done.seconds, tuple(self.new.warnings))

    def _warn_of_slots(self) -> None:
        """Say which logical replication slots are with the old database: who reads them gets nothing of the new one."""
        with contextlib.suppress(BackupError):
            slots = databases.slots(self._control, self._names.replaced)
            if slots:
                self.new.warnings.append(
                    f"The logical replication slots of the old database are not on the new one: {', '.join(slots)}. "
                    "Make them again, and have their readers begin anew."
                )

    def _drop_replaced(self) -> None:
        """Drop the old database. It is marked: what can't be dropped now is dropped by the next restore."""
        try:
            with contextlib.ExitStack() as stack:
                control = self._control
                if not databases.answers(control):
                    control = stack.enter_context(controlling(self._options.login))
                remains.remove(control, self._options.login, self._names.replaced)
        except BackupError as error:
            self.new.warnings.append(f"The old database still exists as {self._names.replaced}: {error.problem}")


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
