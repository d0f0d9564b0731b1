"""A new database, filled from a backup: nobody uses it before it is whole, and it is dropped where that fails.

write   the content, into a file without a name: PostgreSQL's programs start when all of it is known to be right
fill    the roles that it needs are there; the database, from template0; pg_restore or psql, to the first error
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases, remains, timescaledb
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.archive_parts import choose
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.belongings import Belongings
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.bound_extensions import (
    bound_among,
    split_entries,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.catalog_properties import properties_of
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    execute,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.faults import Fault, reported_in
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.filling import Filler, Filling
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.globals import Globals
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.inside import role_names
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.pooler import check_pooling
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import (
    tells_of_the_dump,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.properties import Properties
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import (
    protect_session,
    set_encoding,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import (
    Statements,
    codec_of,
    quote_identifier,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    ExtensionUnavailable,
    Inconclusive,
    Locked,
    ProgramFailed,
    QueryFailed,
    RolesMissing,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import write_all
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import psycopg2.extensions

_LACKS_PROPERTIES = "A plain dump does not say what belongs to the database itself, such as its settings and grants on it"
_CLOSED = "ALLOW_CONNECTIONS = false"  # until it bears its mark: what is killed in between is known by it


@contextlib.contextmanager
def controlling(login: Login) -> t.Iterator[psycopg2.extensions.connection]:
    """Connect as the session that makes the new database, and waits for whoever fills it."""
    check_pooling(login)
    with connecting(login, readonly=False) as control:
        set_encoding(control)
        protect_session(control)
        yield control


class NewDatabase:
    """The new database. Whoever made this removes it, unless it has been given away."""

    def __init__(
        self,
        filling: Filling,
        runner: Runner,
        manifest: Manifest,
        control: psycopg2.extensions.connection,
        file: int,
        name: str,
        properties_of: str | None = None,
    ) -> None:
        """``file`` takes the content. A plain dump's properties come from the database ``properties_of``, if that exists."""
        self.name = name
        self.properties = Properties()
        self.warnings: list[str] = []
        self._filling = filling
        self._runner = runner
        self._manifest = manifest
        self._control = control
        self._file = file
        self._properties_of = properties_of
        self._filler = Filler(filling, runner, control, file)
        self._globals = Globals()
        self._statements = Statements(self._look_at) if manifest.format == "plain" else None
        self._leads_out: str | None = None
        self._made = False
        self._extensions: dict[str, str] = {}  # names, and the schema of each
        self._entries: str | None = None  # the list of entries to restore; None is all
        self._entries_later: str | None = None
        self._later = ""
        self._roles: dict[bytes, str] = {}  # that owners and grants need
        self._new_roles: list[str] = []
        self._new_tablespaces: list[str] = []

    def write_globals(self, data: bytes | memoryview) -> None:
        """Take in the globals, which come first, if at all."""
        self._globals.update(data)

    def write(self, data: bytes | memoryview) -> None:
        """Take in the content."""
        with store_errors("Unpacking the backup"):
            write_all(self._file, data)
        if self._statements is not None:
            self._statements.update(data)

    def fill(self) -> None:
        """Make the database, and restore the backup into it."""
        self._new_roles = self._globals.apply_roles(self._control)
        self.warnings += self._globals.warnings
        self._globals.apply_tablespaces(self._control, self._new_tablespaces)
        self._read_statements()
        self._check_roles()
        entries = self._entries_beside()
        self._make()
        if self._manifest.format == "plain":
            self._run_script(self._file)
        else:
            self._run_archive(entries)

    def _run_archive(self, entries: str | None) -> None:
        schema, first = timescaledb.schema_among(self._control, self._extensions), ""
        if schema is not None:
            first, rest = timescaledb.split_entries(entries or self._filler.list_entries(), schema)
        if not first:  # the selected parts may lack the extension
            self._filler.restore(self.name, entries)
            return
        self._filler.restore(self.name, first)
        with timescaledb.restoring(self._inside()):
            self._filler.restore(self.name, rest, "--jobs=1")

    def _run_script(self, script: int) -> None:
        with timescaledb.restoring_script(self._control, self._inside(), self._extensions):
            self._filler.run_script(self.name, script)

    def _inside(self) -> Login:
        return dataclasses.replace(self._filling.login, database=self.name)

    def analyze(self) -> None:
        """Collect the statistics by which queries are planned: a dump has none."""
        try:
            with connecting(self._inside(), readonly=False) as connection:
                protect_session(connection)
                with self._runner.stopping(connection.cancel):
                    execute(connection, "ANALYZE")
        except BackupError as error:
            self.warnings.append(f"Not all tables of the database were analyzed: {error.problem} Run ANALYZE in it.")

    def fault(self, failure: ProgramFailed) -> Fault | None:
        """Return the server's error over which a program failed, None where the program itself could not read the dump.

        pg_restore reports no codes, so psql restores an archive once more, as SQL.
        """
        if self._manifest.format == "plain":
            return self._reported_in(self._file, failure)
        with store_errors("Making a file for the backup as SQL"), tempfile.TemporaryFile() as script:
            try:
                self._filler.write_script(script.fileno())
            except ProgramFailed as error:
                if tells_of_the_dump(error, "custom"):
                    return None
                raise
            remains.remove(self._control, self._filling.login, self.name)
            self._create()
            self._filler.said = ""
            with contextlib.suppress(ProgramFailed):
                self._run_script(script.fileno())
            return self._reported_in(script.fileno(), failure)

    def _reported_in(self, script: int, failure: ProgramFailed) -> Fault:
        """Return the error that psql has just reported."""
        fault = reported_in(self._filler.said, script)
        if fault is not None:
            return fault
        raise Inconclusive(f"{failure.problem} Which error of the server caused it could not be determined.", "Run it again.")

    def settle(self) -> None:
        """Do what can't be done during the swap, and wait until nobody is connected to it: before that it can't be renamed."""
        self._belongings().give_what_can_not_wait()
        databases.wait_until_gone(self._control, self.name)
        databases.end_sessions(self._control, self.name)

    def last_statements(self) -> list[str]:
        """Return the statements to run in the transaction in which it gets its name."""
        return self._belongings().last_statements()

    @property
    def is_whole(self) -> bool:
        """Return whether it has the whole backup; some extensions are made only after it has its name."""
        return self._entries_later is None

    def finish(self, name: str) -> bool:
        """Do the steps that need a session on it under its final name. Return whether it is whole."""
        try:
            self._belongings().give_comment(name)
        except BackupError as error:
            self.warnings.append(f"The database {name} is restored without its comment: {error.problem}")
        if self._entries_later is not None:
            try:
                self._filler.restore(name, self._entries_later, "--single-transaction")
            except BackupError as error:
                self.warnings.append(f"The database {name} is restored without {self._later}: {error.problem}")
                return False
        return True

    def _entries_beside(self) -> str | None:
        """Return the archive's entries that can be restored beside, None for all; the others are restored later, or left out."""
        target = self._filling.becomes
        bound = [] if target is None else bound_among(self._control, self._extensions)
        if not bound:
            return self._entries
        self._later = ", ".join(f"the extension {one.name}" for one in bound)
        allowed = ", ".join(f"{one.name} in {one.database}" for one in bound)
        if self._manifest.format == "plain":
            raise ExtensionUnavailable(
                f"The backup has {self._later}, which can't be made in a database beside its own: the server allows {allowed}.",
                "A backup in the custom format can be restored: its extension is made at the end.",
            )
        beside, later = split_entries(self._entries or self._filler.list_entries(), bound)
        if all(one.database == target for one in bound):
            self._entries_later = later
        else:
            self.warnings.append(
                f"The database is restored without {self._later} and its data: the server allows {allowed} only."
            )
        return beside

    def _belongings(self) -> Belongings:
        return Belongings(self._control, self._filling.login, self.name, self.properties)

    def give_away(self) -> None:
        """Retain it, and the roles that it needs, when this context is left."""
        self._made = False
        self._new_roles, self._new_tablespaces = [], []

    def remove(self) -> str | None:
        """Remove everything that was created. Return what could not be removed, and what happens to it."""
        made = [f"the database {self.name}"] if self._made else []
        made += [f"the tablespace {name}" for name in self._new_tablespaces] + [f"the role {name}" for name in self._new_roles]
        if not made:
            return None
        try:
            with contextlib.ExitStack() as stack:
                control = self._control
                if control.closed or not databases.answers(control):
                    control = stack.enter_context(controlling(self._filling.login))
                if self._made:
                    remains.remove(control, self._filling.login, self.name)
                for space in self._new_tablespaces:  # each belongs to a role
                    execute(control, f"DROP TABLESPACE IF EXISTS {quote_identifier(space)}")
                if self._new_roles:  # what they were granted on parameters would keep them
                    execute(control, f"DROP OWNED BY {', '.join(map(quote_identifier, self._new_roles))}")
                for role in self._new_roles:
                    execute(control, f"DROP ROLE IF EXISTS {quote_identifier(role)}")
        except BackupError as error:
            removes = " The next restore removes the database." if self._made else ""
            return f"Not all that was made could be removed, of {', '.join(made)}: {error.problem}{removes}"
        return None

    def _look_at(self, statement: str) -> None:
        # Reported before anything is made, if it is in plain sight; psql's restricted mode finds it anywhere.
        if statement.startswith("\\") and not statement.startswith(("\\restrict ", "\\unrestrict ")):
            self._leads_out = self._leads_out or statement.split()[0]
        self.properties.take(statement)

    def _read_statements(self) -> None:
        """Find the properties of the database itself, and the roles that are needed."""
        if self._statements is None:
            self._read_archive()
            self._extensions = self.properties.extensions
            self._need_roles(self.properties.roles, self.properties.encoding)
            return
        self._statements.finish()
        if self._leads_out is not None:
            raise ContentInvalid(
                f"The dump has psql's command {self._leads_out}, which leads out of the database that is being restored.",
                "Such a dump was made with --create: restore it by hand, on a server where that does no harm.",
            )
        self._extensions = self.properties.extensions
        self._need_roles(self.properties.roles, self._statements.encoding)
        self.properties = self._properties_of_target()
        self._need_roles(self.properties.roles, self.properties.encoding)

    def _properties_of_target(self) -> Properties:
        """Return the properties of the database that a plain dump replaces: the dump has none."""
        source = self._properties_of
        if source is None or not databases.exists(self._control, source):
            self.warnings.append(f"{_LACKS_PROPERTIES}: the new one has the server's defaults.")
            return Properties()
        try:
            properties = properties_of(self._control, source)
        except QueryFailed as error:
            self.warnings.append(f"{_LACKS_PROPERTIES}: the new one has the server's defaults, since {error.problem}")
            return Properties()
        self.warnings.append(f"{_LACKS_PROPERTIES}: that was taken from the database {source} as it was.")
        return properties

    def _need_roles(self, roles: t.Iterable[str], encoding: str) -> None:
        self._roles.update({role.encode(codec_of(encoding), "surrogateescape"): role for role in roles})

    def _read_archive(self) -> None:
        statements = Statements(self.properties.take)
        if self._filling.parts is not None:
            chosen = choose(self._filling.parts, self._filler.list_entries)
            self._entries = chosen.lines
            self.warnings += chosen.warnings
        self._filler.read_schema(self._entries, statements.update)
        statements.finish()
        self.properties.encoding = statements.encoding

    def _missing_roles(self) -> list[str]:
        existing = role_names(self._control)
        return sorted(role for name, role in self._roles.items() if name not in existing)

    def _check_roles(self) -> None:
        missing = self._missing_roles()
        if missing and not self._filling.make_roles:
            raise RolesMissing(
                f"The backup's owners and grants need roles that the server lacks: {', '.join(missing)}.",
                "Make them, restore them with include_globals, or leave owners and grants out with no_owner.",
                roles=missing,
            )

    def _make(self) -> None:
        if not databases.lock(self._control, self.name) or databases.exists(self._control, self.name):
            raise Locked(f"The database {self.name} already exists.", "Run it again.")
        self._made = True
        self._create()

    def _create(self) -> None:
        name = quote_identifier(self.name)
        create = self.properties.create_as(self.name) or f"CREATE DATABASE {name} TEMPLATE template0"
        execute(self._control, f"{create} {_CLOSED}")
        databases.mark(self._control, self.name)
        # Nobody else may connect to it before it is whole and has its grants.
        execute(self._control, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        if self._belongings().changes_role():
            execute(self._control, f"GRANT CONNECT ON DATABASE {name} TO SESSION_USER")
        execute(self._control, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        self._belongings().give_owner(self._missing_roles())
