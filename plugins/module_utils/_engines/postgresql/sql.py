"""Reads SQL as pg_dump, pg_dumpall and pg_restore write it: statement by statement, and which roles each one needs.

Names are taken from where these programs put them; it is no reader for SQL that somebody else wrote.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

_LONGEST_KEPT = 1024 * 1024  # bytes of a statement; the statements of interest are short, but rows may be long
_OPENINGS = re.compile(rb"'|\"|\$[A-Za-z_0-9]*\$|--|/\*|;|^\\[^\n]*", re.MULTILINE)
_CLOSINGS = {b"--": b"\n", b"/*": b"*/"}
_COPY = re.compile(rb"COPY .* FROM stdin$", re.DOTALL)
_ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_]+)'")
_END_OF_ROWS = b"\n\\.\n"
_NOT_KEPT = (_END_OF_ROWS, *_CLOSINGS.values())

NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
_NAMES = rf"{NAME}(?:, {NAME})*"
_ROLES = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rf"ALTER .* OWNER TO ({NAME})",
        rf"GRANT .* TO ({_NAMES})(?: WITH GRANT OPTION)?",
        rf"REVOKE .* FROM ({_NAMES})",
        rf"ALTER DEFAULT PRIVILEGES FOR ROLE ({NAME}) .* (?:TO|FROM) ({NAME})(?: WITH GRANT OPTION)?",
        rf"ALTER ROLE ({NAME}) IN DATABASE .*",
        rf"SET SESSION AUTHORIZATION ({NAME})",
        rf"CREATE POLICY {NAME} ON (?:{NAME}\.)?{NAME}(?: AS [A-Z]+)?(?: FOR [A-Z]+)? TO ({_NAMES})(?: (?:USING|WITH CHECK) .*)?",
        rf"CREATE USER MAPPING FOR ({NAME}) SERVER .*",
    )
]
_NO_ROLES = {"PUBLIC", "public", "DEFAULT", "CURRENT_USER", "SESSION_USER"}


def quote_identifier(name: str) -> str:
    """Quote a name for SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_literal(text: str) -> str:
    """Quote a text for SQL."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'" if "\\" not in text else "E'" + escaped.replace("\\", "\\\\") + "'"


def unquote_identifier(text: str) -> str:
    """Return the name that an identifier in SQL is."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def codec_of(encoding: str) -> str:
    """Return Python's name for an encoding of PostgreSQL's. SQL_ASCII is any: its bytes go through as UTF-8's do."""
    import psycopg2.extensions

    known: dict[str, str] = psycopg2.extensions.encodings
    return "utf-8" if encoding == "SQL_ASCII" else known.get(encoding, "utf-8")


class Statements:
    """Splits a stream of SQL. Each statement goes to ``take`` without its semicolon, rows between them are passed over.

    What psql itself would obey, a line that begins with a backslash, goes to ``take`` as well. ``encoding`` is the one that the
    SQL says it has; bytes that are none of it go through as surrogates.
    """

    def __init__(self, take: t.Callable[[str], None]) -> None:
        self.encoding = "UTF8"
        self._codec = "utf-8"
        self._take = take
        self._buffer = b""
        self._statement = b""
        self._closing: bytes | None = None  # what ends the quote, the comment or the rows that we are in

    def update(self, chunk: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._buffer += bytes(chunk)
        # What is looked for does not go over the end of a line, but the end of rows.
        self._read(self._buffer.rfind(b"\n") + 1 or len(self._buffer) - _LONGEST_KEPT)

    def finish(self) -> None:
        """End the stream."""
        self._buffer += b"\n"
        self._read(len(self._buffer))

    def _read(self, end: int) -> None:
        place = 0
        while place < end:
            before = place
            place = self._pass_opening(place, end) if self._closing is None else self._pass_closing(self._closing, place, end)
            if place == before:
                break
        self._buffer = self._buffer[place:]

    def _pass_opening(self, place: int, end: int) -> int:
        """Read to where something is opened or a statement ends, and return the place behind it."""
        match = _OPENINGS.search(self._buffer, place, end)
        if match is None:
            self._keep(place, end)
            return end
        found = match[0]
        if found == b";":
            self._keep(place, match.start())
            return self._end_statement(match.end())
        if found.startswith(b"\\"):
            self._keep(place, match.start())
            if not self._statement.strip():
                self._take(found.decode(self._codec, "surrogateescape"))
            return match.end()
        self._closing = _CLOSINGS.get(found, found)
        self._keep(place, match.start() if found in _CLOSINGS else match.end())
        return match.end()

    def _end_statement(self, place: int) -> int:
        statement, self._statement = self._statement.strip(), b""
        match = _ENCODING.fullmatch(statement)
        if match is not None:
            self.encoding = match[1].decode("ascii")
            self._codec = codec_of(self.encoding)
        self._take(statement.decode(self._codec, "surrogateescape"))
        if _COPY.match(statement) is None:
            return place
        self._closing = _END_OF_ROWS
        line_end = self._buffer.find(b"\n", place)  # where the end of the rows is looked for: there may be none
        return place if line_end < 0 else line_end

    def _pass_closing(self, closing: bytes, place: int, end: int) -> int:
        """Read to where what is open is closed, and return the place behind it."""
        found = self._buffer.find(closing, place, end)
        closed = end if found < 0 else found + len(closing)
        if closing not in _NOT_KEPT:
            self._keep(place, closed)
        if found >= 0:
            self._closing = None
        elif closing == _END_OF_ROWS:
            return end - 1  # the end of a line may be the beginning of the end
        return closed

    def _keep(self, start: int, end: int) -> None:
        room = _LONGEST_KEPT - len(self._statement)
        if room > 0:
            self._statement += self._buffer[start : min(end, start + room)]


def roles_in(statement: str) -> set[str]:
    """Return the roles without which a statement fails."""
    for pattern in _ROLES:
        match = pattern.fullmatch(statement)
        if match is not None:
            found = {name for group in match.groups() for name in re.findall(NAME, group)}
            return {unquote_identifier(name) for name in found - _NO_ROLES}
    return set()
