# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of questions to servers that lie."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import PayloadCorrupt, ServerInvalid, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp import conversations
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.conversations import (
    FSYNC,
    list_directory,
    look,
    read_all,
    read_start,
    remove_file,
    write_all,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.packets import (
    CLOSE,
    DATA,
    END_OF_FILE,
    FAILURE,
    HANDLE,
    NAME,
    NO_SUCH_FILE,
    OK,
    OPEN,
    OPENDIR,
    READ,
    STATUS,
    WRITE,
    Reply,
    StatusError,
    text,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.session import Session

Answer = Callable[[int, bytes], "tuple[int, bytes]"]
Talk = Callable[[Answer], Session]


def status(code: int, words: bytes = b"") -> tuple[int, bytes]:
    return STATUS, struct.pack(">I", code) + text(words)


def listing(*names: bytes) -> Answer:
    """A server whose directory has these names, one a packet."""
    rest = list(names)

    def answer(kind: int, _body: bytes) -> tuple[int, bytes]:
        if kind == OPENDIR:
            return HANDLE, text(b"h")
        if kind == CLOSE:
            return status(OK)
        return (NAME, struct.pack(">I", 1) + text(rest.pop(0)) + text(b"") + bytes(4)) if rest else status(END_OF_FILE)

    return answer


def file_of(content: bytes, *, most: int = 2**32) -> Answer:
    """A server with one file, of which it gives ``most`` bytes at a time."""

    def answer(kind: int, body: bytes) -> tuple[int, bytes]:
        if kind == OPEN:
            return HANDLE, text(b"h")
        if kind == READ:
            offset, count = struct.unpack(">QI", body[5:])
            piece = content[offset : offset + min(count, most)]
            return (DATA, text(piece)) if piece else status(END_OF_FILE)
        return status(OK)

    return answer


def endless(kind: int, body: bytes) -> tuple[int, bytes]:
    """A server whose file has no end."""
    if kind == READ:
        return DATA, text(bytes(struct.unpack(">QI", body[5:])[1]))
    return (HANDLE, text(b"h")) if kind == OPEN else status(OK)


HANDLE_BYTES = text(b"h")


@pytest.mark.parametrize(
    "name", [b"../x", b"/etc/passwd", b"a/b", b".", b"..", b"", b"a\0b", b"n" * 256], ids=lambda name: repr(name)[:12]
)
def test_a_name_that_no_file_here_can_have_is_passed_over(talk: Talk, name: bytes) -> None:
    assert talk(listing(b"before", name, b"after")).converse(list_directory("/")) == ["before", "after"]


def test_a_name_with_a_line_break_or_of_no_text_is_listed_as_it_is(talk: Talk) -> None:
    assert talk(listing(b"a\nb", b"\xff", b"n" * 255)).converse(list_directory("/")) == ["a\nb", "\udcff", "n" * 255]


@pytest.mark.parametrize("count", [0, 1_000_001, 2**32 - 1])
def test_a_listing_without_an_end_is_refused(talk: Talk, count: int) -> None:
    def answer(kind: int, _body: bytes) -> tuple[int, bytes]:
        return (HANDLE, text(b"h")) if kind == OPENDIR else (NAME, struct.pack(">I", count))

    with pytest.raises(ServerInvalid, match="without an end"):
        talk(answer).converse(list_directory("/"))


@pytest.mark.parametrize("most", [1000, 2**32], ids=["short reads", "whole reads"])
@pytest.mark.parametrize("size", [0, 1, 32768, 32769, 1_000_001])
def test_a_file_is_read_whole_however_the_server_cuts_it(talk: Talk, size: int, most: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    session = talk(file_of(content[:size], most=most))
    assert b"".join(read_all(session, "x", HANDLE_BYTES, size)) == content[:size]


def test_a_file_that_is_shorter_than_told_ends_where_it_ends(talk: Talk) -> None:
    assert b"".join(read_all(talk(file_of(b"short")), "x", HANDLE_BYTES, 1_000_000)) == b"short"


def test_of_a_file_that_never_ends_no_more_is_read_than_told(talk: Talk) -> None:
    assert sum(map(len, read_all(talk(endless), "x", HANDLE_BYTES, 100_000))) == 100_000
    assert talk(endless).converse(read_start("x", 70_000)) == bytes(70_000)


def test_a_small_file_in_countless_pieces_is_not_waited_for(talk: Talk) -> None:
    assert talk(file_of(bytes(1000), most=1)).converse(read_start("x", 1000)) is None


def test_reading_that_is_refused_in_the_middle_is_an_error(talk: Talk) -> None:
    with pytest.raises(StoreFailed, match="rotten"):
        b"".join(read_all(talk(lambda _kind, _body: status(FAILURE, b"rotten")), "x", HANDLE_BYTES, 10))


def test_writing_ends_at_the_first_refusal_and_the_session_goes_on(talk: Talk) -> None:
    written = 0

    def answer(kind: int, body: bytes) -> tuple[int, bytes]:
        nonlocal written
        if kind != WRITE:
            return status(NO_SUCH_FILE)
        written += 1
        return status(FAILURE, b"full") if written > 5 else status(OK)

    session = talk(answer)
    with pytest.raises(StatusError, match="full"):
        write_all(session, HANDLE_BYTES, 0, [memoryview(bytes(10_000_000))])
    assert written < 60
    assert session.converse(look("x")) is None


def test_writing_that_ends_for_want_of_data_leaves_the_session_usable(talk: Talk) -> None:
    def data() -> Iterator[memoryview]:
        yield memoryview(bytes(1_000_000))
        raise PayloadCorrupt("It has rotted.", "Make another.")

    session = talk(lambda kind, _body: status(OK if kind == WRITE else NO_SUCH_FILE))
    with pytest.raises(PayloadCorrupt):
        write_all(session, HANDLE_BYTES, 0, data())
    assert session.converse(look("x")) is None


def test_answers_that_nobody_asked_for_are_not_kept(talk: Talk) -> None:
    session = talk(lambda _kind, _body: status(OK))
    answers = itertools.count(1_000)
    session.read = lambda: Reply(STATUS, struct.pack(">II", next(answers), OK) + bytes(8))  # type: ignore[method-assign]
    with pytest.raises(ServerInvalid, match="not asked"):
        write_all(session, HANDLE_BYTES, 0, [memoryview(bytes(100))])


@pytest.mark.parametrize("limit", [1, 32 * 1024, 255 * 1024])
def test_writing_sends_all_the_data_in_requests_as_large_as_the_server_takes(talk: Talk, limit: int) -> None:
    data = bytes(range(256)) * (limit // 100 + 1)
    written: dict[int, bytes] = {}

    def answer(kind: int, body: bytes) -> tuple[int, bytes]:
        [offset, length] = struct.unpack_from(">QI", body, len(HANDLE_BYTES))
        written[offset] = body[len(HANDLE_BYTES) + 12 :]
        assert kind == WRITE and len(written[offset]) == length <= limit
        return status(OK)

    session = talk(answer)
    session.write_bytes = limit
    assert write_all(session, HANDLE_BYTES, 7, [memoryview(data[:100]), memoryview(data[100:])]) == len(data)
    assert b"".join(written[offset] for offset in sorted(written)) == data
    assert min(written) == 7


@pytest.mark.parametrize(("extensions", "flushes"), [({FSYNC: b"1"}, [600, 1200]), ({}, [])])
def test_writing_brings_to_the_disk_now_and_then_what_a_slow_one_could_not_all_at_the_end(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, extensions: dict[bytes, bytes], flushes: list[int]
) -> None:
    monkeypatch.setattr(conversations, "_FLUSH_BYTES", 500)
    written, flushed = 0, []

    def answer(kind: int, body: bytes) -> tuple[int, bytes]:
        nonlocal written
        if kind == WRITE:
            written += len(body) - len(HANDLE_BYTES) - 12
        elif body == struct.pack(">I", len(FSYNC)) + FSYNC + HANDLE_BYTES:
            flushed.append(written)
        return status(OK)

    session = talk(answer)
    session.extensions, session.write_bytes = extensions, 300
    assert write_all(session, HANDLE_BYTES, 0, [memoryview(bytes(300))] * 5) == 1500
    assert flushed == flushes


def test_what_is_gone_already_is_no_error_to_delete(talk: Talk) -> None:
    assert talk(lambda _kind, _body: status(NO_SUCH_FILE)).converse(remove_file("x")) is False
    assert talk(lambda _kind, _body: status(OK)).converse(remove_file("x")) is True
