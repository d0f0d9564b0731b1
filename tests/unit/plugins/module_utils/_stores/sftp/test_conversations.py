"""What becomes of questions to servers that lie."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import PayloadCorrupt, ServerInvalid, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import conversations
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.conversations import (
    FSYNC,
    facts_of_file,
    is_directory,
    list_directory,
    look,
    make_directory,
    read_all,
    read_start,
    remove_file,
    write_all,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import (
    ATTRS,
    CLOSE,
    DATA,
    END_OF_FILE,
    FAILURE,
    FSTAT,
    HANDLE,
    LSTAT,
    MKDIR,
    NAME,
    NO_SUCH_FILE,
    NO_SUCH_PATH,
    OK,
    OPEN,
    OPENDIR,
    READ,
    REMOVE,
    STAT,
    STATUS,
    WRITE,
    Reply,
    StatusError,
    text,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.session import Session

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
    assert talk(listing(b"before", name, b"after")).converse(list_directory("/", 60.0)) == ["before", "after"]


def test_a_name_with_a_line_break_or_of_no_text_is_listed_as_it_is(talk: Talk) -> None:
    assert talk(listing(b"a\nb", b"\xff", b"n" * 255)).converse(list_directory("/", 60.0)) == ["a\nb", "\udcff", "n" * 255]


@pytest.mark.parametrize("count", [0, 1_000_001, 2**32 - 1])
def test_a_listing_without_an_end_is_refused(talk: Talk, count: int) -> None:
    def answer(kind: int, _body: bytes) -> tuple[int, bytes]:
        return (HANDLE, text(b"h")) if kind == OPENDIR else (NAME, struct.pack(">I", count))

    with pytest.raises(ServerInvalid, match="without an end"):
        talk(answer).converse(list_directory("/", 60.0))


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
    found = talk(file_of(bytes(1000), most=1)).converse(read_start("x", 1000))
    assert isinstance(found, StatusError) and "too many pieces" in found.words


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


@pytest.mark.parametrize("code", [NO_SUCH_FILE, NO_SUCH_PATH])
def test_what_is_gone_already_is_no_error_to_delete(talk: Talk, code: int) -> None:
    assert talk(lambda _kind, _body: status(code)).converse(remove_file("x")) is False


def answers(by_kind: dict[int, tuple[int, bytes]]) -> Answer:
    """A server that has one answer to each kind of request."""
    return lambda kind, _body: by_kind[kind]


def attributes(mode: int | None, size: int | None = 0) -> tuple[int, bytes]:
    flags = (0 if size is None else 0x1) | (0 if mode is None else 0x4)
    sized = b"" if size is None else struct.pack(">Q", size)
    return ATTRS, struct.pack(">I", flags) + sized + (b"" if mode is None else struct.pack(">I", mode))


def test_a_file_is_deleted_when_the_server_shows_it_no_longer(talk: Talk) -> None:
    deleted = {REMOVE: status(OK), LSTAT: status(NO_SUCH_FILE)}
    assert talk(answers(deleted)).converse(remove_file("x")) is True
    with pytest.raises(StatusError, match="still has it"):
        talk(answers({**deleted, LSTAT: attributes(0o100600)})).converse(remove_file("x"))


def test_a_directory_that_another_host_has_just_made_is_as_good_as_made(talk: Talk) -> None:
    refused = {MKDIR: status(FAILURE, b"Failure")}
    talk(answers({**refused, STAT: attributes(0o40700)})).converse(make_directory("x"))
    for there in (status(NO_SUCH_FILE), attributes(0o100600)):
        with pytest.raises(StatusError, match="Failure"):
            talk(answers({**refused, STAT: there})).converse(make_directory("x"))


@pytest.mark.parametrize(
    ("by_kind", "expected"),
    [
        ({STAT: status(NO_SUCH_PATH)}, None),
        ({STAT: attributes(0o40755)}, True),
        ({STAT: attributes(0o100600)}, False),
        ({STAT: attributes(None), OPENDIR: (HANDLE, text(b"h")), CLOSE: status(OK)}, True),
        ({STAT: attributes(None), OPENDIR: status(FAILURE)}, False),
    ],
    ids=["missing", "directory", "file", "directory of no type", "file of no type"],
)
def test_a_directory_is_known_by_its_type_or_by_opening_it(
    talk: Talk, by_kind: dict[int, tuple[int, bytes]], expected: bool | None
) -> None:
    assert talk(answers(by_kind)).converse(is_directory("x")) is expected


def test_a_size_is_asked_of_the_open_file_where_a_look_does_not_give_it(talk: Talk) -> None:
    unsized = {LSTAT: attributes(0o100600, None), OPEN: (HANDLE, text(b"h")), CLOSE: status(OK)}
    found = talk(answers({**unsized, FSTAT: attributes(0o100600, 7)})).converse(facts_of_file("x"))
    assert found is not None and found.size_bytes == 7
    with pytest.raises(ServerInvalid, match="size of x"):
        talk(answers({**unsized, FSTAT: attributes(None, None)})).converse(facts_of_file("x"))


def test_a_file_of_which_each_byte_has_to_be_asked_for_is_not_read_to_its_end(talk: Talk) -> None:
    with pytest.raises(ServerInvalid, match="countless"):
        b"".join(read_all(talk(file_of(bytes(100_000), most=1)), "x", HANDLE_BYTES, 100_000))


def test_a_listing_that_takes_too_long_is_refused(talk: Talk) -> None:
    with pytest.raises(ServerInvalid, match="without an end"):
        talk(listing(*[b"x"] * 1000)).converse(list_directory("/", 0.0))


def test_a_name_that_comes_twice_is_listed_once(talk: Talk) -> None:
    assert talk(listing(b"x", b"y", b"x")).converse(list_directory("/", 60.0)) == ["x", "y"]
