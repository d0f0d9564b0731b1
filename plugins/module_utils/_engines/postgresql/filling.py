"""Fill a database from a backup by PostgreSQL's programs: by pg_restore from an archive, by psql from a plain dump."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import secrets
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.parts import Parts
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.archive_parts import use_list
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, password_file
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.content import take_out_restriction
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.program_words import remedy_for, tellable_of
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import Program, choose_program
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ContentInvalid,
    ProgramFailed,
    ProgramMissing,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, producing, run

if t.TYPE_CHECKING:
    import psycopg2.extensions

_REFUSED_COMMAND = re.compile(r"error: (?:backslash commands are restricted|\\unrestrict: wrong key)")


@dataclass(frozen=True)
class Filling:
    """The options for filling a database.

    ``make_roles`` makes the roles that owners and grants need, which is for a server that is thrown away. ``becomes`` is the name
    that the database gets in the end, None if it gets none. With ``verbose`` psql reports the codes of errors. ``parts`` are the
    schemas and tables to restore of an archive, None for all of it.
    """

    login: Login
    no_owner: bool = False
    jobs: int = 2
    bin_directory: str | None = None
    make_roles: bool = False
    becomes: str | None = None
    verbose: bool = False
    parts: Parts | None = None


class Filler:
    """Runs the programs on the file with the content of a backup. ``said`` has what psql or pg_restore reported last."""

    def __init__(self, filling: Filling, runner: Runner, control: psycopg2.extensions.connection, file: int) -> None:
        self.said = ""
        self._filling = filling
        self._runner = runner
        self._control = control
        self._file = file
        self._major = control.server_version // 10000

    def list_entries(self, *arguments: str) -> str:
        """Return the archive's list of entries."""
        words = (self._program("pg_restore").path, "--format=custom", "--list", *arguments, f"/dev/fd/{self._file}")
        os.lseek(self._file, 0, os.SEEK_SET)
        listed = run(self._runner, Command(words, descriptors=(self._file,))).stdout
        return listed.decode("utf-8", "surrogateescape")

    def read_schema(self, entries: str | None, take: t.Callable[[memoryview], None]) -> None:
        """Have pg_restore print the archive as SQL, without its data."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        program = self._program("pg_restore").path
        with use_list(entries) as (options, lists):

            def command_for(path: str, descriptor: int) -> Command:
                what = ("--format=custom", "--create", "--schema-only", f"--file={path}", *options, *self._owner_arguments())
                return Command((program, *what, f"/dev/fd/{self._file}"), descriptors=(descriptor, self._file, *lists))

            os.lseek(self._file, 0, os.SEEK_SET)
            with producing(self._runner, command_for) as producer:
                while count := producer.readinto(buffer):
                    take(buffer[:count])
                producer.finish()

    def write_script(self, script: int) -> None:
        """Have pg_restore write the whole archive as SQL to a file."""
        output = f"--file=/dev/fd/{script}"
        arguments = ("--format=custom", *self._owner_arguments(), output, f"/dev/fd/{self._file}")
        program = self._program("pg_restore").path
        run(self._runner, Command((program, *arguments), descriptors=(self._file, script)))

    def restore(self, database: str, entries: str | None, *arguments: str) -> None:
        """Run pg_restore to the first error, for these entries of the archive, or for all of them."""
        program = self._program("pg_restore")
        if program.major > self._major < 17:
            raise ProgramMissing(
                f"The server is PostgreSQL {self._major}, and does not understand the nearest pg_restore, {program.version}.",
                f"Install postgresql-client-{self._major}, or say in bin_directory where its programs are.",
            )
        with use_list(entries) as (options, lists):
            self._run(
                program.path,
                "--format=custom",
                "--exit-on-error",
                *(arguments or [f"--jobs={self._filling.jobs}"]),
                *options,
                *self._role(),
                *self._owner_arguments(),
                "--no-password",
                f"--dbname={self._filling.login.conninfo(database)}",
                f"/dev/fd/{self._file}",
                descriptors=lists,
            )

    def run_script(self, database: str, file: int) -> None:
        """Run psql in its restricted mode, in which it obeys no command of a dump that would leave the database."""
        role = self._filling.login.session_role
        with store_errors("Preparing the dump"):
            take_out_restriction(file)
        try:
            self._run(
                self._program("psql").path,
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                *(["--set=VERBOSITY=verbose"] if self._filling.verbose else []),
                "--output=/dev/null",
                "--no-password",
                f"--dbname={self._filling.login.conninfo(database)}",
                f"--command=\\restrict {secrets.token_hex()}",
                *([] if role is None else [f"--command=SET ROLE {quote_identifier(role)}"]),
                f"--file=/dev/fd/{file}",
                file=file,
            )
        except ProgramFailed as error:
            if _REFUSED_COMMAND.search(error.problem):
                raise ContentInvalid(
                    f"The dump has a command for psql itself, which could lead out of the database: {error.problem}",
                    "No backup of this collection's has one. Find out who wrote it; restore it by hand where it does no harm.",
                ) from error
            if "invalid command \\restrict" not in error.problem:
                raise
            raise ProgramMissing(
                "This psql has no restricted mode, without which a plain dump could have it run commands on this host: "
                f"{error.problem}",
                "Install a version of August 2025 or later (13.22, 14.19, 15.14, 16.10, 17.6, 18), or say in bin_directory "
                "where one is.",
            ) from error

    def _run(self, *arguments: str, descriptors: t.Sequence[int] = (), file: int | None = None) -> None:
        file = self._file if file is None else file
        os.lseek(file, 0, os.SEEK_SET)
        with self._password() as (environment, passwords):
            try:
                descriptors = (file, *descriptors, *passwords)
                run(self._runner, Command(arguments, environment=environment, descriptors=descriptors, reportable=self._tellable))
            except ProgramFailed as error:
                raise ProgramFailed(error.problem, remedy_for(error.problem), **error.details) from error

    def _tellable(self, words: str) -> str:
        self.said = words
        return tellable_of(words)

    def _program(self, name: str) -> Program:
        version = str(self._control.info.parameter_status("server_version")).split()[0]
        return choose_program(self._runner, name, version, self._major, self._filling.bin_directory)

    def _role(self) -> list[str]:
        role = self._filling.login.session_role
        return [] if role is None else [f"--role={role}"]

    def _owner_arguments(self) -> list[str]:
        return ["--no-owner", "--no-privileges"] if self._filling.no_owner else []

    @contextlib.contextmanager
    def _password(self) -> t.Iterator[tuple[dict[str, str], tuple[int, ...]]]:
        """Yield the environment and the descriptors that a program needs to log in."""
        with password_file(self._filling.login) as password:
            if password is None:
                yield {}, ()
            else:
                yield {"PGPASSFILE": f"/dev/fd/{password}", "PGPASSWORD": ""}, (password,)
