"""Dumps MariaDB and MySQL by the product's own program, and reads its output from a pipe."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
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
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.accounts import AccountsContent
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import connecting, option_file
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.content import (
    ObjectCounter,
    PositionReader,
    ScriptDigest,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.dump_failure import explained
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.grants import (
    check_position_available,
    check_privileges,
    current_user,
    may_read_accounts,
    privileges,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.lock_watch import LockWatch
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import MysqlDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import Program, choose_program
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import (
    Counts,
    Server,
    ask,
    check_dumpable,
    count_objects,
    has_history,
    mixed_objects,
    special_tables,
    wanted_databases,
    warnings_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    ProgramFailed,
    SourceBusy,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Position
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Producer, Runner, producing

_LARGEST_ROW = "1G"  # as large as the protocol allows
_HISTORY_SINCE = (10, 11)
_COLUMN_STATISTICS_SINCE = (8,)
_SOURCE_DATA_SINCE = (8, 0, 26)  # before, the option was master-data
_KINDS = ("views", "triggers", "routines", "events")


class MysqlDumper:
    """Dumps the databases of one server."""

    name: t.ClassVar[str] = "mysql"

    def __init__(self, options: MysqlDumpOptions, runner: Runner) -> None:
        self._options = options
        self._runner = runner
        self._login = options.login
        self._connecting = functools.partial(connecting, is_stopped=runner.is_stopped)
        self._server: Server | None = None
        self._program: Program | None = None
        self._with_history: set[str] = set()
        self._with_position = False

    def scope(self) -> Scope:
        options = self._options
        return Scope(
            address=options.login.address,
            databases=options.databases,
            exclude=options.exclude_databases,
            with_globals=options.with_globals,
        )

    def survey(self) -> Survey:
        options = self._options
        targets: list[Target] = []
        unavailable: list[Unavailable] = []
        with self._connecting(options.login) as connection:
            self._login = options.login.reached(connection)
            self._server = server = ask(connection, options.login)
            names, warnings = wanted_databases(server, options.databases, options.exclude_databases)
            self._program = program = choose_program(self._runner, "dump", server.product, options.bin_directory)
            user, held = current_user(connection), privileges(connection)
            # MariaDB gives the position of a snapshot without a lock.
            has_by_default = server.product == "MariaDB" and server.has_binary_log
            self._with_position = has_by_default if options.binlog_position is None else options.binlog_position
            existing = [name for name in names if name in server.databases]
            tables, mixed = special_tables(connection, existing), mixed_objects(connection, existing)
            for name in names:
                try:
                    check_dumpable(name, server)
                    check_privileges(held, name, server, user)
                    if self._with_position:
                        check_position_available(held, server, user)
                except BackupError as error:
                    unavailable.append(Unavailable(name, error))
                    continue
                warnings += warnings_of(name, tables, mixed)
                if has_history(name, tables):
                    warnings += self._include_history(name, server, program)
                targets.append(self._target("database", name, server, program))
            if options.with_globals:
                if may_read_accounts(connection):
                    targets.append(self._target("globals", None, server, program))
                else:
                    warnings.append(
                        f"The accounts of the server were left out: the user {user} may not read them. Grant SELECT on mysql.*."
                    )
        if targets and targets[0].major_mismatch:
            warnings.append(
                f"The server is {server.product} {server.version}, and the program {program} is older: a dump may lack what is "
                "new in that version."
            )
        return Survey(tuple(targets), tuple(unavailable), tuple(warnings))

    @contextlib.contextmanager
    def dumping(self, target: Target, make_copy_file: t.Callable[[], str]) -> t.Iterator[Content]:
        server, program = self._server, self._program
        if server is None or program is None:
            raise ProgramFailed("The server was not surveyed.", "Run it again.")
        if target.database is None:
            with self._connecting(self._login) as connection:
                yield AccountsContent(connection, server)
            return
        name = target.database
        with contextlib.ExitStack() as stack:
            options = stack.enter_context(option_file(self._login, server.product))
            connection = stack.enter_context(self._connecting(self._login))
            settings = server.databases[name].script()
            watch = LockWatch(connection, name, self._options.lock_timeout)
            try:
                with (
                    producing(self._runner, self._command_for(name, options, program)) as producer,
                    watch.watching(producer.stop),
                ):
                    reader = PositionReader(self._options.binlog_position is True) if self._with_position else None
                    yield _DumpContent(producer, settings, watch, lambda: self._expected(name), reader)
            except ProgramFailed as error:
                if self._runner.is_stopped():
                    raise
                if watch.waited_for is not None:
                    raise SourceBusy(
                        f"A table of {target.title} was locked for more than {self._options.lock_timeout:g} seconds: "
                        f"{watch.waited_for}.",
                        "See in SHOW FULL PROCESSLIST who holds it, or raise lock_timeout.",
                    ) from error
                raise explained(error, target.title) from error

    def content_digest(self, target: Target, algorithm: Hash) -> ContentDigest:
        return ScriptDigest(algorithm)

    def _include_history(self, name: str, server: Server, program: Program) -> list[str]:
        """Include the history of system-versioned tables. Return a warning if the host can't."""
        if min(server.number, program.version) >= _HISTORY_SINCE:
            self._with_history.add(name)
            return []
        return [
            f"The database {name} has system-versioned tables, and the backup has their present rows without the history, which "
            "needs MariaDB 10.11 or newer."
        ]

    def _target(self, kind: t.Literal["database", "globals"], database: str | None, server: Server, program: Program) -> Target:
        return Target(
            kind=kind,
            database=database,
            engine=self.name,
            instance=server.instance,
            source=server.source,
            server_version=server.version,
            tool=str(program),
            format="plain",
            major_mismatch=program.version[:2] < server.number[:2],
        )

    def _command_for(self, name: str, options: int, program: Program) -> t.Callable[[str, int], Command]:
        own = ["--column-statistics=0", "--set-gtid-purged=OFF"] if program.product == "MySQL" else []
        if own and program.version < _COLUMN_STATISTICS_SINCE:
            del own[0]
        history = ["--dump-history"] if name in self._with_history else []
        arguments = (
            program.path,
            f"--defaults-file=/dev/fd/{options}",
            "--single-transaction",
            "--skip-lock-tables",
            "--skip-add-locks",  # a lock on a table would make its default values from a sequence an error
            "--quick",
            "--routines",
            "--events",
            "--triggers",
            "--hex-blob",
            "--skip-dump-date",
            "--no-tablespaces",
            "--default-character-set=utf8mb4",
            f"--max-allowed-packet={_LARGEST_ROW}",
            *own,
            *history,
            *(self._position_arguments(program) if self._with_position else ()),
        )

        def command_for(path: str, descriptor: int) -> Command:
            return Command(
                (*arguments, f"--result-file={path}", "--", name),
                # The option file alone counts: MySQL's programs would also read the user's login file.
                environment={"MYSQL_TEST_LOGIN_FILE": "/dev/null", "MYSQL_PWD": "", "LC_ALL": "C"},
                descriptors=(descriptor, options),
                seconds=self._options.timeout,
            )

        return command_for

    def _position_arguments(self, program: Program) -> tuple[str, ...]:
        """Return the arguments that make the program write the position into the dump, as comments.

        MySQL's program locks all tables for a moment. The server itself limits the wait, in case this run is killed meanwhile.
        Older programs can't ask for that, and ignore the second argument.
        """
        if program.product == "MariaDB":
            return ("--master-data=2",)
        option = "source-data" if program.version >= _SOURCE_DATA_SINCE else "master-data"
        seconds = max(1, round(self._options.lock_timeout))
        return (f"--{option}=2", f"--loose-init-command=SET SESSION lock_wait_timeout = {seconds}")

    def _expected(self, name: str) -> Counts:
        with self._connecting(self._login) as connection:
            return count_objects(connection, name)


class _DumpContent:
    """A running dump: the database's settings, then what the program writes."""

    def __init__(
        self,
        producer: Producer,
        settings: bytes,
        watch: LockWatch,
        expected: t.Callable[[], Counts],
        position: PositionReader | None,
    ) -> None:
        self._producer = producer
        self._settings = memoryview(settings)
        self._watch = watch
        self._expected = expected
        self._position = position
        self._counter = ObjectCounter()

    def readinto(self, buffer: memoryview) -> int:
        if self._settings:
            count = min(len(buffer), len(self._settings))
            buffer[:count] = self._settings[:count]
            self._settings = self._settings[count:]
            return count
        with self._watch.reading():
            count = self._producer.readinto(buffer)
        self._counter.update(buffer[:count])
        if self._position is not None:
            self._position.update(buffer[:count])
        return count

    def finish(self) -> Position | None:
        """Check the program's exit status, and that the dump has as many objects as the server. Return its position."""
        self._producer.finish()
        found, expected = self._counter.counts(), self._expected()
        missing = [f"{has} of {have} {kind}" for kind, has, have in zip(_KINDS, found, expected) if has < have]
        if missing:
            raise ContentInvalid(
                f"The dump has only {', '.join(missing)} that the server has.",
                "See whether somebody made objects meanwhile, and run again; else grant the user SELECT, SHOW VIEW, TRIGGER and "
                "EVENT on the database, and the source of routines.",
            )
        return None if self._position is None else self._position.position()
