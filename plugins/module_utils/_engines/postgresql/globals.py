"""Makes the roles and tablespaces in the output of pg_dumpall that a server lacks, and leaves the others as they are."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.inside import (
    role_names,
    tablespace_names,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import (
    NAME,
    Statements,
    codec_of,
    unquote_identifier,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import QueryFailed

if t.TYPE_CHECKING:
    import psycopg2.extensions

_OF_ROLE = re.compile(rf"(?:CREATE|ALTER|COMMENT ON|SECURITY LABEL FOR \S+ ON) ROLE ({NAME})(?! IN DATABASE)(?: .*)?", re.DOTALL)
_MEMBERSHIP = re.compile(rf"GRANT {NAME} TO ({NAME})(?: .*)?", re.DOTALL)
_GRANTED_BY = re.compile(rf" GRANTED BY {NAME}$")
_ON_PARAMETER = re.compile(
    rf"GRANT ((?:SET|ALTER SYSTEM|ALL)(?:, \w+)*) ON PARAMETER ({NAME}) TO ({NAME})(?: WITH GRANT OPTION)?"
)
_GRANTOR = re.compile(rf"SET SESSION AUTHORIZATION ({NAME})")
_EVERYBODY = "PUBLIC"
_NO_GRANTOR = "RESET SESSION AUTHORIZATION"
_PARAMETERS_SINCE = 150000  # the version of the server that has privileges on parameters
OF_TABLESPACE = re.compile(rf"(?:CREATE|ALTER|COMMENT ON|(?:GRANT|REVOKE) .* ON) TABLESPACE ({NAME}) .*", re.DOTALL)


class Globals:
    """Takes in the output of pg_dumpall, and makes the roles and tablespaces that a server lacks."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._found: list[str] = []
        self._statements = Statements(self._found.append)

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._statements.update(data)

    def statements(self) -> list[str]:
        """Return all statements."""
        self._statements.finish()
        return self._found

    def apply_roles(self, connection: psycopg2.extensions.connection) -> list[str]:
        """Make the roles that are missing, and return their names.

        A role that is there keeps its password, its attributes and its memberships.
        """
        self._statements.finish()
        roles = role_names(connection)
        made = [statement for statement in self._missing(_OF_ROLE, roles) if self._can_be_said(statement)]
        memberships = [statement for statement in self._missing(_MEMBERSHIP, roles) if self._can_be_said(statement)]
        with databases.changing(connection):
            for statement in made:
                execute(connection, statement)
            for statement in memberships:
                self._grant(connection, statement)
            if connection.server_version >= _PARAMETERS_SINCE:
                self._grant_on_parameters(connection, roles)
        names = (unquote_identifier(match[1]) for match in map(_OF_ROLE.fullmatch, made) if match is not None)
        return list(dict.fromkeys(names))

    def _can_be_said(self, statement: str) -> bool:
        """Return whether a statement is in the encoding of the dump. Roles may be made in databases of other encodings."""
        if not any("\ud800" <= character <= "\udfff" for character in statement):
            return True
        match = _OF_ROLE.fullmatch(statement) or _MEMBERSHIP.fullmatch(statement)
        name = unquote_identifier(match[1]) if match is not None else ""
        warning = f"The role {name} was left out: its name is in another encoding than the backup of the globals."
        if warning not in self.warnings:
            self.warnings.append(warning)
        return False

    def _grant(self, connection: psycopg2.extensions.connection, statement: str) -> None:
        """Make a membership. Its grantor may be a role that the server has already, without the right to grant it."""
        execute(connection, "SAVEPOINT membership")
        try:
            execute(connection, statement)
        except QueryFailed as error:
            without, count = _GRANTED_BY.subn("", statement)
            if not count:
                raise
            execute(connection, "ROLLBACK TO SAVEPOINT membership")
            execute(connection, without)
            self.warnings.append(f"A membership has another grantor than it had ({statement}): {error.problem}")
        execute(connection, "RELEASE SAVEPOINT membership")

    def _grant_on_parameters(self, connection: psycopg2.extensions.connection, existing: set[bytes]) -> None:
        """Grant the new roles their privileges on parameters. Warn of privileges that existing roles lack."""
        new = set(self._missing(_ON_PARAMETER, existing, name=3))
        grantor: str | None = None
        for statement in self._found:
            if statement == _NO_GRANTOR:
                grantor = None
            elif (match := _GRANTOR.fullmatch(statement)) is not None:
                grantor = match[1]
            elif (match := _ON_PARAMETER.fullmatch(statement)) is not None and self._can_be_said(statement):
                if statement in new and match[3] != _EVERYBODY:
                    self._grant_on_parameter(connection, statement, grantor)
                elif not _has_privilege(connection, match):
                    self.warnings.append(f"Not granted, since only new roles get their privileges: {statement};")

    def _grant_on_parameter(self, connection: psycopg2.extensions.connection, statement: str, grantor: str | None) -> None:
        [(role,)] = query(connection, "SHOW role")
        execute(connection, "SAVEPOINT parameter")
        try:
            if grantor is not None:
                execute(connection, f"SET LOCAL ROLE {grantor}")
            execute(connection, statement)
            query(connection, "SELECT pg_catalog.set_config('role', %s, true)", role)
        except QueryFailed as error:
            execute(connection, "ROLLBACK TO SAVEPOINT parameter")
            by = "" if grantor is None else f" by {grantor}"
            self.warnings.append(f"A privilege on a parameter could not be granted{by} ({statement};): {error.problem}")
        execute(connection, "RELEASE SAVEPOINT parameter")

    def apply_tablespaces(self, connection: psycopg2.extensions.connection, made: list[str]) -> None:
        """Make the tablespaces that are missing, and note in ``made`` which. The roles that they belong to come first."""
        there = tablespace_names(connection)
        for statement in self._missing(OF_TABLESPACE, there):
            execute(connection, statement)
            match = OF_TABLESPACE.fullmatch(statement)
            if statement.startswith("CREATE") and match is not None:
                made.append(unquote_identifier(match[1]))

    def _missing(self, pattern: re.Pattern[str], existing: set[bytes], name: int = 1) -> list[str]:
        """Return the statements about one that does not exist. Its ``name`` is that group of the pattern."""
        codec = codec_of(self._statements.encoding)
        matches = ((statement, pattern.fullmatch(statement)) for statement in self._found)
        return [
            statement
            for statement, match in matches
            if match is not None and unquote_identifier(match[name]).encode(codec, "surrogateescape") not in existing
        ]


def _has_privilege(connection: psycopg2.extensions.connection, grant: re.Match[str]) -> bool:
    """Return whether what a statement grants on a parameter is granted already."""
    role = "public" if grant[3] == _EVERYBODY else unquote_identifier(grant[3])
    privileges = "SET, ALTER SYSTEM" if grant[1] == "ALL" else grant[1]
    rows = query(
        connection,
        "SELECT bool_and(pg_catalog.has_parameter_privilege(%s, %s, privilege)) FROM unnest(string_to_array(%s, ', ')) privilege",
        role,
        unquote_identifier(grant[2]),
        privileges,
    )
    return bool(rows[0][0])
