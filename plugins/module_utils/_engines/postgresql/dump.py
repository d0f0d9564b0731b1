"""PostgreSQL: dumps by its own pg_dump and pg_dumpall, read from a pipe."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._digests import Hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest
from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import (
    Content,
    Scope,
    Survey,
    Target,
    Unavailable,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    password_file,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.content import CustomDigest, PlainDigest
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump_failure import explained
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.extra_arguments import (
    check_extra_arguments,
    partial_arguments,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.pooler import check_sessions, is_direct
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import Program, choose_program
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.standby import (
    cancelled_sessions,
    explained_by_conflict,
    wait_for_replay,
    warnings_of_standby,
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
    Interrupted,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, producing


class PostgresqlDumper:
    """Dumps the databases of one server."""

    name: t.ClassVar[str] = "postgresql"

    def __init__(self, options: PostgresqlDumpOptions, runner: Runner) -> None:
        check_extra_arguments(options.extra_args)
        self._options = options
        self._runner = runner
        self._login = options.login
        self._connecting = functools.partial(connecting, is_stopped=runner.is_stopped)
        self._programs: dict[str, Program] = {}
        self._reads_passwords = True
        self._is_standby = False

    def scope(self) -> Scope:
        options, login = self._options, self._options.login
        port = "" if login.port is None else f":{login.port}"
        return Scope(
            address=f"{login.unix_socket or login.host or 'default'}{port}",
            databases=options.databases,
            exclude=options.exclude_databases,
            partial=partial_arguments(options.extra_args),
            with_globals=self._options.with_globals,
        )

    def survey(self) -> Survey:
        with self._connecting(self._options.login) as connection:
            self._login = self._options.login.reached(connection)
            if self._options.wait_for_replay is not None:
                wait_for_replay(connection, self._options.wait_for_replay, self._runner.is_stopped)
            server, direct = ask(connection), is_direct(connection)
        self._is_standby = server.is_standby
        if not direct:
            check_sessions(self._login, self._login.database, self._connecting)
        names, warnings = wanted_databases(server, self._options.databases, self._options.exclude_databases)
        targets: list[Target] = []
        unavailable: list[Unavailable] = []
        for name in names:
            try:
                check_dumpable(name, server)
            except BackupError as error:
                unavailable.append(Unavailable(name, error))
                continue
            program = self._program("pg_dump", server)  # one that is missing is missing for all
            try:
                if not direct:
                    check_sessions(self._login, name, self._connecting)
                login = dataclasses.replace(self._login, database=name)
                check_program(program, server, login, self._connecting)
                if server.is_standby:
                    warnings += warnings_of_standby(login, self._connecting)
            except Interrupted:
                raise
            except BackupError as error:
                unavailable.append(Unavailable(name, error))
            else:
                targets.append(self._target("database", name, server))
        if self._options.with_globals:
            targets.append(self._target("globals", None, server))
            self._reads_passwords = server.reads_passwords
            if not server.reads_passwords:
                warnings.append("The globals are without the roles' password digests: the user may not read pg_authid.")
        if targets and targets[0].major_mismatch:
            warnings.append(
                f"The server is PostgreSQL {server.version}, and the nearest program is {targets[0].tool}: "
                "such a dump may not go back into a server of that version."
            )
        return Survey(tuple(targets), tuple(unavailable), tuple(warnings))

    @contextlib.contextmanager
    def dumping(self, target: Target, make_copy_file: t.Callable[[], str]) -> t.Iterator[Content]:
        options = self._options
        with password_file(self._login) as password:

            def command_for(path: str, descriptor: int) -> Command:
                arguments = self._globals_arguments() if target.kind == "globals" else self._database_arguments(target)
                extra = () if target.kind == "globals" else options.extra_args
                return Command(
                    # The user's come last: one that lacks its value takes the next argument for it, which would be one of ours.
                    (*arguments, "--no-sync", "--no-password", f"--file={path}", *extra),
                    environment={} if password is None else {"PGPASSFILE": f"/dev/fd/{password}", "PGPASSWORD": ""},
                    descriptors=(descriptor,) if password is None else (descriptor, password),
                    seconds=options.timeout,
                )

            login = dataclasses.replace(self._login, database=target.database or self._login.database)
            cancelled = cancelled_sessions(login, self._connecting) if self._is_standby else 0
            began = time.monotonic()
            try:
                with producing(self._runner, command_for) as producer:
                    yield producer
            except ProgramFailed as error:
                if self._runner.is_stopped():
                    raise
                raise self._explained(error, target, login, time.monotonic() - began, cancelled) from error

    def _explained(self, error: ProgramFailed, target: Target, login: Login, seconds: float, cancelled: int) -> BackupError:
        """Return the error for a dump that failed. The server had cancelled ``cancelled`` sessions when it began."""
        found: BackupError = error
        if target.database is not None:
            found = explained(
                error,
                target.title,
                login,
                major=int(target.server_version.partition(".")[0]),
                seconds=seconds,
                lock_timeout=self._options.lock_timeout,
            )
        if found is not error or not self._is_standby:
            return found
        is_stopped = self._runner.is_stopped
        return explained_by_conflict(error, target.title, login, self._connecting, before=cancelled, is_stopped=is_stopped)

    def content_digest(self, target: Target, algorithm: Hash) -> ContentDigest:
        return CustomDigest(algorithm) if target.format == "custom" else PlainDigest(algorithm)

    def _target(self, kind: t.Literal["database", "globals"], database: str | None, server: Server) -> Target:
        program = self._program("pg_dumpall" if kind == "globals" else "pg_dump", server)
        return Target(
            kind=kind,
            database=database,
            engine=self.name,
            instance=server.instance,
            source=server.source,
            server_version=server.version,
            tool=str(program),
            format="plain" if kind == "globals" else self._options.format,
            major_mismatch=program.major != server.major,
            partial=() if kind == "globals" else partial_arguments(self._options.extra_args),
        )

    def _program(self, name: str, server: Server) -> Program:
        if name not in self._programs:
            bin_directory = self._options.bin_directory
            self._programs[name] = choose_program(self._runner, name, server.version, server.major, bin_directory)
        return self._programs[name]

    def _database_arguments(self, target: Target) -> list[str]:
        options = self._options
        return [
            self._programs["pg_dump"].path,
            f"--format={target.format}",
            "--compress=0",  # what is compressed once is not compressed again
            # Milliseconds, as large as the server takes them; 0 would be to wait for ever.
            f"--lock-wait-timeout={max(1, min(int(options.lock_timeout * 1000), 2**31 - 1))}",
            *self._role(),
            f"--dbname={self._login.conninfo(str(target.database))}",
        ]

    def _globals_arguments(self) -> list[str]:
        login = self._login
        return [
            self._programs["pg_dumpall"].path,
            "--globals-only",
            *([] if self._reads_passwords else ["--no-role-passwords"]),
            *self._role(),
            # pg_dumpall does not take the database from --dbname, but takes a connection string for a database.
            f"--database={login.conninfo(login.database)}",
            f"--dbname={login.conninfo(login.database)}",
        ]

    def _role(self) -> list[str]:
        role = self._options.login.session_role
        return [] if role is None else [f"--role={role}"]
