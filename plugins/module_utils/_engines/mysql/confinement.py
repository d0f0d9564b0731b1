"""Finds what a statement of a user changes beside the database in use.

This protects against accidents, such as a script that names the production database: neither server can confine a session to one
database. It is no protection against the author of the SQL, who can do whatever the login may do.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import unquoted

_TOKEN = re.compile(
    r"(?P<space>\s+|--(?=\s)[^\n]*|#[^\n]*|/\*(?!M?!).*?\*/|/\*M?![0-9]*|\*/)"  # the content of an executed comment is SQL
    r"|(?P<name>`(?:[^`]|``)*`|\"(?:[^\"\\]|\\.|\"\")*\"|[\w$]+)"
    r"|(?P<text>'(?:[^'\\]|\\.|'')*')"
    r"|(?P<other>.)",
    re.DOTALL,
)
_FIRST_WORDS = 16
_HARMLESS = {
    *("ALTER", "ANALYZE", "BEGIN", "CALL", "COMMIT", "CREATE", "DELETE", "DESCRIBE", "DO", "DROP", "EXPLAIN", "INSERT", "LOCK"),
    *("OPTIMIZE", "RELEASE", "RENAME", "REPLACE", "ROLLBACK", "SAVEPOINT", "SELECT", "SET", "SHOW", "SIGNAL", "START", "TABLE"),
    *("TRUNCATE", "UNLOCK", "UPDATE", "VALUES", "WITH", "("),
}
_DEFINES = ("ALTER", "CREATE", "DROP", "RENAME")
_OF_THE_DATABASE = {"TABLE", "TABLES", "SEQUENCE", "INDEX", "VIEW", "TRIGGER", "FUNCTION", "PROCEDURE"}
_OF_THE_SERVER = {
    *("DATABASE", "SCHEMA", "EVENT", "INSTANCE", "LOGFILE", "PACKAGE", "RESOURCE", "ROLE", "SERVER", "SPATIAL REFERENCE"),
    *("TABLESPACE", "UNDO", "USER"),
}
_NOT_SET = ("DEFAULT", "PASSWORD", "RESOURCE", "ROLE", "STATEMENT")
_NOT_STARTED = ("ALL", "GROUP_REPLICATION", "REPLICA", "SLAVE")
# Wherever they are: settings of the server, SQL that is made while it runs, files, libraries.
_WORDS = {"GLOBAL", "PERSIST", "PERSIST_ONLY", "PREPARE", "IMMEDIATE", "OUTFILE", "DUMPFILE", "SONAME"}


def why_refused(statement: bytes, others: t.Collection[str]) -> str | None:
    """Return why a statement is refused, None if it stays in its database. ``others`` are the other databases, in lower case."""
    words: list[str] = []
    before, name = "", ""
    for token in _tokens(statement.decode("utf-8", "replace")):
        if token == "." and name.lower() in others:
            return f"it names the database {name}, and may change only the new one: leave the name out, or use an alias"
        if token.upper() in _WORDS and before != ".":
            return f"{token.upper()} is refused; quote it if it is a name"
        if len(words) < _FIRST_WORDS:
            words.append(token.upper())
        name = unquoted(token) if before != "." else ""
        before = token
    return _why_kind_refused(words)


def _tokens(text: str) -> t.Iterator[str]:
    return (match[0] for match in _TOKEN.finditer(text) if match.lastgroup != "space")


def _why_kind_refused(words: t.Sequence[str]) -> str | None:
    if not words:
        return None
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first not in _HARMLESS:
        return f"{first} is refused"
    if (first == "SET" and second in _NOT_SET) or (first == "START" and second in _NOT_STARTED):
        return f"{first} {second} is refused"
    if first in _DEFINES:
        kind = next((word for word in words[1:] if word in _OF_THE_DATABASE or word in _OF_THE_SERVER), second)
        return None if kind in _OF_THE_DATABASE else f"{first} {kind} is refused"
    return None
