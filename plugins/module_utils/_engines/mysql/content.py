"""Examines the output of mariadb-dump and mysqldump: checks that it is whole, and computes the digest of its content.

The digest leaves out the lines at the beginning that name the program, the host and the server's version.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, Hash, finished
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Counts
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

GLOBALS_TITLE = b"-- Accounts of a MariaDB or MySQL server\n"
TRAILER = b"-- Dump completed\n"
_HEAD_BYTES = 4096  # the title is in the first lines
_TAIL_BYTES = 256
# First this collection's own lines, then MariaDB's instruction to its client, then the title. The dump programs begin a new
# comment after a line break in a name.
_TITLE = re.compile(
    rb"((?:/\*!40101 SET NAMES utf8mb4 \*/;\nALTER DATABASE [^\n]*\n)?)"
    rb"(?:/\*M?!999999\\- [^\n]*\n)?-- (?:MariaDB|MySQL) dump [^\n]*\n(?:--[^\n]*\n)*?-- Server version[^\n]*\n"
)
# A dump made by hand has the date in it.
_TRAILER = re.compile(rb"(?:\A|\n)-- Dump completed(?: on [^\n]*)?\n\Z")
_OBJECTS = re.compile(
    rb"\n(?:(/\*!50001 CREATE ALGORITHM=)|(/\*!50003 CREATE\*/ /\*!50017 DEFINER=)|(CREATE DEFINER=)|(/\*!50106 CREATE\*/ ))"
)
_LONGEST_MARK = 40


def is_dump(head: bytes) -> bool:
    """Return whether a content with this beginning is a dump of MariaDB or MySQL."""
    return _TITLE.match(head) is not None or head.startswith(GLOBALS_TITLE)


class ScriptDigest:
    """The digest of a dump, which is SQL as text. Retains the last bytes, to check the trailer in ``finish``."""

    def __init__(self, algorithm: Hash) -> None:
        self._digest = algorithm
        self._head: bytes | None = b""
        self._is_dump = False
        self._tail = b""

    def update(self, chunk: memoryview) -> None:
        if self._head is None:
            self._pass(chunk)
            return
        self._head += bytes(chunk)
        if len(self._head) >= _HEAD_BYTES:
            self._begin(self._head)

    def finish(self) -> Digest:
        if self._head is not None:
            self._begin(self._head)
        if not self._is_dump or _TRAILER.search(self._tail) is None:
            raise ContentInvalid(
                "The dump ended without an error, but its first or its last lines are missing.",
                "Run the dump by hand and see; this one was thrown away.",
            )
        self._digest.update(_TRAILER.sub(b"\n" + TRAILER, self._tail))
        return finished(self._digest)

    def _begin(self, head: bytes) -> None:
        self._head = None
        self._is_dump = is_dump(head)
        match = _TITLE.match(head)
        self._pass(memoryview(head if match is None else match[1] + head[match.end() :]))

    def _pass(self, chunk: memoryview) -> None:
        if len(chunk) < _TAIL_BYTES:
            chunk = memoryview(self._tail + bytes(chunk))
        else:
            self._digest.update(self._tail)
        end = max(0, len(chunk) - _TAIL_BYTES)
        self._digest.update(chunk[:end])
        self._tail = bytes(chunk[end:])


class ObjectCounter:
    """Counts the views, triggers, routines and events in a dump as it passes. No line of data can begin as their lines do."""

    def __init__(self) -> None:
        self._counts = [0, 0, 0, 0]
        self._end = b""

    def update(self, chunk: memoryview) -> None:
        if self._end:
            known = len(self._end)
            for match in _OBJECTS.finditer(self._end + bytes(chunk[:_LONGEST_MARK])):
                if match.start() < known < match.end():
                    self._add(match)
        for match in _OBJECTS.finditer(chunk):
            self._add(match)
        self._end = bytes(chunk[-_LONGEST_MARK:]) if len(chunk) >= _LONGEST_MARK else (self._end + bytes(chunk))[-_LONGEST_MARK:]

    def counts(self) -> Counts:
        return Counts(*self._counts)

    def _add(self, match: re.Match[bytes]) -> None:
        self._counts[(match.lastindex or 1) - 1] += 1
