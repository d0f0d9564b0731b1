"""Restore a backup only to verify it: into a database that is dropped afterwards, and count the restored tables and rows.

If a server lacks something that the backup needs, such as an extension, that proves nothing about the backup: see faults.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    ContentExamination,
    ExaminationResult,
    content_file,
    restored,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    execute,
    patiently,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.faults import Fault
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.filling import Filling
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.globals import OF_TABLESPACE, Globals
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.new_database import (
    NewDatabase,
    controlling,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.preconditions import (
    check_room,
    check_version,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import tells_of_the_dump
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.protections import protected
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.remains import removing_after_failure, sweep
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ContentInvalid,
    Inconclusive,
    ProgramFailed,
    QueryFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:
    import psycopg2.extensions

_SYNTAX_ERROR = "42601"
_DUPLICATE_OBJECT = "42710"
_ROLES = "SELECT count(*) FROM pg_catalog.pg_roles WHERE oid >= 16384"  # those that are not of the server's making

# A partitioned table's rows are in its partitions.
_TABLES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 1, 2
"""


@contextlib.contextmanager
def drilling(
    login: Login, runner: Runner, manifest: Manifest, stamp: datetime, bin_directory: str | None, *, throwaway: bool
) -> t.Iterator[ContentExamination]:
    """Restore a database's backup on a server; on one that is thrown away, with all the roles that it needs."""
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(controlling(login))
        login = protected(login.reached(control), control)
        check_version(control, manifest)
        check_room(control, manifest)
        sweep(control, login)
        file = stack.enter_context(content_file(manifest))
        database = manifest.database or ""
        name = databases.derived_name(database, f"_restoring_{databases.free_stamp(control, database, stamp)}")
        filling = Filling(login, bin_directory=bin_directory, make_roles=throwaway, verbose=True)
        new = NewDatabase(filling, runner, manifest, control, file, name)
        drill = _Drill(new, manifest.format, dataclasses.replace(login, database=name))
        if throwaway:  # what was made goes with the server
            yield drill
            return
        with removing_after_failure(new.remove):
            yield drill
        if (left := new.remove()) is not None:
            raise Inconclusive(left, "See whether the server runs.")


@contextlib.contextmanager
def drilling_globals(login: Login) -> t.Iterator[ContentExamination]:
    """Make the roles of a cluster on a server that is thrown away."""
    with controlling(login) as control:
        yield _GlobalsDrill(control)


class _Drill:
    """A restore for the verdict only."""

    def __init__(self, new: NewDatabase, form: str | None, login: Login) -> None:
        self._new = new
        self._form = form
        self._login = login

    def write(self, data: bytes | memoryview) -> None:
        self._new.write(data)

    def finish(self) -> ExaminationResult:
        try:
            self._new.fill()
        except ProgramFailed as error:
            if not tells_of_the_dump(error, self._form):
                raise
            fault = self._new.fault(error)
            if fault is None:
                raise ContentInvalid(error.problem, "Take another backup.") from error
            raise fault.verdict(error.problem) from error
        return self._count()

    def _count(self) -> ExaminationResult:
        with controlling(self._login) as connection, patiently():
            tables = query(connection, _TABLES)
            rows = 0
            for schema, table in tables:
                [(count,)] = query(connection, f"SELECT count(*) FROM ONLY {quote_identifier(schema)}.{quote_identifier(table)}")
                rows += count
        return restored(len(tables), rows)


class _GlobalsDrill:
    """A restore of globals for the verdict only."""

    def __init__(self, control: psycopg2.extensions.connection) -> None:
        self._control = control
        self._globals = Globals()

    def write(self, data: bytes | memoryview) -> None:
        self._globals.update(data)

    def finish(self) -> ExaminationResult:
        for statement in self._globals.statements():
            if statement.startswith("\\"):  # for psql
                continue
            try:
                execute(self._control, statement)
            except QueryFailed as error:
                fault = Fault(str(error.details.get("sqlstate")), statement)
                if not _is_expected(fault):
                    raise fault.verdict(error.problem) from error
        [(roles,)] = query(self._control, _ROLES)
        return ExaminationResult(f"It was restored: {roles} roles beside the server's own.")


def _is_expected(fault: Fault) -> bool:
    """Return whether globals fail so on every new server: it has a superuser, and not the folders of the tablespaces."""
    if fault.statement.startswith("CREATE ROLE "):
        return fault.sqlstate == _DUPLICATE_OBJECT
    return OF_TABLESPACE.fullmatch(fault.statement) is not None and fault.sqlstate != _SYNTAX_ERROR
