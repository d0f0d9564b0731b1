"""Restores MariaDB and MySQL into a new database beside the old one, and swaps their tables.

write, fill   make the tables of the new database, see new_database
swap          exchange the tables of both databases, and make the other objects, see swap
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql import databases, objects
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.account_statements import (
    AccountStatements,
    make_accounts,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.accounts import accounts_of
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, connecting, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.faults import explained
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.new_database import NewDatabase
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.objects import StoredObject
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import MysqlRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import choose_program
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.remains import sweep
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.run_sql import run_sql
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import (
    SYSTEM,
    Server,
    all_databases,
    ask,
    version_number,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.swap import Names, Swap
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.table_selection import TableSelection
from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Swapped, TargetState
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupError,
    DatabaseInUse,
    Locked,
    ProgramFailed,
    ProgramMismatch,
    RolesMissing,
    ServerReadOnly,
    ServerTooOld,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import pymysql

_READ_ONLY = {"information_schema", "performance_schema"}


class MysqlRestorer:
    """Restores backups to one database of a server."""

    name: t.ClassVar[str] = "mysql"
    unpacks: t.ClassVar[bool] = True
    in_use_remedy: t.ClassVar[str] = "End these sessions, or set terminate_sessions; the database is as it was."

    def __init__(self, options: MysqlRestoreOptions, runner: Runner) -> None:
        self.database = options.database
        self._options = options
        self._runner = runner

    @property
    def plan(self) -> tuple[str, ...]:
        return tuple(one.plan for one in (self._options.parts, self._options.run_sql) if one is not None)

    def describe_server(self, manifest: Manifest) -> str | None:
        return f"the server of version {manifest.server_version}" if manifest.server_version else None

    def examine_target(self, manifest: Manifest) -> TargetState:
        _check_name(self.database)
        with connecting(self._options.login, is_stopped=self._runner.is_stopped) as connection:
            server = ask(connection, self._options.login)
            _check_server(connection, server, manifest)
            choose_program(self._runner, "client", server.product, self._options.bin_directory)
            exists = databases.exists(connection, self.database)
            if exists:
                _check_foreign_keys(connection, self.database)
            return TargetState(exists, tuple(databases.sessions(connection, self.database).values()))

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[MysqlRestoration]:
        with contextlib.ExitStack() as stack:
            login = self._options.login
            connection = stack.enter_context(connecting(login, seconds=0, is_stopped=self._runner.is_stopped))
            file = make_file()
            stack.callback(os.close, file)
            restoration = MysqlRestoration(
                self._options, self._runner, login.reached(connection), connection, stamp, file, source=manifest.database
            )
            try:
                yield restoration
            finally:
                restoration.clean_up()


class MysqlRestoration:
    """One restore, from its first byte to the swap."""

    def __init__(
        self,
        options: MysqlRestoreOptions,
        runner: Runner,
        login: Login,
        connection: pymysql.Connection[t.Any],
        stamp: datetime,
        file: int,
        *,
        source: str | None,
    ) -> None:
        self._options = options
        self._runner = runner
        self._login = login
        self._connection = connection
        target = options.database
        if not databases.lock(connection, target):
            raise Locked(f"Another run is restoring the database {target}.", "Wait for it.")
        self._warnings = sweep(connection, target)
        text = databases.free_stamp(connection, target, stamp)
        self._names = Names(
            restoring=databases.derived_name(target, f"_restoring_{text}"),
            target=target,
            replaced=databases.derived_name(target, f"_replaced_{text}"),
        )
        server = ask(connection, options.login)
        client = choose_program(runner, "client", server.product, options.bin_directory)
        selection = None if options.parts is None else TableSelection(options.parts.tables)
        self._new = NewDatabase(runner, client, login, file, self._names.restoring, source=source, selection=selection)
        self._objects: list[StoredObject] = []  # to make at the swap
        self._accounts: AccountStatements | None = None
        self._old_settings = server.databases[target].settings() if target in server.databases else ""

    def write_globals(self, data: bytes | memoryview) -> None:
        if self._accounts is None:
            self._accounts = AccountStatements()
        self._accounts.update(data)

    def write(self, data: bytes | memoryview) -> None:
        self._new.write(data)

    def fill(self) -> None:
        self._new.read()
        if self._accounts is not None:
            self._warnings += make_accounts(self._connection, self._accounts)
        self._check_definers()
        try:
            self._new.fill(self._connection, self._old_settings)
        except ProgramFailed as error:
            raise explained(error, self._options.database) from error
        if self._options.parts is not None:
            self._drop_dangling_keys()
        self._objects = [*self._new.shape.objects, *self._run_sql()]
        self._try_objects()

    def swap(self) -> Swapped:
        options, names, connection = self._options, self._names, self._connection
        if options.may_replace:
            self._end_sessions()
        swap = Swap(connection, names, self._objects, self._runner.is_stopped, may_replace=options.may_replace)
        seconds = swap.run()
        kept = swap.replaced and options.keep_old
        try:
            if kept:
                swap.keep()
                databases.unmark(connection, names.replaced)
                if swap.left_out:
                    self._warnings.append(f"The old database is retained without its events: {', '.join(swap.left_out)}.")
            elif swap.replaced:
                databases.drop(connection, names.replaced)
        except BackupError as error:
            self._warnings.append(f"The old database is in {names.replaced}, and not whole: {error.problem}")
        return Swapped(names.replaced if kept else None, seconds, tuple(self._warnings))

    def clean_up(self) -> None:
        """Remove the new database, which is empty after a swap, and the one for the old tables if no swap filled it."""
        with contextlib.suppress(BackupError):
            self._new.remove(self._connection)
        with contextlib.suppress(BackupError):
            if databases.is_marked(self._connection, self._names.replaced) and not databases.tables(
                self._connection, self._names.replaced
            ):
                databases.drop(self._connection, self._names.replaced)

    def _check_definers(self) -> None:
        """Raise RolesMissing unless the definers of the dump's objects exist."""
        definers = self._new.shape.definers
        if not definers:
            return
        missing = sorted(f"{user}@{host}" for user, host in definers - accounts_of(self._connection))
        if missing:
            raise RolesMissing(
                f"The server lacks accounts that the database needs, as definers of views, triggers, routines or events: "
                f"{', '.join(missing)}.",
                "Make them, or set include_globals if the backups have the accounts; the database is as it was.",
                roles=missing,
            )

    def _drop_dangling_keys(self) -> None:
        lost = databases.drop_dangling_keys(self._connection, self._names.restoring)
        if lost:
            self._warnings.append(
                f"Not restored, since they need tables that restore_only does not name: the foreign keys {'; '.join(lost)}."
            )

    def _run_sql(self) -> list[StoredObject]:
        """Run the user's SQL while the new database has only tables. Take the objects that it made out, and return them."""
        connection, name, sql = self._connection, self._names.restoring, self._options.run_sql
        if sql is None:
            return []
        objects.remove(connection, name, objects.names(connection, name))  # placeholders of views, with false rows
        run_sql(self._login, name, self._other_databases(), sql, self._runner)
        made = objects.read_all(connection, name)
        objects.remove(connection, name, [(each.kind, each.name) for each in made])
        return made

    def _other_databases(self) -> set[str]:
        """Return the databases that the user's SQL could change beside the new one, in lower case."""
        found = {self._names.target, *all_databases(self._connection)} - {self._names.restoring}
        return {each.lower() for each in found} - _READ_ONLY

    def _try_objects(self) -> None:
        """Make the objects in the new database as far as possible, so that errors show before the swap."""
        new = databases.read(self._connection, self._names.restoring)
        tried = [each for each in self._objects if each.kind not in ("VIEW", "EVENT")]
        objects.make_all(self._connection, new, tried)

    def _end_sessions(self) -> None:
        found = databases.sessions(self._connection, self._names.target)
        if not found:
            return
        if not self._options.terminate_sessions:
            raise DatabaseInUse(
                f"The database {self._names.target} is in use: {'; '.join(found.values())}.",
                MysqlRestorer.in_use_remedy,
                sessions=list(found.values()),
            )
        databases.end_sessions(self._connection, self._names.target)


def _check_name(name: str) -> None:
    if not 0 < len(name) <= databases.LONGEST_NAME or name.endswith(" ") or "\0" in name or max(name) > "\uffff":
        raise ArgumentInvalid(
            f"database is {name!r}, and names of MariaDB and MySQL have 1 to {databases.LONGEST_NAME} characters, none of "
            "them of 4 bytes, and no blank at the end.",
            "Give another name.",
        )
    if name.lower() in SYSTEM:
        raise ArgumentInvalid(f"database is {name}, which is the server's own.", "Give another name.")


def _check_server(connection: pymysql.Connection[t.Any], server: Server, manifest: Manifest) -> None:
    [(read_only,)] = query(connection, "SELECT @@GLOBAL.read_only")
    if read_only not in (0, "OFF", "0"):
        raise ServerReadOnly("The server is read-only, as a replica is.", "Restore to the primary server.")
    if manifest.server_version is None:
        return
    product = "MariaDB" if "mariadb" in manifest.server_version.lower() else "MySQL"
    if product != server.product:
        raise ProgramMismatch(
            f"The backup is of {product} {manifest.server_version}, and the server is {server.product} {server.version}: their "
            "dumps differ in collations, types and statements.",
            "Restore it to a server of the same product.",
        )
    if server.number[:2] < version_number(manifest.server_version)[:2]:
        raise ServerTooOld(
            f"The backup is of {product} {manifest.server_version}, and the server is older: {server.version}.",
            "Restore it to a server of that version or a newer one.",
        )


def _check_foreign_keys(connection: pymysql.Connection[t.Any], name: str) -> None:
    tables = databases.referring_tables(connection, name)
    if tables:
        raise DatabaseInUse(
            f"Foreign keys of other databases refer to {name}, and would follow its old tables: {', '.join(tables)}.",
            "Drop these foreign keys, restore, and make them again; the database is as it was.",
        )
