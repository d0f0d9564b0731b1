"""Gives a new database its owner, settings, grants and comment.

Most of it comes in the transaction in which it gets its name. What that session can't say in its encoding is said in a session on
the new database; then the comment comes last, since until the swap it is the mark by which a dead run's database is known.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, execute, query
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.inside import can_say, inside
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.properties import Properties
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import quote_identifier

if t.TYPE_CHECKING:
    import psycopg2.extensions


@dataclass(frozen=True)
class Belongings:
    """The properties of the database ``name``, which ``control`` has made."""

    control: psycopg2.extensions.connection
    login: Login
    name: str
    properties: Properties

    def give_owner(self, missing_roles: t.Iterable[str]) -> None:
        """Give it its owner, and make the roles that are missing."""
        made = [f"CREATE ROLE {quote_identifier(role)}" for role in missing_roles]
        statements = [*made, *self.properties.owner_as(self.name)]
        if not self._can_say(statements):
            self._say_inside(self.name, statements)
            return
        for statement in statements:
            execute(self.control, statement)

    def give_what_can_not_wait(self) -> None:
        """Execute the statements that can't run in the transaction in which it gets its name."""
        if not self._can_say(self._rest()):
            self._say_inside(self.name, self._rest())

    def last_statements(self) -> list[str]:
        """Return the statements for the transaction in which it gets its name."""
        no_mark = f"COMMENT ON DATABASE {quote_identifier(self.name)} IS NULL"
        rest, comment = self._rest(), self.properties.comment_as(self.name)
        return [no_mark, *(rest if self._can_say(rest) else []), *(comment if self._can_say(comment) else [])]

    def give_comment(self, name: str) -> None:
        """Set its comment under its present name, unless the transaction did."""
        comment = self.properties.comment_as(name)
        if not self._can_say(comment):
            self._say_inside(name, comment)

    def changes_role(self) -> bool:
        """Return whether the programs connect as another role than the one that makes the new database."""
        [(changes,)] = query(self.control, "SELECT session_user <> current_user")
        return bool(changes)

    def _rest(self) -> list[str]:
        """Return the statements for its settings and grants."""
        name = quote_identifier(self.name)
        comment = self.properties.comment_as(self.name)
        revoked = [f"REVOKE CONNECT ON DATABASE {name} FROM SESSION_USER"] if self.changes_role() else []
        others = [statement for statement in self.properties.others_as(self.name) if statement not in comment]
        return [*revoked, f"GRANT CONNECT ON DATABASE {name} TO PUBLIC", *others]

    def _can_say(self, statements: t.Iterable[str]) -> bool:
        return all(can_say(self.control, statement, self.properties.encoding) for statement in statements)

    def _say_inside(self, name: str, statements: t.Iterable[str]) -> None:
        with inside(self.login, name, self.properties.encoding) as say:
            for statement in statements:
                say(statement)
