# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""SFTP, version 3, over one channel of an SSH connection: many requests under way at once, and no answer trusted.

A conversation is a generator: it yields a request, and is sent the reply. Those of many files go on side by side, so that
a network's delay is paid once and not once for each file.
"""

from __future__ import annotations

import collections
import socket
import stat
import struct
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionLost,
    ConnectionTimeout,
    ServerInvalid,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts

Result = t.TypeVar("Result")

# Kinds of packets, in the protocol's own terms.
INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT = 1, 2, 3, 4, 5, 6, 7
OPENDIR, READDIR, REMOVE, MKDIR, STAT, RENAME = 11, 12, 13, 14, 17, 18
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
EXTENDED, EXTENDED_REPLY = 200, 201

OK, END_OF_FILE, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4

FOR_READING, FOR_WRITING, CREATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x20

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
SAFE_REQUEST_BYTES = 32 * 1024  # what every server takes

_LARGEST_REPLY = 1024 * 1024
_LARGEST_LISTING = 1_000_000  # names; nobody keeps that many, and a server could go on for ever
_CONVERSATIONS = 64  # at a time, as OpenSSH's own client has it
_WRITES_UNDER_WAY = 32
_SHORT_READS = 64  # of one small file; more, and it is not worth waiting for


class Request(t.NamedTuple):
    """A packet to send, less its number."""

    kind: int
    body: bytes


class StatusError(Exception):
    """The server's own word that something can't be done."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words or f"status {code}"


class Reply:
    """A packet that came, read from its beginning to its end. Raises ServerInvalid where it is too short."""

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
            raise _invalid("a packet that ends too early")
        found = self._body[self._place : end]
        self._place = end
        return found

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.long() if flags & 0x1 else 0
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
            raise _invalid("a packet that ends too early") from None
        self._place += length
        return value


class Attributes(t.NamedTuple):
    """What the server says of a file; a type that it does not say is that of a regular file."""

    size: int
    mode: int
    modified: int

    @property
    def is_file(self) -> bool:
        return stat.S_IFMT(self.mode) in (0, stat.S_IFREG)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def facts(self) -> FileFacts:
        return FileFacts(self.size, self.modified)


Conversation = t.Generator[Request, Reply, Result]


class Channel(t.Protocol):
    """What we use of paramiko's channel."""

    def sendall(self, data: bytes) -> object: ...

    def recv(self, count: int) -> bytes: ...

    def close(self) -> object: ...


class Session:
    """An SFTP session. For one thread at a time."""

    def __init__(self, channel: Channel, seconds: float, server: str) -> None:
        """Begin to speak SFTP. For messages: ``seconds`` is how long the channel waits, ``server`` its name."""
        self._channel = channel
        self._seconds = seconds
        self._server = server
        self._last = 0
        self._write(INIT, struct.pack(">I", 3))
        reply = self._read()
        if reply.kind != VERSION:
            raise _invalid("no version of SFTP")
        reply.number()
        self.extensions: dict[bytes, bytes] = {}
        while not reply.at_end:
            name = reply.text()
            self.extensions[name] = reply.text()
        self.read_bytes, self.write_bytes = SAFE_REQUEST_BYTES, SAFE_REQUEST_BYTES
        if b"limits@openssh.com" in self.extensions:
            self._ask_limits()

    def close(self) -> None:
        self._channel.close()

    def converse(self, conversation: Conversation[Result]) -> Result:
        """Go on with one conversation to its end. Raises StatusError where it lets that pass."""
        return self.converse_all([conversation])[0]

    def converse_all(self, conversations: t.Iterable[Conversation[Result]]) -> list[Result]:
        """Go on with many conversations side by side, and return what came of each, in their order."""
        results: list[Result | None] = []
        waiting: dict[int, tuple[int, Conversation[Result]]] = {}
        rest = iter(conversations)
        error: StatusError | None = None
        while True:
            while error is None and len(waiting) < _CONVERSATIONS and (new := next(rest, None)) is not None:
                results.append(None)
                error = self._advance(new, lambda new=new: next(new), len(results) - 1, results, waiting) or error  # type: ignore[misc]
            if not waiting:
                break
            reply = self._read()
            number = reply.number()
            if number not in waiting:
                raise _invalid("an answer to a question that was not asked")
            place, going = waiting.pop(number)
            if error is None:
                error = self._advance(going, _step(going, reply), place, results, waiting)
        if error is not None:
            raise error
        return t.cast("list[Result]", results)

    def _advance(
        self,
        conversation: Conversation[Result],
        step: t.Callable[[], Request],
        place: int,
        results: list[Result | None],
        waiting: dict[int, tuple[int, Conversation[Result]]],
    ) -> StatusError | None:
        try:
            request = step()
        except StopIteration as end:
            results[place] = end.value
        except StatusError as error:
            return error
        else:
            waiting[self.send(request)] = (place, conversation)
        return None

    def send(self, request: Request) -> int:
        """Send a request, and return its number."""
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._write(request.kind, struct.pack(">I", self._last) + request.body)
        return self._last

    def receive(self) -> tuple[int, Reply]:
        """Return the next reply and the number of its request. Raises StatusError where it says that it can't be done."""
        reply = self._read()
        return reply.number(), _step_value(reply)

    def _ask_limits(self) -> None:
        reply = self.converse(_ask(Request(EXTENDED, text(b"limits@openssh.com")), EXTENDED_REPLY))
        reply.long()  # the largest packet
        largest_read, largest_write = reply.long(), reply.long()
        # With room in a packet for what goes before the data.
        self.read_bytes = min(largest_read, 255 * 1024) or SAFE_REQUEST_BYTES
        self.write_bytes = min(largest_write, 255 * 1024) or SAFE_REQUEST_BYTES

    def _write(self, kind: int, body: bytes) -> None:
        with self._errors():
            self._channel.sendall(struct.pack(">IB", len(body) + 1, kind) + body)

    def _read(self) -> Reply:
        length, kind = struct.unpack(">IB", self._read_exactly(5))
        if not 1 <= length <= _LARGEST_REPLY:
            raise _invalid(f"a packet of {length} bytes")
        return Reply(kind, self._read_exactly(length - 1))

    def _read_exactly(self, count: int) -> bytes:
        pieces = []
        with self._errors():
            while count:
                piece = self._channel.recv(count)
                if not piece:
                    raise EOFError("the server closed the session")
                pieces.append(piece)
                count -= len(piece)
        return b"".join(pieces)

    def _errors(self) -> _ChannelErrors:
        return _ChannelErrors(self._seconds, self._server)


class _ChannelErrors:
    """Raises what the channel says as an error of ours. A class, since it is entered for every packet."""

    def __init__(self, seconds: float, server: str) -> None:
        self._seconds = seconds
        self._server = server

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, socket.timeout):
            raise ConnectionTimeout(
                f"{self._server} said nothing for {self._seconds:g} seconds.", "See what holds it up, or raise timeout."
            ) from error
        if isinstance(error, (OSError, EOFError)):
            raise ConnectionLost(
                f"The connection to {self._server} was cut: {str(error) or 'it was closed'}.",
                "Run it again; what is stored is as it was.",
            ) from error


def _step(conversation: Conversation[Result], reply: Reply) -> t.Callable[[], Request]:
    def step() -> Request:
        try:
            answer = _step_value(reply)
        except StatusError as error:
            return conversation.throw(error)
        return conversation.send(answer)

    return step


def _step_value(reply: Reply) -> Reply:
    if reply.kind == STATUS:
        code = reply.number()
        if code != OK:
            words = "" if reply.at_end else reply.text().decode("utf-8", "replace")
            raise StatusError(code, words)
    return reply


def _invalid(what: str) -> ServerInvalid:
    return ServerInvalid(f"The server sent {what}, which SFTP does not have.", "See that it is a server for SFTP.")


def text(data: bytes) -> bytes:
    """Return a text as packets have it."""
    return struct.pack(">I", len(data)) + data


def path_bytes(path: str) -> bytes:
    return text(path.encode("utf-8", "surrogateescape"))


def _ask(request: Request, kind: int) -> Conversation[Reply]:
    reply = yield request
    if reply.kind != kind:
        raise _invalid("another answer than was asked for")
    return reply


def look(path: str, *, follow: bool = False) -> Conversation[Attributes | None]:
    """Return what is known of a path, None when there is nothing."""
    try:
        reply = yield from _ask(Request(STAT if follow else LSTAT, path_bytes(path)), ATTRS)
    except StatusError as error:
        if error.code == NO_SUCH_FILE:
            return None
        raise
    return reply.attributes()


def open_file(path: str, flags: int) -> Conversation[bytes]:
    """Open a file, and return its handle. One that is created is for its owner alone."""
    attributes = struct.pack(">II", 0x4, FILE_MODE) if flags & CREATE else struct.pack(">I", 0)
    reply = yield from _ask(Request(OPEN, path_bytes(path) + struct.pack(">I", flags) + attributes), HANDLE)
    return text(reply.text())


def close_handle(handle: bytes) -> Conversation[None]:
    yield from _ask(Request(CLOSE, handle), STATUS)


def plain(request: Request) -> Conversation[Reply]:
    """Ask for what is answered by a status alone."""
    return (yield from _ask(request, STATUS))


def read_request(handle: bytes, offset: int, count: int) -> Request:
    return Request(READ, handle + struct.pack(">QI", offset, count))


def write_request(handle: bytes, offset: int, data: bytes) -> Request:
    return Request(WRITE, handle + struct.pack(">Q", offset) + text(data))


def read_start(path: str, limit: int) -> Conversation[bytes | None]:
    """Return the first ``limit`` bytes of a small file, None when it can't be read."""
    try:
        handle = yield from open_file(path, FOR_READING)
    except StatusError:
        return None
    found: bytes | None = b""
    for _number in range(_SHORT_READS):
        if found is None or len(found) >= limit:
            break
        count = min(limit - len(found), SAFE_REQUEST_BYTES)
        try:
            reply = yield from _ask(read_request(handle, len(found), count), DATA)
        except StatusError as error:
            found = found if error.code == END_OF_FILE else None
            break
        found += data_of(reply, count)
    else:
        found = None
    try:
        yield from close_handle(handle)
    except StatusError:
        return None
    return found


def data_of(reply: Reply, count: int) -> bytes:
    """Return the data that was asked for: at least one byte, since the end of a file is a status, and no more than that."""
    if reply.kind != DATA:
        raise _invalid("another answer than was asked for")
    data = reply.text()
    if not 1 <= len(data) <= count:
        raise _invalid(f"{len(data)} bytes where {count} were asked for")
    return data


def list_directory(path: str) -> Conversation[list[str]]:
    """Return the names of the regular files in a directory. One request at a time: not every server bears more."""
    reply = yield from _ask(Request(OPENDIR, path_bytes(path)), HANDLE)
    handle, found, seen = text(reply.text()), [], 0
    try:
        while True:
            reply = yield from _ask(Request(READDIR, handle), NAME)
            count = reply.number()
            seen += count
            if not count or seen > _LARGEST_LISTING:
                raise _invalid("a listing without an end")
            for _number in range(count):
                name = reply.text()
                reply.text()  # as `ls -l` has it
                if reply.attributes().is_file and b"/" not in name and b"\0" not in name and name not in (b"", b".", b".."):
                    found.append(name.decode("utf-8", "surrogateescape"))
    except StatusError as error:
        if error.code != END_OF_FILE:
            raise
    yield from close_handle(handle)
    return found


def remove_file(path: str) -> Conversation[bool]:
    """Delete a file, and return whether it was there."""
    try:
        yield from _ask(Request(REMOVE, path_bytes(path)), STATUS)
    except StatusError as error:
        if error.code == NO_SUCH_FILE:
            return False
        raise
    return True


def make_directory(path: str) -> Conversation[None]:
    yield from _ask(Request(MKDIR, path_bytes(path) + struct.pack(">II", 0x4, DIRECTORY_MODE)), STATUS)


def rename_file(path: str, new_path: str) -> Conversation[None]:
    """Give a file another name; refused by the server where the name is taken."""
    yield from _ask(Request(RENAME, path_bytes(path) + path_bytes(new_path)), STATUS)


def extended(name: bytes, arguments: bytes, kind: int = STATUS) -> Conversation[Reply]:
    """Ask for what only some servers have."""
    return (yield from _ask(Request(EXTENDED, text(name) + arguments), kind))


def read_all(session: Session, path: str, handle: bytes) -> t.Iterator[bytes]:
    """Read an open file from its first byte to its last, with many requests under way."""
    asked: collections.deque[tuple[int, int, int]] = collections.deque()  # number, offset, count
    early: dict[int, Reply | StatusError] = {}
    offset, ended = 0, False
    try:
        while True:
            while not ended and len(asked) < 16:
                asked.append((session.send(read_request(handle, offset, session.read_bytes)), offset, session.read_bytes))
                offset += session.read_bytes
            if not asked:
                return
            number, start, count = asked.popleft()
            reply = _reply_to(session, number, early)
            while not ended:
                if isinstance(reply, StatusError):
                    if reply.code != END_OF_FILE:
                        raise StoreFailed(f"Reading {path}: {reply.words}.", "Look at the file on the server.")
                    ended = True
                    break
                data = data_of(reply, count)
                yield data
                start, count = start + len(data), count - len(data)
                if not count:
                    break
                reply = _reply_to(session, session.send(read_request(handle, start, count)), early)
    finally:
        for number, _start, _count in asked:
            _reply_to(session, number, early)


def write_all(session: Session, handle: bytes, offset: int, chunks: t.Iterable[memoryview]) -> int:
    """Write to an open file from ``offset`` on, with many requests under way. Return how many bytes that were.

    Raises StatusError as soon as the server refuses a piece.
    """
    asked: collections.deque[int] = collections.deque()
    early: dict[int, Reply | StatusError] = {}
    size, written = session.write_bytes, 0

    def settle(most: int) -> None:
        while len(asked) > most:
            reply = _reply_to(session, asked.popleft(), early)
            if isinstance(reply, StatusError):
                raise reply

    try:
        for chunk in chunks:
            for start in range(0, len(chunk), size):
                piece = bytes(chunk[start : start + size])
                asked.append(session.send(write_request(handle, offset + written, piece)))
                written += len(piece)
                settle(_WRITES_UNDER_WAY)
        settle(0)
    except StatusError:
        while asked:  # the session goes on after that
            _reply_to(session, asked.popleft(), early)
        raise
    return written


def _reply_to(session: Session, number: int, early: dict[int, Reply | StatusError]) -> Reply | StatusError:
    while number not in early:
        reply = session._read()
        found = reply.number()
        try:
            early[found] = _step_value(reply)
        except StatusError as error:
            early[found] = error
    return early.pop(number)
