"""Packets of SFTP, version 3: requests as bytes, and replies from bytes that are not trusted."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
import struct
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ServerInvalid

# Kinds of packets, in the protocol's own terms.
INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT = 1, 2, 3, 4, 5, 6, 7, 8
OPENDIR, READDIR, REMOVE, MKDIR, STAT, RENAME = 11, 12, 13, 14, 17, 18
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
EXTENDED, EXTENDED_REPLY = 200, 201

OK, END_OF_FILE, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4
# From later versions of the protocol; some servers send them in this one.
NO_SUCH_PATH, NO_SPACE_ON_FILESYSTEM, QUOTA_EXCEEDED = 10, 14, 15
MISSING = (NO_SUCH_FILE, NO_SUCH_PATH)
FULL = (NO_SPACE_ON_FILESYSTEM, QUOTA_EXCEEDED)

FOR_READING, FOR_WRITING, CREATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x20

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
SAFE_REQUEST_BYTES = 32 * 1024  # every server takes that
_LARGEST_FILE = 2**60  # a larger size is false, or was a negative number
_LONGEST_HANDLE = 256
_LONGEST_WORDS = 300  # of a server's text in a message

NO_DATA = memoryview(b"")


class Request(t.NamedTuple):
    """A packet to send, without its number. It ends with ``data``, to write to a file."""

    kind: int
    body: bytes
    data: memoryview = NO_DATA


class StatusError(Exception):
    """The server refused a request."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words or f"status {code}"


class Reply:
    """A received packet, parsed from beginning to end. Raises ServerInvalid if it is too short."""

    def __init__(self, kind: int, body: bytes, place: int = 0) -> None:
        self.kind = kind
        self._body = body
        self._place = place

    def number(self) -> int:
        return int(self._take(">I", 4))

    def long(self) -> int:
        return int(self._take(">Q", 8))

    def text(self) -> bytes:
        length = self.number()
        end = self._place + length
        if end > len(self._body):
            raise invalid("a packet that ends too early")
        found = self._body[self._place : end]
        self._place = end
        return found

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.long() if flags & 0x1 else None
        if size is not None and size > _LARGEST_FILE:
            raise invalid(f"a file's size of {size} bytes")
        if flags & 0x2:
            self.long()  # user and group
        mode = self.number() if flags & 0x4 else 0
        times = self.long() if flags & 0x8 else 0
        if flags & 0x80000000:
            for _number in range(2 * self.number()):
                self.text()
        return Attributes(size, mode, times & 0xFFFFFFFF)

    @property
    def at_end(self) -> bool:
        return self._place >= len(self._body)

    def _take(self, form: str, length: int) -> t.Any:
        try:
            [value] = struct.unpack_from(form, self._body, self._place)
        except struct.error:
            raise invalid("a packet that ends too early") from None
        self._place += length
        return value


class Attributes(t.NamedTuple):
    """The attributes of a file. A size of None and a mode of 0 mean that the server did not report them."""

    size: int | None
    mode: int
    modified: int

    @property
    def is_file(self) -> bool:
        return stat.S_IFMT(self.mode) in (0, stat.S_IFREG)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def has_type(self) -> bool:
        return stat.S_IFMT(self.mode) != 0


def checked(reply: Reply) -> Reply:
    """Return the reply. Raises StatusError if it reports a failure."""
    if reply.kind == STATUS:
        code = reply.number()
        if code != OK:
            words = "" if reply.at_end else reply.text().decode("utf-8", "replace").strip()
            raise StatusError(code, words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}...")
    return reply


def invalid(what: str) -> ServerInvalid:
    return ServerInvalid(f"The server sent {what}, which SFTP does not have.", "See that it is a server for SFTP.")


def text(data: bytes) -> bytes:
    """Encode a text for a packet."""
    return struct.pack(">I", len(data)) + data


def path_bytes(path: str) -> bytes:
    return text(path.encode("utf-8", "surrogateescape"))


def handle_of(reply: Reply) -> bytes:
    """Return the handle in a reply, encoded for requests."""
    handle = reply.text()
    if len(handle) > _LONGEST_HANDLE:
        raise invalid(f"a handle of {len(handle)} bytes")
    return text(handle)


def read_request(handle: bytes, offset: int, count: int) -> Request:
    return Request(READ, handle + struct.pack(">QI", offset, count))


def write_request(handle: bytes, offset: int, data: memoryview) -> Request:
    return Request(WRITE, handle + struct.pack(">QI", offset, len(data)), data)


def data_of(reply: Reply, count: int) -> bytes:
    """Return the requested data: at least one byte, since a status reports the end, and no more than requested."""
    if reply.kind != DATA:
        raise invalid("another answer than was asked for")
    data = reply.text()
    if not 1 <= len(data) <= count:
        raise invalid(f"{len(data)} bytes where {count} were asked for")
    return data
