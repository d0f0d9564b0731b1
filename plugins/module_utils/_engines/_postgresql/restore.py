# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""PostgreSQL: a restore into a new database beside the old one, and a swap of their names.

    write   the content, into a file without a name: PostgreSQL's programs start when all of it is known to be right
    fill    the roles that it needs are there; a new database, from template0; pg_restore or psql, to the first error
    swap    in one transaction: what belongs to the database itself, and the two names

The new database bears a mark, and the session that makes it holds an advisory lock: what is marked and not locked is what a
dead run left.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import typing as t
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.connection import (
    Login,
    connecting,
    execute,
    password_file,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.globals import Globals
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.programs import Program, choose_program
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.properties import Properties
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.sql import Statements, quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._engines.base import Situation, Swapped
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupError,
    ContentInvalid,
    DatabaseInUse,
    Locked,
    NameRefused,
    NoSpace,
    ProgramFailed,
    ProgramMissing,
    QueryFailed,
    RolesMissing,
    ServerTooOld,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import (
    CHUNK_BYTES,
    Command,
    Runner,
    producing,
    run,
    write_all,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

_MARK = "Made by lastgood.database for a restore, and removed by the next one."
_STAMP = "%Y%m%dT%H%M%SZ"
_LONGEST_NAME = 63  # bytes
_LOCK_CLASS = 0x1A57600D  # an advisory lock has two numbers: this one, and what stands for a name
_IN_USE = "55006"
_LOCK_WAIT = "--lock-wait-timeout=60000"  # milliseconds
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.01

# The session waits for the program that fills the new database, however long that takes. A server before 14 has fewer of these.
_PATIENCE = """
SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')
"""
_SESSIONS = """
SELECT pid, usename, application_name, coalesce(host(client_addr), 'local') FROM pg_catalog.pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker'
"""
_REMAINS = """
SELECT datname FROM pg_catalog.pg_database
WHERE datname ~ '_(restoring|replaced)_[0-9]{8}T[0-9]{6}Z$' AND shobj_description(oid, 'pg_database') = %s
"""
_HELD = "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND granted"


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
        with connecting(self._options.login) as connection:
            _check_version(connection, manifest)
            _check_room(connection, manifest)
            return Situation(_exists(connection, self.database), _sessions(connection, self.database))

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[PostgresqlRestoration]:
        with contextlib.ExitStack() as stack:
            control = stack.enter_context(connecting(self._options.login, readonly=False))
            control.set_client_encoding("UTF8")
            execute(control, _PATIENCE)
            # A server that is set to commit without waiting could lose the mark, or the swap itself.
            execute(control, "SET synchronous_commit = on")
            file = make_file()
            stack.callback(os.close, file)
            restoration = PostgresqlRestoration(self._options, self._runner, manifest, control, stamp, file)
            try:
                yield restoration
            except BaseException as error:
                left = restoration.remove()
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
        self._options = options
        self._runner = runner
        self._manifest = manifest
        self._control = control
        self._file = file
        self._major = control.server_version // 10000
        self._properties = Properties()
        self._globals = Globals()
        self._statements = Statements(self._look_at) if manifest.format == "plain" else None
        self._leads_out: str | None = None
        self._warnings: list[str] = []
        self._made = False
        self._new_roles: list[str] = []
        if not _lock(control, options.database):
            raise Locked(
                f"Another run is restoring the database {options.database}.", "Wait for it, or see in pg_locks who it is."
            )
        self._warnings += _sweep(control)
        text = _free_stamp(control, options.database, stamp)
        self.scratch = _derived_name(options.database, f"_restoring_{text}")
        self._restored = _derived_name(options.database, f"_restored_{text}")
        self._replaced = _derived_name(options.database, f"_replaced_{text}")

    def write_globals(self, data: bytes | memoryview) -> None:
        self._globals.update(data)

    def write(self, data: bytes | memoryview) -> None:
        with store_errors("Unpacking the backup"):
            write_all(self._file, data)
        if self._statements is not None:
            self._statements.update(data)

    def fill(self) -> None:
        self._new_roles = self._globals.apply(self._control)
        self._read_statements()
        self._check_roles()
        self._make_scratch()
        if self._manifest.format == "plain":
            self._run_psql()
        else:
            self._run_pg_restore()

    def swap(self) -> Swapped:
        control, target = self._control, self._options.database
        self._wait_for_scratch()
        exists = _exists(control, target)
        control.autocommit = False
        try:
            self._give_properties()
            self._rename(self.scratch, self._restored)  # nobody can connect to it any more: nothing holds up what follows
            with self._nobody_on_target() if exists else contextlib.nullcontext(time.monotonic()) as began:
                if exists:
                    self._rename(target, self._replaced)
                self._rename(self._restored, target)
                if exists and not self._options.keep_old:
                    self._mark(self._replaced)
                control.commit()
            seconds = time.monotonic() - began
        except BaseException:
            if not control.closed:
                control.rollback()
            raise
        finally:
            if not control.closed:
                control.autocommit = True
        self._made = False
        self._new_roles = []
        if exists and not self._options.keep_old:
            self._drop_replaced()
        kept = self._replaced if exists and self._options.keep_old else None
        return Swapped(kept, seconds if exists else 0.0, tuple(self._warnings))

    def remove(self) -> str | None:
        """Remove what was made. Return what could not be removed, and what becomes of it."""
        if not self._made and not self._new_roles:
            return None
        try:
            with contextlib.ExitStack() as stack:
                control = self._control
                if control.closed or not _answers(control):
                    control = stack.enter_context(connecting(self._options.login, readonly=False))
                if self._made:
                    _drop(control, self.scratch)
                for role in self._new_roles:
                    execute(control, f"DROP ROLE IF EXISTS {quote_identifier(role)}")
        except BackupError as error:
            return f"The database {self.scratch} is left, and the next restore removes it ({error.problem})."
        return None

    def _look_at(self, statement: str) -> None:
        if statement.startswith("\\") and not statement.startswith(("\\restrict ", "\\unrestrict ")):
            self._leads_out = self._leads_out or statement.split()[0]
        self._properties.take(statement)

    def _read_statements(self) -> None:
        """Find out what belongs to the database itself, and which roles are needed."""
        if self._statements is None:
            self._read_script("pg_restore", ["--format=custom", *self._owner_arguments()], f"/dev/fd/{self._file}")
            return
        self._statements.finish()
        if self._leads_out is not None:
            raise ContentInvalid(
                f"The dump has psql's command {self._leads_out}, which leads out of the database that is being restored.",
                "Such a dump was made with --create: restore it by hand, on a server where that does no harm.",
            )
        if not _exists(self._control, self._options.database):
            self._warnings.append(
                "A plain dump does not say what belongs to the database itself, such as its settings and grants on it: "
                f"{self._options.database} has the server's defaults."
            )
            return
        roles, self._properties = self._properties.roles, Properties()
        # What belongs to a database itself is not in a plain dump: the one that is replaced has it.
        self._read_script(
            "pg_dump",
            [*self._role(), f"--dbname={self._conninfo(self._options.database)}", "--no-password", "--no-sync", _LOCK_WAIT],
        )
        self._properties.roles = roles | self._properties.database_roles
        self._warnings.append(
            "A plain dump does not say what belongs to the database itself, such as its settings and grants on it: "
            f"that was taken from the database {self._options.database} as it was."
        )

    def _read_script(self, name: str, arguments: list[str], *operands: str) -> None:
        program = self._program(name)
        statements = Statements(self._properties.take)
        with self._password() as (environment, descriptors):

            def command_for(path: str, descriptor: int) -> Command:
                return Command(
                    (program.path, "--create", "--schema-only", f"--file={path}", *arguments, *operands),
                    environment=environment,
                    descriptors=(descriptor, self._file, *descriptors),
                )

            os.lseek(self._file, 0, os.SEEK_SET)
            buffer = memoryview(bytearray(CHUNK_BYTES))
            with producing(self._runner, command_for) as producer:
                while count := producer.readinto(buffer):
                    statements.update(buffer[:count])
                producer.finish()
        statements.finish()

    def _check_roles(self) -> None:
        if self._options.no_owner and self._statements is not None:
            raise ArgumentInvalid(
                "no_owner is not for plain dumps, whose owners and grants are among the rest of the SQL.",
                "Leave it out; include_globals restores the roles that are missing.",
            )
        there = {name for (name,) in query(self._control, "SELECT rolname FROM pg_catalog.pg_roles")}
        missing = sorted(self._properties.roles - there)
        if missing:
            raise RolesMissing(
                f"The backup's owners and grants need roles that the server lacks: {', '.join(missing)}.",
                "Make them, restore them with include_globals, or leave owners and grants out with no_owner.",
                roles=missing,
            )

    def _make_scratch(self) -> None:
        name = quote_identifier(self.scratch)
        if not _lock(self._control, self.scratch) or _exists(self._control, self.scratch):
            raise Locked(f"There is a database {self.scratch} already.", "Run it again.")
        self._made = True
        execute(self._control, self._properties.create_as(self.scratch) or f"CREATE DATABASE {name} TEMPLATE template0")
        self._mark(self.scratch)
        # Nobody else is to see it before it is whole, and its grants are those that it should have.
        execute(self._control, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        if self._changes_role():
            execute(self._control, f"GRANT CONNECT ON DATABASE {name} TO SESSION_USER")
        for statement in self._properties.owner_as(self.scratch):
            execute(self._control, statement)

    def _run_pg_restore(self) -> None:
        program = self._program("pg_restore")
        if program.major > self._major < 17:
            raise ProgramMissing(
                f"The server is PostgreSQL {self._major}, and would not understand the nearest pg_restore, {program.version}.",
                f"Install postgresql-client-{self._major}, or say in bin_directory where its programs are.",
            )
        self._run(
            program.path,
            "--format=custom",
            "--exit-on-error",
            f"--jobs={self._options.jobs}",
            *self._role(),
            *self._owner_arguments(),
            "--no-password",
            f"--dbname={self._conninfo(self.scratch)}",
            f"/dev/fd/{self._file}",
        )

    def _run_psql(self) -> None:
        role = self._options.login.session_role
        try:
            self._run(
                self._program("psql").path,
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                "--output=/dev/null",
                "--no-password",
                f"--dbname={self._conninfo(self.scratch)}",
                *([] if role is None else [f"--command=SET ROLE {quote_identifier(role)}"]),
                f"--file=/dev/fd/{self._file}",
            )
        except ProgramFailed as error:
            if "\\restrict" not in error.problem:
                raise
            raise ProgramMissing(
                f"The dump is made for psql's restricted mode, which this psql does not know: {error.problem}",
                "Install the latest minor version of PostgreSQL's programs.",
            ) from error

    def _run(self, *arguments: str) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        with self._password() as (environment, descriptors):
            try:
                run(self._runner, Command(arguments, environment=environment, descriptors=(self._file, *descriptors)))
            except ProgramFailed as error:
                raise ProgramFailed(
                    error.problem, "Mend what it says, and run again; the database is as it was.", **error.details
                ) from error

    def _wait_for_scratch(self) -> None:
        """Wait until the sessions of the program that filled it are gone: a name is changed only when there are none."""
        _wait_until_gone(self._control, self.scratch)
        query(self._control, _END_SESSIONS, self.scratch)

    def _give_properties(self) -> None:
        name = quote_identifier(self.scratch)
        execute(self._control, f"COMMENT ON DATABASE {name} IS NULL")
        if self._changes_role():
            execute(self._control, f"REVOKE CONNECT ON DATABASE {name} FROM SESSION_USER")
        execute(self._control, f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
        for statement in self._properties.others_as(self.scratch):
            execute(self._control, statement)

    @contextlib.contextmanager
    def _nobody_on_target(self) -> t.Iterator[float]:
        """See that nobody is on the target, or end the sessions, those too that come before its name is taken away.

        Give the time from which on clients may notice.
        """
        target = self._options.database
        if not self._options.terminate_sessions:
            sessions = _sessions(self._control, target)
            if sessions:
                raise in_use(target, sessions)
            yield time.monotonic()
            return
        with connecting(self._options.login) as connection:
            began = time.monotonic()
            query(connection, _END_SESSIONS, target)
            _wait_until_gone(connection, target)  # not by control, whose transaction sees the sessions as they were
            done = threading.Event()

            def keep_ending() -> None:
                while not done.wait(_POLL_SECONDS):
                    with contextlib.suppress(BackupError):  # then the name can't be taken, which says why
                        query(connection, _END_SESSIONS, target)

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

    def _mark(self, name: str) -> None:
        execute(self._control, f"COMMENT ON DATABASE {quote_identifier(name)} IS '{_MARK}'")

    def _drop_replaced(self) -> None:
        try:
            _drop(self._control, self._replaced)
        except BackupError as error:
            self._warnings.append(f"The old database is still there as {self._replaced}: {error.problem}")

    def _changes_role(self) -> bool:
        """Whether the programs connect as somebody else than who makes the new database."""
        [(changes,)] = query(self._control, "SELECT session_user <> current_user")
        return bool(changes)

    def _program(self, name: str) -> Program:
        version = str(self._control.info.parameter_status("server_version")).split()[0]
        return choose_program(self._runner, name, version, self._major, self._options.bin_directory)

    def _conninfo(self, database: str) -> str:
        return self._options.login.conninfo(database)

    def _role(self) -> list[str]:
        role = self._options.login.session_role
        return [] if role is None else [f"--role={role}"]

    def _owner_arguments(self) -> list[str]:
        return ["--no-owner", "--no-privileges"] if self._options.no_owner else []

    @contextlib.contextmanager
    def _password(self) -> t.Iterator[tuple[dict[str, str], tuple[int, ...]]]:
        """Give the environment and the descriptors that a program needs to log in."""
        with password_file(self._options.login) as password:
            if password is None:
                yield {}, ()
            else:
                yield {"PGPASSFILE": f"/dev/fd/{password}", "PGPASSWORD": ""}, (password,)


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
    if not 0 < len(options.database.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME:
        raise ArgumentInvalid(
            f"database is {options.database!r}, and PostgreSQL's names have 1 to {_LONGEST_NAME} bytes.", "Give another name."
        )
    if options.database in (options.login.database, "template0", "template1"):
        raise ArgumentInvalid(
            f"database is {options.database}, and no database can be replaced while the module is connected to it.",
            "Name another database in login_db, such as template1.",
        )


def _check_version(connection: psycopg2.extensions.connection, manifest: Manifest) -> None:
    major = connection.server_version // 10000
    needed = max((_major(text) for text in (manifest.server_version, manifest.tool)), default=0)
    if needed > major:
        raise ServerTooOld(
            f"The backup is of PostgreSQL {manifest.server_version}, by {manifest.tool}, and the server is {major}.",
            f"Restore it to a server of version {needed} or newer.",
        )


def _major(text: str | None) -> int:
    match = re.search(r"(\d+)(?:\.\d+|devel|beta\d+|rc\d+)?$", text or "")
    return 0 if match is None else int(match[1])


def _check_room(connection: psycopg2.extensions.connection, manifest: Manifest) -> None:
    """Raise NoSpace where the server's disk has no room, as far as that can be seen: from here, and by its owner."""
    if not str(connection.info.host).startswith("/") or manifest.content_bytes is None:
        return
    try:
        [(directory,)] = query(connection, "SHOW data_directory")
        space = os.statvfs(directory)
    except (BackupError, OSError):
        return
    free = space.f_bavail * space.f_frsize
    if free < manifest.content_bytes:
        raise NoSpace(
            f"The server's {directory} has {free} bytes free, and the new database needs about {manifest.content_bytes}.",
            "Make room; the database is as it was.",
        )


def _exists(connection: psycopg2.extensions.connection, name: str) -> bool:
    return bool(query(connection, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", name))


def _sessions(connection: psycopg2.extensions.connection, name: str) -> tuple[str, ...]:
    rows = query(connection, _SESSIONS, name)
    return tuple(f"process {pid}, user {user}, {program or 'an unnamed program'}, {host}" for pid, user, program, host in rows)


def _wait_until_gone(connection: psycopg2.extensions.connection, name: str) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while _sessions(connection, name) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _lock(connection: psycopg2.extensions.connection, name: str) -> bool:
    """Take the lock that stands for a name, for as long as the connection lives. Return whether it was to be had."""
    if _is_held(connection, name):  # by a session on another database: each has locks of its own
        return False
    [(taken,)] = query(connection, "SELECT pg_try_advisory_lock(%s, %s)", _LOCK_CLASS, _number(name) - 2**31)
    return bool(taken)


def _is_held(connection: psycopg2.extensions.connection, name: str) -> bool:
    [(count,)] = query(connection, _HELD, _LOCK_CLASS, (_number(name) - 2**31) % 2**32)
    return bool(count)


def _number(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def _sweep(connection: psycopg2.extensions.connection) -> list[str]:
    """Drop what dead runs left. Return what to say of it."""
    said = []
    for (name,) in query(connection, _REMAINS, _MARK):
        if not _is_held(connection, name):
            _drop(connection, name)
            said.append(f"Removed the database {name}, which an interrupted restore left.")
    return said


def _drop(connection: psycopg2.extensions.connection, name: str) -> None:
    if connection.server_version >= 130000:
        execute(connection, f"DROP DATABASE IF EXISTS {quote_identifier(name)} WITH (FORCE)")
        return
    query(connection, _END_SESSIONS, name)
    execute(connection, f"DROP DATABASE IF EXISTS {quote_identifier(name)}")


def _answers(connection: psycopg2.extensions.connection) -> bool:
    try:
        query(connection, "SELECT 1")
    except BackupError:
        return False
    return True


def _free_stamp(connection: psycopg2.extensions.connection, database: str, stamp: datetime) -> str:
    """Return the first second from the stamp on with which no database has a name yet."""
    while True:
        text = stamp.strftime(_STAMP)
        if not any(_exists(connection, _derived_name(database, f"_{what}_{text}")) for what in ("restoring", "replaced")):
            return text
        stamp += timedelta(seconds=1)


def _derived_name(database: str, ending: str) -> str:
    """Return a name that begins as the database's does, as far as there is room."""
    raw = database.encode("utf-8", "surrogatepass")
    return raw[: _LONGEST_NAME - len(ending)].decode("utf-8", "ignore") + ending
