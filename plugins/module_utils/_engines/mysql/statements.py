"""Splits a script into statements as the client does, which parses strings, comments and the command DELIMITER.

It works piece by piece, in linear time. Of a statement longer than a limit it holds only the beginning in memory.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Product
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

LONGEST_TEXT = 1024 * 1024  # bytes of a statement that are passed on; longer ones are data

_QUOTED = rb"'[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\"|`[^`]*`"
_QUOTED_AS_IT_IS = rb"'[^']*'|\"[^\"]*\"|`[^`]*`"
_IN_STRING = {
    b"'": re.compile(rb"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL),
    b'"': re.compile(rb"[^\"\\]*(?:\\.[^\"\\]*)*", re.DOTALL),
}
_SPACE = re.compile(rb"\s*")
# The client would unquote an argument with quotes, and cut one that is longer.
_DELIMITER = re.compile(rb"delimiter[ \t]+([^\s'\"`\\]{1,15})[ \t\r]*\n", re.IGNORECASE)
_MAY_BE_DELIMITER = re.compile(rb"d(?:e(?:l(?:i(?:m(?:i(?:t(?:e(?:r(?:[ \t][^\n]*)?)?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
# The content of such a comment is SQL. What is SQL to one client and a comment to the other could hide statements.
_EXECUTED: dict[Product, re.Pattern[bytes]] = {"MariaDB": re.compile(rb"/\*M?!"), "MySQL": re.compile(rb"/\*!")}
_SQL_MODE = re.compile(rb"(?:/\*!\d* *)?SET (?:@@)?(?:SESSION[. ])?sql_mode *= *(?:'([^'\n]*)'|@)", re.IGNORECASE)
# The first line of a dump of MariaDB, to its client a command.
_SANDBOX = re.compile(rb"/\*M?!999999\\- enable the sandbox mode \*/")
# Every server executes the content of these comments. It may skip others to the first */, even one in what the client takes for
# a string.
_ALWAYS_EXECUTED = re.compile(rb"/\*!(?:[0-4]?[0-9]{1,4}|50[0-6][0-9]{2})?(?![0-9])")
# Outside of strings, the client and the server read these differently, or the client executes a command. Words of MariaDB in a
# comment that MySQL's client does not execute are harmless.
_ODD = re.compile(rb";|#|/\*(?!M![ \w]*\*/)|--(?:[\x00-\x20\x7f]|\Z)|\\(?!-)")
_LONGEST_COMMAND = 1024
_AMBIGUOUS = 40  # bytes at the end of a piece that are read with the next one


@functools.lru_cache(maxsize=16)
def _run(ends: bytes, escapes: bool) -> re.Pattern[bytes]:
    """Return what matches a run of strings that end in the same piece, and of characters that begin nothing.

    Strings, comments, assignments and a delimiter that begins with ``ends`` begin something; the next character shows it.
    """
    first, quoted = re.escape(ends), _QUOTED if escapes else _QUOTED_AS_IT_IS
    other = rb"[^'\"`;$/#:\\\-%b]+|(?!%b)(?:-(?=[^-])|/(?=[^*])|:(?=[^=]))" % (first, first)
    return re.compile(rb"(?:%b|%b)*" % (other, quoted), re.DOTALL)


@functools.lru_cache(maxsize=2)
def _simple(escapes: bool) -> re.Pattern[bytes]:
    """Return what matches a content without a comment, in which each string ends."""
    return re.compile(rb"(?:[^'\"`/]|/(?!\*)|%b)*" % (_QUOTED if escapes else _QUOTED_AS_IT_IS), re.DOTALL)


class Statement(t.NamedTuple):
    """A statement: its place in the script, and its text, or the beginning of a long text."""

    start: int
    end: int  # after the delimiter
    text: bytes
    is_whole: bool
    delimiter: bytes
    assigns: bool  # has := outside of strings and comments
    is_odd: bool  # has a comment, a semicolon or a backslash within it, which the client and the server may read differently


class Statements:
    """Parses a script, and calls ``found`` with each statement."""

    def __init__(self, found: t.Callable[[Statement], object], *, escapes: bool = True, client: Product = "MariaDB") -> None:
        self._found = found
        self._executed = _EXECUTED[client]
        self._rest = b""
        self._offset = 0  # of the rest in the script
        self._delimiter = b";"
        self._start: int | None = None  # of the statement that has begun
        self._text = bytearray()
        self._length = 0
        self._assigns = False
        self._is_odd = False
        self._at_line_start = True  # nothing but spaces since the end of a line
        self._quote = b""  # the quote of the string that has begun
        self._comment = b""  # the end of the comment that has begun
        self._escapes = escapes  # whether a backslash in a string escapes the next character
        self._ended: bytes | None = None  # the delimiter after a statement that has just ended

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._read(self._rest + bytes(data), is_last=False)

    def finish(self, *, needs_delimiter: bool = True) -> None:
        """End the script. Raises ContentInvalid if it ends within a string, a comment or a statement.

        Without ``needs_delimiter``, the end of the script may end the last statement.
        """
        self._read(self._rest, is_last=True)
        if not needs_delimiter and not self._quote and self._comment != b"*/":
            if self._start is not None:
                self._ended = b""
                self._end(self._offset)
            return
        within = None
        if self._quote:
            within = "a string or a name"
        elif self._comment == b"*/":
            within = "a comment"
        elif self._start is not None or self._rest:
            within = "a statement"
        elif self._delimiter != b";":
            within = "a routine, a trigger or an event"
        if within is not None:
            raise ContentInvalid(f"The script ends within {within}.", "Take another backup.")

    def _read(self, data: bytes, *, is_last: bool) -> None:
        end = len(data) if is_last else max(0, len(data) - _AMBIGUOUS)
        place = 0
        while place < end:
            after = self._step(data, place, is_last)
            if after is None:  # more is needed
                break
            if self._start is not None or self._ended is not None:
                self._take(data[place:after])
            if self._ended is not None:
                self._end(self._offset + after)
            place = after
        self._rest = data[place:]
        self._offset += place

    def _step(self, data: bytes, place: int, is_last: bool) -> int | None:
        """Return the place after the next part of the script, None if more data is needed. Note what begins or ends."""
        if self._comment:
            return self._step_in_comment(data, place, is_last)
        if self._quote:
            return self._step_in_string(data, place, is_last)
        if self._start is None:
            return self._step_between(data, place, is_last)
        return self._step_in_statement(data, place, is_last)

    def _step_in_comment(self, data: bytes, place: int, is_last: bool) -> int | None:
        found = data.find(self._comment, place)
        if found < 0:
            return len(data) if is_last or len(self._comment) == 1 else len(data) - 1 if len(data) - 1 > place else None
        after = found + len(self._comment)
        self._comment = b""
        return after

    def _step_in_string(self, data: bytes, place: int, is_last: bool) -> int | None:
        if self._quote == b"`" or not self._escapes:
            found = data.find(self._quote, place)
            after = len(data) if found < 0 else found
        else:
            match = _IN_STRING[self._quote].match(data, place)
            after = place if match is None else match.end()
            found = after if data[after : after + 1] == self._quote else -1
        if found >= 0:
            self._quote = b""
            return found + 1
        if after == place:  # a backslash at the end
            return len(data) if is_last else None
        return after

    def _step_between(self, data: bytes, place: int, is_last: bool) -> int | None:
        space = _SPACE.match(data, place)
        if space is not None and space.end() > place:
            self._at_line_start = self._at_line_start or b"\n" in space[0]
            return space.end()
        sandbox = _SANDBOX.match(data, place)
        if sandbox is not None:
            self._at_line_start = False
            return sandbox.end()
        comment = None if data.startswith(b"/*+", place) else self._comment_at(data, place)
        if comment is not None:
            self._at_line_start = self._comment == b"\n"
            return comment
        match = _DELIMITER.match(data, place) if self._at_line_start else None
        if match is not None:
            self._delimiter = match[1]
            return match.end()
        if not is_last and len(data) - place < _LONGEST_COMMAND and _MAY_BE_DELIMITER.match(data, place):
            return None
        self._at_line_start = False
        if data.startswith(self._delimiter, place):
            return place + len(self._delimiter)
        self._start = self._offset + place
        return self._step_in_statement(data, place, is_last)

    def _step_in_statement(self, data: bytes, place: int, is_last: bool) -> int | None:
        match = _run(self._delimiter[:1], self._escapes).match(data, place)
        after = place if match is None else match.end()
        if after > place:
            return after
        if data.startswith(self._delimiter, place):
            self._ended = self._delimiter
            return place + len(self._delimiter)
        executed = self._executed.match(data, place)
        if executed is not None:
            return self._step_into_executed(data, place, is_last)
        self._is_odd = self._is_odd or _ODD.match(data, place) is not None
        comment = self._comment_at(data, place)
        if comment is not None:
            return comment
        self._assigns = self._assigns or data.startswith(b":=", place)
        byte = data[place : place + 1]
        if byte in (b"'", b'"', b"`"):
            self._quote = byte
        return place + (2 if byte == b"\\" else 1)

    def _step_into_executed(self, data: bytes, place: int, is_last: bool) -> int | None:
        after = data.index(b"!", place) + 1
        if _ALWAYS_EXECUTED.match(data, place) is not None:
            return after
        end = data.find(b"*/", after)
        if end < 0 and not is_last and len(data) - place < LONGEST_TEXT:
            return None
        self._is_odd = self._is_odd or end < 0 or _simple(self._escapes).fullmatch(data, after, end) is None
        return after

    def _comment_at(self, data: bytes, place: int) -> int | None:
        """Return the place after the opening of a comment, None if no comment begins at ``place``."""
        if data.startswith(b"/*", place) and self._executed.match(data, place) is None:
            self._comment = b"*/"
            return place + 2
        if data.startswith(b"#", place):
            self._comment = b"\n"
            return place + 1
        if data.startswith(b"--", place) and data[place + 2 : place + 3].isspace():
            self._comment = b"\n"
            return place + 2
        return None

    def _take(self, part: bytes) -> None:
        self._length += len(part)
        room = LONGEST_TEXT - len(self._text)
        if room > 0:
            self._text += part[:room]

    def _end(self, end: int) -> None:
        start, text, delimiter = self._start, bytes(self._text), self._ended or b""
        is_whole = self._length == len(text)
        if is_whole:
            text = text[: len(text) - len(delimiter)].rstrip()
        assigns, is_odd = self._assigns, self._is_odd
        self._ended, self._start, self._length, self._assigns, self._is_odd = None, None, 0, False, False
        self._text.clear()
        mode = _SQL_MODE.match(text)
        if mode is not None:
            self._escapes = b"NO_BACKSLASH_ESCAPES" not in (mode[1] or b"")
        if start is not None:
            self._found(Statement(start, end, text, is_whole, delimiter, assigns, is_odd))
