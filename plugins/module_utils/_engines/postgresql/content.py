"""Examines the output of pg_dump and pg_dumpall: checks that it is whole, and computes the digest of its content.

The digest leaves out what changes from dump to dump while the data does not: the time in an archive's header, and the
random key of psql's restricted mode in a plain dump.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re

from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest, Hash, finished
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import EndsHeldBack
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

_LOOK_AT = "Run the dump by hand and see; this one was thrown away."

ARCHIVE_MAGIC = b"PGDMP"
SCRIPT_BEGINNING = re.compile(rb"--\n-- PostgreSQL database (?:cluster )?dump\n--\n")
# Where an archive's creation time stands, by the archive's version: 7 integers of 5 bytes each. From 1.15 on the byte of
# the compression's algorithm took the place of an integer. PostgreSQL's src/bin/pg_dump/pg_backup_archiver.c, ReadHead.
_CREATION_TIMES = {(1, 14): slice(16, 51), (1, 15): slice(12, 47), (1, 16): slice(12, 47)}
_HEADER_BYTES = 51

_HEAD_BYTES = 4096  # the restricted mode's key stands within the first lines
_TAIL_BYTES = 512  # the trailer, the key again, and no data worth speaking of
# Only right below the title: further down, or in a dump of before August 2025, such a line is data.
_RESTRICT = re.compile(rb"--\n-- PostgreSQL database (?:cluster )?dump\n--\n\n(\\restrict (\S+)\n)")
_TRAILER = re.compile(rb"^-- PostgreSQL database (?:cluster )?dump complete$", re.MULTILINE)


class CustomDigest:
    """For archives in pg_dump's custom format."""

    def __init__(self, algorithm: Hash) -> None:
        self._digest = algorithm
        self._header = b""

    def update(self, chunk: memoryview) -> None:
        if len(self._header) < _HEADER_BYTES:
            taken = _HEADER_BYTES - len(self._header)
            self._header += bytes(chunk[:taken])
            if len(self._header) < _HEADER_BYTES:
                return
            self._digest.update(_without_creation_time(self._header))
            chunk = chunk[taken:]
        self._digest.update(chunk)

    def finish(self) -> Digest:
        if len(self._header) < _HEADER_BYTES or not self._header.startswith(ARCHIVE_MAGIC):
            raise ContentInvalid("pg_dump ended without an error, but what it wrote is no archive.", _LOOK_AT)
        return finished(self._digest)


class PlainDigest:
    """For plain dumps: SQL as text."""

    def __init__(self, algorithm: Hash) -> None:
        self._digest = algorithm
        self._text = EndsHeldBack(algorithm, _HEAD_BYTES, _TAIL_BYTES, self._begin)
        self._key: bytes | None = None

    def update(self, chunk: memoryview) -> None:
        self._text.update(chunk)

    def finish(self) -> Digest:
        tail = self._text.finish()
        if _TRAILER.search(tail) is None:
            raise ContentInvalid("The dump ended without an error, but its last lines are missing.", _LOOK_AT)
        if self._key is not None:
            before, line, after = tail.rpartition(b"\n\\unrestrict " + self._key + b"\n")
            tail = before + b"\n" + after if line else tail + self._key
        self._digest.update(tail)
        return finished(self._digest)

    def _begin(self, head: bytes) -> bytes:
        match = _RESTRICT.match(head, 0, _HEAD_BYTES)
        if match is None:
            return head
        self._key = match[2]
        return head[: match.start(1)] + head[match.end(1) :]


def digest_for(form: str, algorithm: Hash) -> CustomDigest | PlainDigest | None:
    """Return a new digest for a dump in a format, None if there is no such format."""
    if form == "custom":
        return CustomDigest(algorithm)
    return PlainDigest(algorithm) if form == "plain" else None


def take_out_restriction(file: int) -> None:
    """Make comments of the two lines by which a plain dump, in a file, switches psql's restricted mode on and off.

    Who restores it switches that mode on with a key that no dump can know.
    https://www.postgresql.org/docs/current/app-psql.html#APP-PSQL-META-COMMAND-RESTRICT
    """
    match = _RESTRICT.match(os.pread(file, _HEAD_BYTES, 0))
    if match is None:
        return
    _make_comment(file, match.start(1))
    start = max(match.end(1), os.fstat(file).st_size - _TAIL_BYTES)
    last = os.pread(file, _TAIL_BYTES, start).rfind(b"\n\\unrestrict " + match[2] + b"\n")
    if last >= 0:
        _make_comment(file, start + last + len(b"\n"))


def _make_comment(file: int, place: int) -> None:
    os.pwrite(file, b"--", place)


def _without_creation_time(header: bytes) -> bytes:
    """Return an archive's header less its creation time; all of it where the version is not known."""
    time = _CREATION_TIMES.get((header[5], header[6]))
    return header if time is None else header[: time.start] + header[time.stop :]
