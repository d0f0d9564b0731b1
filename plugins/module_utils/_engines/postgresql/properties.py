"""What belongs to a database itself, as pg_dump writes it: how it is made, its owner, settings, grants and comment."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import (
    NAME,
    quote_identifier,
    roles_in,
    unquote_identifier,
)

_OF_DATABASE = re.compile(
    rf"((?:CREATE|ALTER|COMMENT ON|(?:GRANT|REVOKE) [A-Z, ]+ ON|ALTER ROLE {NAME} IN|SECURITY LABEL FOR \S+ ON) DATABASE )"
    rf"{NAME}( .*)",
    re.DOTALL,
)
_SEARCH_PATH = re.compile(r' SET "?search_path"? TO (.*)', re.DOTALL)
_EXTENSION = re.compile(rf"CREATE EXTENSION (?:IF NOT EXISTS )?({NAME})(?: WITH SCHEMA ({NAME}))?(?: .*)?", re.DOTALL)


class Properties:
    """Collects them from the statements of a dump, and gives them for a database of another name."""

    def __init__(self) -> None:
        self.encoding = "UTF8"  # of the dump that the statements are from
        self.extensions: dict[str, str] = {}  # the extensions in the database, and the schema of each
        self.roles: set[str] = set()
        self.database_roles: set[str] = set()
        self.create: tuple[str, str] | None = None
        self._owner: list[tuple[str, str]] = []
        self._others: list[tuple[str, str] | str] = []
        self._grantor: str | None = None

    def take(self, statement: str) -> None:
        """Examine the next statement of the dump."""
        roles = roles_in(statement)
        self.roles |= roles
        if statement.startswith("SET SESSION AUTHORIZATION "):
            self._grantor = statement
        elif statement == "RESET SESSION AUTHORIZATION":
            self._grantor = None
        extension = _EXTENSION.fullmatch(statement)
        if extension is not None:
            self.extensions[unquote_identifier(extension[1])] = unquote_identifier(extension[2] or "")
        match = _OF_DATABASE.fullmatch(statement)
        if match is None:
            return
        self.database_roles |= roles
        parts = (match[1], match[2])
        if match[1].startswith("CREATE"):
            self.create = parts
        elif match[2].startswith(" OWNER TO "):
            self._owner.append(parts)
        elif self._grantor is None:
            self._others.append(parts)
        else:
            self.database_roles |= roles_in(self._grantor)
            self._others += [self._grantor, parts, "RESET SESSION AUTHORIZATION"]

    def create_as(self, name: str) -> str | None:
        """Return the statement that makes such a database, None where the dump has none."""
        return None if self.create is None else _named(self.create, name)

    def owner_as(self, name: str) -> list[str]:
        """Return the statement that gives it its owner, if there is one."""
        return [_named(parts, name) for parts in self._owner]

    def others_as(self, name: str) -> list[str]:
        """Return the statements that give it all the rest."""
        return [parts if isinstance(parts, str) else _named(parts, name) for parts in self._others]

    @property
    def search_path(self) -> str | None:
        """Return the database's own setting of search_path as SQL, None if it has none."""
        settings = [parts[1] for parts in self._others if not isinstance(parts, str) and parts[0] == "ALTER DATABASE "]
        found = [match[1] for match in map(_SEARCH_PATH.fullmatch, settings) if match is not None]
        return found[0] if found else None

    def comment_as(self, name: str) -> list[str]:
        """Return the statement that gives it its comment, if it has one; it is among the rest, too."""
        return [statement for statement in self.others_as(name) if statement.startswith("COMMENT ON DATABASE ")]


def _named(parts: tuple[str, str], name: str) -> str:
    return f"{parts[0]}{quote_identifier(name)}{parts[1]}"
