"""Examines the output of mariadb-dump and mysqldump: checks that it is whole, and computes the digest of its content.

The digest leaves out the lines at the beginning that name the program, the host and the server's version, and the position in the
binary log, which moves on when other databases change.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, Hash, finished
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import EndsHeldBack
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.position import (
    position_in,
    without_first_comments,
    without_last_comments,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Counts
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Position

GLOBALS_TITLE = b"-- Accounts of a MariaDB or MySQL server\n"
TRAILER = b"-- Dump completed\n"
_HEAD_BYTES = 16 * 1024  # the title and the position are in the first lines
_TAIL_BYTES = 16 * 1024  # the GTID has a number for each domain
# First this collection's own lines, then MariaDB's instruction to its client, then the title. The dump programs begin a new
# comment after a line break in a name.
_TITLE = re.compile(
    rb"((?:/\*!40101 SET NAMES utf8mb4 \*/;\nALTER DATABASE [^\n]*\n)?)"
    rb"(?:/\*M?!999999\\- [^\n]*\n)?-- (?:MariaDB|MySQL) dump [^\n]*\n(?:--[^\n]*\n)*?-- Server version[^\n]*\n"
)
# A dump made by hand has the date in it.
_TRAILER = re.compile(rb"(?:\A|\n)-- Dump completed(?: on [^\n]*)?\n\Z")
_MARKS = (
    rb"\n/\*!50001 CREATE ALGORITHM=",  # a view
    rb"\n/\*!50003 CREATE\*/ /\*!50017 DEFINER=",  # a trigger
    rb"\nCREATE DEFINER=",  # a routine
    rb"\n/\*!50106 CREATE\*/ /\*!50117 DEFINER=",  # an event
)
# Backwards from their last byte: data has few of those, and one byte is found faster than several.
_OBJECTS = re.compile(b"=(?:%b)" % b"|".join(b"(?<=(%b))" % mark for mark in _MARKS))
_LONGEST_MARK = 40


def is_dump(head: bytes) -> bool:
    """Return whether a content with this beginning is a dump of MariaDB or MySQL."""
    return _TITLE.match(head) is not None or head.startswith(GLOBALS_TITLE)


class ScriptDigest:
    """The digest of a dump, which is SQL as text."""

    def __init__(self, algorithm: Hash) -> None:
        self._digest = algorithm
        self._text = EndsHeldBack(algorithm, _HEAD_BYTES, _TAIL_BYTES, self._begin)
        self._is_dump = False

    def update(self, chunk: memoryview) -> None:
        self._text.update(chunk)

    def finish(self) -> Digest:
        tail = self._text.finish()
        if not self._is_dump or _TRAILER.search(tail) is None:
            raise ContentInvalid(
                "The dump ended without an error, but its first or its last lines are missing.",
                "Run the dump by hand and see; this one was thrown away.",
            )
        self._digest.update(_TRAILER.sub(b"\n" + TRAILER, without_last_comments(tail)))
        return finished(self._digest)

    def _begin(self, head: bytes) -> bytes:
        self._is_dump = is_dump(head)
        match = _TITLE.match(head)
        return head if match is None else match[1] + without_first_comments(head[match.end() :])


class PositionReader:
    """Reads the position in the binary log from a dump as it passes."""

    def __init__(self, is_required: bool) -> None:
        self._is_required = is_required
        self._head = b""
        self._tail = b""

    def update(self, chunk: memoryview) -> None:
        if len(self._head) < _HEAD_BYTES:
            self._head += chunk[: _HEAD_BYTES - len(self._head)]
        self._tail = bytes(chunk[-_TAIL_BYTES:]) if len(chunk) >= _TAIL_BYTES else (self._tail + chunk)[-_TAIL_BYTES:]

    def position(self) -> Position | None:
        """Return the position, None if the dump has none. Raises ContentInvalid if it must have one."""
        title = _TITLE.match(self._head)
        found = None if title is None else position_in(self._head[title.end() :], self._tail)
        if found is None and self._is_required:
            raise ContentInvalid(
                "The dump program did not write the position in the binary log into the dump.",
                "See which program it is (bin_directory), or leave binlog_position out.",
            )
        return found


class ObjectCounter:
    """Counts the views, triggers, routines and events in a dump as it passes. No line of data can begin as their lines do."""

    def __init__(self) -> None:
        self._counts = [0] * len(_MARKS)
        self._end = b""

    def update(self, chunk: memoryview) -> None:
        text = self._end + chunk
        first = text.find(b"=", len(self._end))
        if first >= 0:
            for match in _OBJECTS.finditer(text, first):
                self._counts[(match.lastindex or 1) - 1] += 1
        self._end = text[-_LONGEST_MARK:]

    def counts(self) -> Counts:
        return Counts(*self._counts)
