"""Tracks the settings in a script that change where the server ends strings and statements: sql_mode and character_set_client.

The server may skip an executed comment for another version, so that a later setting never makes a script safe again.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.statements import Statement

# In these, a byte that is a backslash or a quote in ASCII is never another character, nor a part of one.
_PLAIN_CHARSETS = re.compile(
    r"armscii8|ascii|binary|cp(?:125[0167]|85[02]|866)|dec8|eucjpms|euckr|gb2312|geostd8|greek|hebrew|hp8|keybcs2|koi8[ru]|"
    r"latin[1257]|macce|macroman|tis620|ujis|utf8(?:mb[34])?",
    re.IGNORECASE,
)
# In these, a character may end in the byte of a backslash or a backquote.
_MIXED_CHARSETS = re.compile(r"big5|cp932|gb18030|gbk|sjis", re.IGNORECASE)
_MIXED_CHARACTER = re.compile(rb"[\x80-\xff][\\`]")
_NAMES = re.compile(r"SET NAMES '?(\w+)'?", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(?:@@SESSION\.|@@|\bSESSION )?(@?\w+) ?:?= ?('[^']*'|@@(?:SESSION\.)?\w+|@\w+|[-\w]+)", re.IGNORECASE)
_FOLLOWED = ("sql_mode", "character_set_client")
# The only accepted form of a mode that changes where strings end. With others, the client could find other statements than we do.
_NO_ESCAPES = "NO_BACKSLASH_ESCAPES"
_MODE = re.compile(
    rb"(?:/\*!(?:[0-4][0-9]{4}|50[0-6][0-9]{2})? *)?SET (?:SESSION )?sql_mode *= *(?:'[A-Z0-9_,]*'|@\w+)\s*(?:\*/)?"
)
_READS_MODE = re.compile(r"@@(?:SESSION\.)?SQL_MODE", re.IGNORECASE)


class ScriptSession:
    """The settings of a session that executes a script. Takes in the statements in their order."""

    def __init__(self) -> None:
        self._sources: dict[str, set[str]] = {}  # the server's variables whose value a user's variable may have
        self._escapes = True
        self._is_mixed = False

    def problem_of(self, statement: Statement) -> str | None:
        """Return why the server may read a statement differently than we do, None if it does not."""
        if self._is_mixed and (not statement.is_whole or _MIXED_CHARACTER.search(statement.text)):
            return "has a backslash or a backquote that may be part of a character"
        return None

    def set(self, statement: Statement, plain: str) -> str | None:
        """Take in a SET; ``plain`` is its text without comments. Return why no dump has it, None if a dump may have it."""
        names = _NAMES.fullmatch(plain)
        if names is not None:
            return self._set_charset(names[1])
        assigned = [(name.lower(), value) for name, value in _ASSIGNMENT.findall(plain)]
        for name, value in assigned:
            if name.startswith("@"):
                self._sources.setdefault(name, set()).add(value.lower().replace("@@session.", "@@"))
        for name, value in assigned:
            problem = self._problem_of_value(name, value) if name in _FOLLOWED else None
            if problem is not None:
                return problem
        return self._set_mode(statement, plain)

    def _problem_of_value(self, name: str, value: str) -> str | None:
        if value.startswith("@@") or (value.startswith("@") and self._sources.get(value.lower(), set()) - {f"@@{name}"}):
            return f"sets {name} to the value of another variable"
        return self._set_charset(value.strip("'")) if name == "character_set_client" and not value.startswith("@") else None

    def _set_charset(self, name: str) -> str | None:
        if _MIXED_CHARSETS.fullmatch(name):
            self._is_mixed = True
        elif not _PLAIN_CHARSETS.fullmatch(name):
            return "sets a character set that no dump sets"
        return None

    def _set_mode(self, statement: Statement, plain: str) -> str | None:
        sets_none = _NO_ESCAPES in plain.upper()
        if not sets_none and self._escapes:
            return None
        mode = _MODE.fullmatch(statement.text)
        if mode is not None:
            self._escapes = not sets_none
            return None
        if _READS_MODE.search(plain):  # a variable could set it again
            return "saves an sql_mode that no dump saves"
        return "sets sql_mode in a way that no dump does" if sets_none or "SQL_MODE" in plain.upper() else None
