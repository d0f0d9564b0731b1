"""Checks whether the databases of a server can be dumped: the connection, the programs, each database, and what may be read."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Check, Dumpable, Finding
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import connecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.extra_arguments import (
    check_extra_arguments,
    partial_arguments,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.grants import (
    is_superuser,
    missing_grants,
    passwords_unreadable,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.pooler import check_sessions, is_direct
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import (
    Program,
    check_installed,
    choose_program,
    client_packages,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.survey import (
    Server,
    ask,
    check_dumpable,
    check_program,
    wanted_databases,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DatabaseMissing,
    Interrupted,
    ProgramMismatch,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


class PostgresqlChecker:
    """Checks the databases of one server."""

    def __init__(self, options: PostgresqlDumpOptions, runner: Runner) -> None:
        self._options = options
        self._runner = runner
        self._login = options.login
        self._connecting = functools.partial(connecting, is_stopped=runner.is_stopped)
        self._server: Server | None = None
        self._is_direct = True
        self._programs: dict[str, Program] = {}
        self._dumpable: list[str] = []
        self._partial: tuple[str, ...] = ()

    def checks(self) -> list[Check]:
        return [
            ("options", self._check_options),
            ("connection", self._connection),
            ("programs", self._check_programs),
            ("databases", self._databases),
            ("grants", self._grants),
        ]

    def dumpable(self) -> list[Dumpable]:
        server = self._server
        if server is None:
            return []
        databases = [Dumpable("database", name, server.instance, self._partial) for name in self._dumpable]
        return [*databases, *([Dumpable("globals", None, server.instance)] if self._options.with_globals else [])]

    def facts(self) -> dict[str, t.Any]:
        return {
            "server_version": None if self._server is None else self._server.version,
            "programs": [str(program) for program in self._programs.values()],
        }

    def _check_options(self) -> t.Iterator[Finding]:
        check_extra_arguments(self._options.extra_args)
        self._partial = partial_arguments(self._options.extra_args)
        yield from ()

    def _connection(self) -> t.Iterator[Finding]:
        with self._connecting(self._options.login) as connection:
            self._login = self._options.login.reached(connection)
            self._server, self._is_direct = ask(connection), is_direct(connection)
        if not self._is_direct:
            check_sessions(self._login, self._login.database, self._connecting)
        yield from ()

    def _check_programs(self) -> t.Iterator[Finding]:
        """Find the programs that dump and those that restore. They come in one package: the first that is missing is reported."""
        options, server = self._options, self._server
        restoring = "pg_restore" if options.format == "custom" else "psql"
        for name in ("pg_dump", restoring, *(["pg_dumpall"] if options.with_globals else [])):
            if server is None:
                check_installed(self._runner, name, options.bin_directory)
                continue
            program = choose_program(self._runner, name, server.version, server.major, options.bin_directory)
            self._programs[name] = program
            if name == "pg_dump" and program.major != server.major:
                yield Finding(
                    ProgramMismatch(
                        f"The server is PostgreSQL {server.version}, and the nearest program is {program}: such a dump may not "
                        "go back into a server of that version.",
                        f"Install {client_packages(server.major)}.",
                    ),
                    "warning",
                )

    def _databases(self) -> t.Iterator[Finding]:
        server = self._server
        if server is None:
            return
        names, _warnings = wanted_databases(server, self._options.databases, self._options.exclude_databases)
        if not names:
            nothing = DatabaseMissing("No database is left to back up.", "See databases and exclude_databases.")
            yield Finding(nothing, "warning")
        for name in names:
            try:
                self._check_database(name, server)
            except Interrupted:
                raise
            except BackupError as error:
                yield Finding(error, database=name)
            else:
                self._dumpable.append(name)

    def _check_database(self, name: str, server: Server) -> None:
        check_dumpable(name, server)
        if not self._is_direct:
            check_sessions(self._login, name, self._connecting)
        program = self._programs.get("pg_dump")
        if program is not None:
            check_program(program, server, dataclasses.replace(self._login, database=name), self._connecting)

    def _grants(self) -> t.Iterator[Finding]:
        """Arguments that leave something out may leave out what can't be read: then it is a warning."""
        server = self._server
        if server is None:
            return
        if self._options.with_globals and not server.reads_passwords:
            yield Finding(passwords_unreadable(server.user, self._login.database), "warning")
        for name in self._dumpable:
            with self._connecting(dataclasses.replace(self._login, database=name)) as connection:
                if is_superuser(connection):
                    return
                for error in missing_grants(connection, name, server.user, server.major):
                    yield Finding(error, "warning" if self._partial else "error", name)
