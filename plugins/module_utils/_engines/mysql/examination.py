"""Examines a backup of MariaDB or MySQL: reads its statements without a server, or restores it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    WHOLE,
    ContentExamination,
    ExaminationResult,
    check_restorable_beside_others,
    content_file,
    directory_of,
    restored,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.account_statements import AccountStatements
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import (
    Login,
    Product,
    connecting,
    execute,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.databases import derived_name, free_stamp
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.faults import verdict_of
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.new_database import NewDatabase
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import MysqlExaminationOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import (
    Program,
    Role,
    choose_program,
    names_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.shape import Shape
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import ask, version_number
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.throwaway_server import started
from ansible_collections.lastgood.database.plugins.module_utils._engines.throwaway import ThrowawayServers
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    Inconclusive,
    ProgramFailed,
    QueryFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import pymysql

_UNNAMED = "database"  # if the manifest has no name


class MysqlExaminer:
    """Examines the backups of one run. They share the sandbox for servers of our own."""

    def __init__(self, options: MysqlExaminationOptions, runner: Runner, clock: Clock) -> None:
        self._options = options
        self._runner = runner
        self._clock = clock
        self._servers = ThrowawayServers(runner)

    @contextlib.contextmanager
    def reading_structure(self, manifest: Manifest) -> t.Iterator[ContentExamination]:
        yield _AccountsShape() if manifest.kind == "globals" else _DumpShape()

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest) -> t.Iterator[ContentExamination]:
        login = self._options.login
        throwaway = login is None
        with contextlib.ExitStack() as stack:
            if login is None:
                login = stack.enter_context(started(self._servers, self._server_program(manifest)))
            else:
                check_restorable_beside_others(manifest, "The accounts of a server", check_mode=self._options.check_mode)
            connection = stack.enter_context(connecting(login, seconds=0))
            if manifest.kind == "globals":
                yield _AccountsDrill(connection)
                return
            yield stack.enter_context(self._drilling(manifest, connection, login, throwaway=throwaway))

    @contextlib.contextmanager
    def _drilling(
        self, manifest: Manifest, connection: pymysql.Connection[t.Any], login: Login, *, throwaway: bool
    ) -> t.Iterator[_Drill]:
        server = ask(connection, login)
        login = login.reached(connection)
        client = self._choose("client", server.product)
        database = manifest.database or _UNNAMED
        is_older = server.number[:2] < version_number(manifest.server_version)[:2]
        if server.product != _product_of(manifest, server.product):
            raise Inconclusive(
                f"The backup is of {manifest.server_version}, and the server is {server.product} {server.version}.",
                "Name a server of the same product, or leave the options of the login out.",
            )
        with content_file(manifest) as file:
            name = (
                database if throwaway else derived_name(database, f"_restoring_{free_stamp(connection, database, self._clock())}")
            )
            new = NewDatabase(self._runner, client, login, file, name, source=manifest.database)
            try:
                yield _Drill(new, connection, is_older=is_older, with_objects=throwaway)
            finally:
                if not throwaway:  # else it is removed with the server
                    new.remove(connection)

    def _server_program(self, manifest: Manifest) -> Program:
        """Return the program of the server to start: of the dump's product, or of the host's if the product is not known."""
        products: tuple[Product, ...] = ("MariaDB", "MySQL")
        if manifest.server_version is not None:
            products = (_product_of(manifest, "MariaDB"),)
        errors: list[BackupError] = []
        for product in products:
            try:
                return self._choose("server", product)
            except BackupError as error:
                errors.append(error)
        raise errors[0]

    def _choose(self, role: Role, product: Product) -> Program:
        directory = directory_of(names_of(role, product), self._options.bin_directory)
        return choose_program(self._runner, role, product, directory)


def _product_of(manifest: Manifest, unknown: Product) -> Product:
    if manifest.server_version is None:
        return unknown
    return "MariaDB" if "mariadb" in manifest.server_version.lower() else "MySQL"


class _DumpShape:
    """Examines the statements of a dump. Its content digest checks the title and the trailer."""

    def __init__(self) -> None:
        self._shape = Shape()

    def write(self, data: bytes | memoryview) -> None:
        self._shape.update(data)

    def finish(self) -> ExaminationResult:
        self._shape.finish()
        return WHOLE


class _AccountsShape:
    """Examines the statements of a backup of accounts."""

    def __init__(self) -> None:
        self._statements = AccountStatements()

    def write(self, data: bytes | memoryview) -> None:
        self._statements.update(data)

    def finish(self) -> ExaminationResult:
        self._statements.finish()
        return WHOLE


class _Drill:
    """A restore for the verdict only."""

    def __init__(self, new: NewDatabase, connection: pymysql.Connection[t.Any], *, is_older: bool, with_objects: bool) -> None:
        self._new = new
        self._connection = connection
        self._is_older = is_older
        self._with_objects = with_objects

    def write(self, data: bytes | memoryview) -> None:
        self._new.write(data)

    def finish(self) -> ExaminationResult:
        self._new.read()
        try:
            self._new.fill(self._connection, with_objects=self._with_objects)
        except ProgramFailed as error:
            raise verdict_of(error, self._new.name, is_older=self._is_older) from error
        return restored(*self._new.count(self._connection))


class _AccountsDrill:
    """A restore of accounts for the verdict only."""

    def __init__(self, connection: pymysql.Connection[t.Any]) -> None:
        self._connection = connection
        self._statements = AccountStatements()

    def write(self, data: bytes | memoryview) -> None:
        self._statements.update(data)

    def finish(self) -> ExaminationResult:
        accounts = 0
        for statement in self._statements.finish():
            try:
                execute(self._connection, statement)
            except QueryFailed as error:
                if error.details.get("number") in _ABOUT_THE_HOST:
                    raise Inconclusive(error.problem, "See what the server lacks, such as a plugin, and run again.") from error
                raise ContentInvalid(error.problem, "Take another backup.") from error
            accounts += statement.startswith((b"CREATE USER", b"CREATE ROLE"))
        return ExaminationResult(f"It was restored: {accounts} accounts.")


# The server lacks a plugin, or a table, a routine or a database that a grant names.
_ABOUT_THE_HOST = (1049, 1054, 1146, 1305, 1524, 4151)
