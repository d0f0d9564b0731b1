"""The requests to an SFTP server: each operation as a conversation, and a file's content as a stream."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import struct
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    Interrupted,
    ServerInvalid,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import (
    ATTRS,
    CLOSE,
    CREATE,
    DATA,
    DIRECTORY_MODE,
    END_OF_FILE,
    EXTENDED,
    FAILURE,
    FILE_MODE,
    FOR_READING,
    FSTAT,
    HANDLE,
    LSTAT,
    MISSING,
    MKDIR,
    NAME,
    OPEN,
    OPENDIR,
    READDIR,
    REMOVE,
    RENAME,
    SAFE_REQUEST_BYTES,
    STAT,
    STATUS,
    Attributes,
    Reply,
    Request,
    StatusError,
    checked,
    data_of,
    handle_of,
    invalid,
    path_bytes,
    read_request,
    text,
    write_request,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.session import Conversation, Session, ask

FSYNC = b"fsync@openssh.com"

_LARGEST_LISTING = 1_000_000  # names; no directory has that many, and a hostile server could send names for ever
_LONGEST_NAME = 255  # limits the memory for a listing
_UNDER_WAY = 32  # reads or writes of one file at a time
_FLUSH_BYTES = 256 * 1024 * 1024  # otherwise a slow disk could keep the server silent at the end for longer than the timeout
_TINY_READ = 512  # bytes; a file in smaller pieces would take for ever
_SHORT_READS = 64  # of one file; with more, reading it fails


def look(path: str, *, follow: bool = False) -> Conversation[Attributes | None]:
    """Return the attributes of a path, None if it does not exist."""
    try:
        reply = yield from ask(Request(STAT if follow else LSTAT, path_bytes(path)), ATTRS)
    except StatusError as error:
        if error.code in MISSING:
            return None
        raise
    return reply.attributes()


def facts_of_file(path: str) -> Conversation[FileFacts | None]:
    """Return the facts of a regular file, None if no such file exists."""
    found = yield from look(path)
    if found is None or not found.is_file:
        return None
    size = found.size
    if size is None:  # some servers report it only for open files
        handle = yield from open_file(path, FOR_READING)
        size = (yield from ask(Request(FSTAT, handle), ATTRS)).attributes().size
        yield from close_handle(handle)
    if size is None:
        raise ServerInvalid(f"The server does not tell the size of {path}.", "Use a server that tells the sizes of files.")
    return FileFacts(size, found.modified)


def is_directory(path: str) -> Conversation[bool | None]:
    """Return whether a path is a directory, None if it does not exist. Opens it if the server reports no type."""
    found = yield from look(path, follow=True)
    if found is None or found.has_type:
        return None if found is None else found.is_directory
    try:
        reply = yield from ask(Request(OPENDIR, path_bytes(path)), HANDLE)
    except StatusError:
        return False
    yield from close_handle(handle_of(reply))
    return True


def open_file(path: str, flags: int) -> Conversation[bytes]:
    """Open a file, and return its handle. A new file is accessible only to its owner."""
    attributes = struct.pack(">II", 0x4, FILE_MODE) if flags & CREATE else struct.pack(">I", 0)
    reply = yield from ask(Request(OPEN, path_bytes(path) + struct.pack(">I", flags) + attributes), HANDLE)
    return handle_of(reply)


def close_handle(handle: bytes) -> Conversation[None]:
    yield from ask(Request(CLOSE, handle), STATUS)


def plain(request: Request) -> Conversation[Reply]:
    """Send a request whose answer is only a status."""
    return (yield from ask(request, STATUS))


def read_start(path: str, limit: int) -> Conversation[bytes | StatusError | None]:
    """Return the first ``limit`` bytes of a small file, None if it does not exist, or the error of reading it."""
    try:
        handle = yield from open_file(path, FOR_READING)
    except StatusError as error:
        return None if error.code in MISSING else error
    found: bytes | StatusError = b""
    for _number in range(_SHORT_READS):
        if isinstance(found, StatusError) or len(found) >= limit:
            break
        count = min(limit - len(found), SAFE_REQUEST_BYTES)
        try:
            reply = yield from ask(read_request(handle, len(found), count), DATA)
        except StatusError as error:
            found = found if error.code == END_OF_FILE else error
            break
        found += data_of(reply, count)
    else:
        found = StatusError(FAILURE, "the server sends it in too many pieces")
    try:
        yield from close_handle(handle)
    except StatusError as error:
        return error
    return found


def list_directory(path: str, seconds: float) -> Conversation[list[str]]:
    """Return the names of the regular files in a directory. One request at a time: not every server takes more.

    Raises ServerInvalid after ``seconds``: a server could go on for ever, name by name.
    """
    reply = yield from ask(Request(OPENDIR, path_bytes(path)), HANDLE)
    handle, seen, ends = handle_of(reply), 0, time.monotonic() + seconds
    found: dict[str, None] = {}  # the listing of a changing directory may repeat a name
    try:
        while True:
            reply = yield from ask(Request(READDIR, handle), NAME)
            count = reply.number()
            seen += count
            if not count or seen > _LARGEST_LISTING or time.monotonic() > ends:
                raise invalid("a listing without an end")
            for _number in range(count):
                name = reply.text()
                reply.text()  # its line of `ls -l`
                if reply.attributes().is_file and _is_name(name):
                    found[name.decode("utf-8", "surrogateescape")] = None
    except StatusError as error:
        if error.code != END_OF_FILE:
            raise
    yield from close_handle(handle)
    return list(found)


def _is_name(name: bytes) -> bool:
    """Return whether a file can have that name: it is not a path, and not longer than file systems allow."""
    return 0 < len(name) <= _LONGEST_NAME and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def remove_file(path: str) -> Conversation[bool]:
    """Delete a file, and return whether it existed. Also raises StatusError if it still exists afterwards."""
    try:
        yield from ask(Request(REMOVE, path_bytes(path)), STATUS)
    except StatusError as error:
        if error.code in MISSING:
            return False
        raise
    if (yield from look(path)) is not None:
        raise StatusError(FAILURE, "the server says that it is deleted, and still has it")
    return True


def make_directory(path: str) -> Conversation[None]:
    """Create a directory. It may exist if another host has just created it."""
    try:
        yield from ask(Request(MKDIR, path_bytes(path) + struct.pack(">II", 0x4, DIRECTORY_MODE)), STATUS)
    except StatusError:
        if not (yield from is_directory(path)):
            raise


def rename_file(path: str, new_path: str) -> Conversation[None]:
    """Rename a file. The server refuses if the new name is taken."""
    yield from ask(Request(RENAME, path_bytes(path) + path_bytes(new_path)), STATUS)


def extended(name: bytes, arguments: bytes, kind: int = STATUS) -> Conversation[Reply]:
    """Send a request of an extension, which only some servers support."""
    return (yield from ask(Request(EXTENDED, text(name) + arguments), kind))


def flush_request(handle: bytes) -> Request:
    """Return the request to flush an open file to disk. Only for servers with the extension FSYNC."""
    return Request(EXTENDED, text(FSYNC) + handle)


def read_all(session: Session, path: str, handle: bytes, size: int, offset: int = 0) -> t.Generator[bytes, None, None]:
    """Read an open file from the byte at ``offset`` to its last, with many requests under way.

    ``size`` is the size that the server reported: reads no more than that, since a hostile server could send for ever.
    """
    asked: collections.deque[tuple[int, int, int]] = collections.deque()  # number, offset, count
    early: dict[int, Reply | StatusError] = {}
    ended, tiny = False, 0
    try:
        while True:
            if session.patience.is_stopped:
                raise Interrupted(f"The run was ended while {path} was read.", "Run it again.")
            while not ended and offset < size and len(asked) < _UNDER_WAY:
                count = min(session.read_bytes, size - offset)
                asked.append((session.send(read_request(handle, offset, count)), offset, count))
                offset += count
            if not asked:
                return
            number, start, count = asked.popleft()
            reply = _reply_to(session, number, early)
            while not ended:
                if isinstance(reply, StatusError):
                    if reply.code != END_OF_FILE:
                        raise StoreFailed(f"Reading {path}: {reply.words}.", "Examine the file on the server.")
                    ended = True
                    break
                data = data_of(reply, count)
                yield data
                start, count = start + len(data), count - len(data)
                if not count:
                    break
                tiny += len(data) < _TINY_READ
                if tiny > _SHORT_READS:
                    raise invalid("a file in countless pieces")
                reply = _reply_to(session, session.send(read_request(handle, start, count)), early)
    finally:
        for number, _start, _count in asked:
            _reply_to(session, number, early)


def write_all(session: Session, handle: bytes, offset: int, chunks: t.Iterable[memoryview]) -> int:
    """Write to an open file from ``offset`` on, with many requests under way. Return the number of bytes.

    If the server can, it flushes them to its disk now and then. Raises StatusError as soon as it refuses a piece.
    """
    asked: collections.deque[int] = collections.deque()
    early: dict[int, Reply | StatusError] = {}
    size, written, flushed = session.write_bytes, 0, 0

    def settle(most: int) -> None:
        while len(asked) > most:
            reply = _reply_to(session, asked.popleft(), early)
            if isinstance(reply, StatusError):
                raise reply

    try:
        for chunk in chunks:
            for start in range(0, len(chunk), size):
                piece = chunk[start : start + size]
                asked.append(session.send(write_request(handle, offset + written, piece)))
                written += len(piece)
                if FSYNC in session.extensions and written - flushed >= _FLUSH_BYTES:
                    asked.append(session.send(flush_request(handle)))
                    flushed = written
                settle(_UNDER_WAY)
        settle(0)
    except (ConnectionFailed, Interrupted):  # the stream may be in the middle of an answer
        raise
    except (StatusError, BackupError):
        while asked:  # the session is used after that
            _reply_to(session, asked.popleft(), early)
        raise
    return written


def _reply_to(session: Session, number: int, early: dict[int, Reply | StatusError]) -> Reply | StatusError:
    while number not in early:
        reply = session.read()
        found = reply.number()
        if len(early) > 2 * _UNDER_WAY:
            raise invalid("answers to questions that were not asked")
        try:
            early[found] = checked(reply)
        except StatusError as error:
            early[found] = error
    return early.pop(number)
