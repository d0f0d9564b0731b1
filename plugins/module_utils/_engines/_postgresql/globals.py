# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""A cluster's roles and tablespaces, as pg_dumpall writes them: those that a server lacks are made, the others left alone."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql import databases
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.connection import execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.sql import (
    NAME,
    Statements,
    unquote_identifier,
)

if t.TYPE_CHECKING:
    import psycopg2.extensions

_OF_ROLE = re.compile(rf"(?:CREATE|ALTER|COMMENT ON|SECURITY LABEL FOR \S+ ON) ROLE ({NAME})(?! IN DATABASE)(?: .*)?", re.DOTALL)
_MEMBERSHIP = re.compile(rf"GRANT {NAME} TO ({NAME})(?: .*)?", re.DOTALL)
_TABLESPACE = re.compile(rf"(?:CREATE|ALTER|COMMENT ON|(?:GRANT|REVOKE) .* ON) TABLESPACE ({NAME}) .*", re.DOTALL)


class Globals:
    """Takes in what pg_dumpall wrote, and makes what a server lacks of it."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._statements = Statements(self._found.append)

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._statements.update(data)

    def apply_roles(self, connection: psycopg2.extensions.connection) -> list[str]:
        """Make the roles that are missing, and return their names.

        A role that is there keeps its password, its attributes and its memberships.
        """
        self._statements.finish()
        roles = {name for (name,) in query(connection, "SELECT rolname FROM pg_catalog.pg_roles")}
        made = self._missing(_OF_ROLE, roles)
        with databases.changing(connection):
            for statement in (*made, *self._missing(_MEMBERSHIP, roles)):
                execute(connection, statement)
        names = (unquote_identifier(match[1]) for match in map(_OF_ROLE.fullmatch, made) if match is not None)
        return list(dict.fromkeys(names))

    def apply_tablespaces(self, connection: psycopg2.extensions.connection, made: list[str]) -> None:
        """Make the tablespaces that are missing, and note in ``made`` which. The roles that they belong to come first."""
        there = {name for (name,) in query(connection, "SELECT spcname FROM pg_catalog.pg_tablespace")}
        for statement in self._missing(_TABLESPACE, there):
            execute(connection, statement)
            match = _TABLESPACE.fullmatch(statement)
            if statement.startswith("CREATE") and match is not None:
                made.append(unquote_identifier(match[1]))

    def _missing(self, pattern: re.Pattern[str], there: set[str]) -> list[str]:
        """Return the statements about one that is not there."""
        matches = ((statement, pattern.fullmatch(statement)) for statement in self._found)
        return [statement for statement, match in matches if match is not None and unquote_identifier(match[1]) not in there]
