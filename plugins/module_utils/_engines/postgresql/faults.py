"""Decide whether a statement of a dump failed because of the dump, or because of the server that it was restored to.

An error is classified by its SQLSTATE and by the statement that failed, never by words, which have a language.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.sql import Statements
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ContentInvalid, Inconclusive

# Classes of codes for operations that a server can't perform at this time, in this state, for this user, or at all. XX is an
# internal error.
_SERVER_CLASSES = ("08", "0A", "0L", "0P", "25", "28", "3D", "40", "53", "54", "55", "57", "58", "F0", "HV", "XX")
_SERVER_CODES = ("42501",)  # insufficient_privilege
_UNDEFINED_OBJECT = "42704"  # also a role, a tablespace, a collation, an access method, a setting
_UNDEFINED = ("3F000", "42704", "42883", "42P01", "42703")

# Statements that depend on what is installed on a server, and on how it is configured. An error in one of them is
# the server's, whatever its code: the script of an extension may raise any.
_INSTALLED = re.compile(
    r"(?:(?:CREATE|ALTER|COMMENT ON|DROP) (?:EXTENSION|SUBSCRIPTION|ACCESS METHOD|FOREIGN DATA WRAPPER|SERVER|USER MAPPING"
    r"|FOREIGN TABLE|COLLATION|CONVERSION|TABLESPACE|(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE)|SECURITY LABEL"
    r"|SET |SELECT pg_catalog\.set_config\(|ALTER (?:ROLE|DATABASE) .* SET )",
    re.DOTALL,
)
_IN_C = re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) .*\sLANGUAGE c\b", re.DOTALL)
_NEEDS_OF_SERVER = re.compile(
    r" OWNER TO |^(?:GRANT|REVOKE) |^ALTER DEFAULT PRIVILEGES |^CREATE POLICY | TABLESPACE | COLLATE pg_catalog\."
    r"|^CREATE INDEX .* USING |^CREATE OPERATOR (?:CLASS|FAMILY) ",
    re.DOTALL,
)
# As psql says it with VERBOSITY=verbose. The severity and the text are in the server's language, the labels below it in ours.
_VERBOSE = re.compile(r"^psql:[^\n]*?:(?P<line>\d+): [^\n:]+: +(?P<sqlstate>[0-9A-Z]{5}): ", re.MULTILINE)
_WITHIN = re.compile(r"^CONTEXT: .*$(?:\n(?!LOCATION:|STATEMENT:|psql:|[A-Z]+: ).*$)*", re.MULTILINE)
_FUNCTION = re.compile(r'function "?([^\s"(]+)')


@dataclass(frozen=True)
class Fault:
    """An error of a server's: its code, the statement that failed, and the function within which it did, if any."""

    sqlstate: str
    statement: str
    function: str | None = None

    @property
    def is_the_server_s(self) -> bool:
        """Return whether the server lacks something, or had a problem of its own: that proves nothing about the dump."""
        if self.sqlstate[:2] in _SERVER_CLASSES or self.sqlstate in _SERVER_CODES:
            return True
        if _INSTALLED.match(self.statement) or _IN_C.match(self.statement):
            return True
        return self.sqlstate == _UNDEFINED_OBJECT and _NEEDS_OF_SERVER.search(self.statement) is not None

    @property
    def needs_search_path(self) -> bool:
        """Return whether a function used an unqualified name, which a restore does not find: it has an empty search_path."""
        return self.function is not None and self.sqlstate in _UNDEFINED

    def verdict(self, problem: str) -> BackupError:
        """Return the error that decides the verdict of a drill, with the message of the program that failed."""
        if self.is_the_server_s:
            return Inconclusive(
                f"{problem} This error is the server's (SQLSTATE {self.sqlstate}) and proves nothing about the backup.",
                "Give the server of the drill what it lacks, such as an extension's package or setting, or name another one.",
            )
        if self.needs_search_path:
            return ContentInvalid(
                f"{problem} The function {self.function} uses a name without its schema, and a dump is restored with an empty "
                "search_path.",
                "Qualify the name in the function, or give the function a search_path of its own (ALTER FUNCTION ... SET "
                "search_path = ...), and back up again. To restore this backup, write it out by pg_restore --file, take the "
                "line that empties search_path out of the script, and run it by psql.",
            )
        return ContentInvalid(problem, "Take another backup.")


class Reported(t.NamedTuple):
    """An error or a warning that psql reported: where in its script, and which."""

    line: int
    sqlstate: str
    function: str | None


def reported_by(words: str) -> list[Reported]:
    """Return the errors and warnings in what psql has said with VERBOSITY=verbose."""
    found = []
    matches = list(_VERBOSE.finditer(words))
    for match, following in zip(matches, [*matches[1:], None]):
        rest = words[match.end() : following.start() if following is not None else len(words)]
        within = _WITHIN.search(rest)
        function = _FUNCTION.search(within[0]) if within is not None else None
        found.append(Reported(int(match["line"]), match["sqlstate"], None if function is None else function[1]))
    return found


def reported_in(words: str, script: int) -> Fault | None:
    """Return the error that ended a script, with its statement. psql reports warnings before it, and stops at an error."""
    reported = reported_by(words)
    if not reported:
        return None
    last = reported[-1]
    return Fault(last.sqlstate, _statement_at(script, last.line), last.function)


def _statement_at(script: int, line: int) -> str:
    """Return the statement that ends in a line of a script."""
    found = [""]
    statements = Statements(found.append)
    os.lseek(script, 0, os.SEEK_SET)
    with open(script, "rb", closefd=False) as file:
        for text in itertools.islice(file, line):
            statements.update(text)
            del found[:-1]
    return found[-1]
