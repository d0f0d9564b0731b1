"""What is read from bytes that are not to be trusted."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._errors import ServerInvalid
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import (
    DATA,
    FAILURE,
    HANDLE,
    OK,
    STATUS,
    Attributes,
    Reply,
    StatusError,
    checked,
    data_of,
    handle_of,
    path_bytes,
    text,
)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_attributes_or_are_refused(body: bytes) -> None:
    try:
        found = Reply(0, body).attributes()
    except ServerInvalid:
        return
    assert found.size is None or 0 <= found.size <= 2**60
    assert not (found.is_file and found.is_directory)


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_a_text_is_never_longer_than_its_packet(body: bytes, length: int) -> None:
    reply = Reply(0, struct.pack(">I", length) + body)
    if length <= len(body):
        assert reply.text() == body[:length]
        assert reply.at_end == (length == len(body))
    else:
        with pytest.raises(ServerInvalid):
            reply.text()


@given(st.lists(st.binary(max_size=50)))
def test_texts_are_read_as_they_were_written(texts: list[bytes]) -> None:
    reply = Reply(0, b"".join(map(text, texts)))
    assert [reply.text() for _text in texts] == texts
    assert reply.at_end


@given(st.integers(0, 2**60), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_size_mode_and_time_are_read_with_what_is_between_and_behind_them(size: int, mode: int, modified: int) -> None:
    more = struct.pack(">I", 1) + text(b"name") + text(b"value")
    body = struct.pack(">IQIIIII", 0x8000000F, size, 1000, 1000, mode, 0, modified) + more
    reply = Reply(0, body)
    assert reply.attributes() == Attributes(size, mode, modified)
    assert reply.at_end


@pytest.mark.parametrize(
    ("mode", "file", "directory"),
    [
        (0, True, False),
        (stat.S_IFREG | 0o600, True, False),
        (stat.S_IFDIR | 0o700, False, True),
        (stat.S_IFLNK, False, False),
        (stat.S_IFIFO, False, False),
    ],
    ids=["not told", "file", "directory", "link", "pipe"],
)
def test_only_regular_files_are_files(mode: int, file: bool, directory: bool) -> None:
    found = Attributes(0, mode, 0)
    assert (found.is_file, found.is_directory) == (file, directory)


def test_attributes_that_promise_billions_of_extensions_are_refused() -> None:
    with pytest.raises(ServerInvalid):
        Reply(0, struct.pack(">II", 0x80000000, 2**32 - 1)).attributes()


@pytest.mark.parametrize("length", [0, 11])
def test_data_is_never_nothing_and_never_more_than_was_asked_for(length: int) -> None:
    with pytest.raises(ServerInvalid):
        data_of(Reply(DATA, text(bytes(length))), 10)
    assert data_of(Reply(DATA, text(bytes(10))), 10) == bytes(10)


def test_data_is_no_other_kind_of_answer() -> None:
    with pytest.raises(ServerInvalid):
        data_of(Reply(STATUS, text(b"x")), 10)


def test_a_status_that_is_not_ok_is_raised_in_the_server_s_words() -> None:
    with pytest.raises(StatusError) as caught:
        checked(Reply(STATUS, struct.pack(">I", FAILURE) + text(b"no \xff room")))
    assert (caught.value.code, caught.value.words) == (FAILURE, "no \N{REPLACEMENT CHARACTER} room")
    with pytest.raises(StatusError) as bare:
        checked(Reply(STATUS, struct.pack(">I", FAILURE)))
    assert bare.value.words == "status 4"
    assert checked(Reply(STATUS, struct.pack(">I", OK))).kind == STATUS


@given(st.binary(max_size=50))
def test_a_name_that_is_no_text_goes_back_as_it_came(name: bytes) -> None:
    assert path_bytes(name.decode("utf-8", "surrogateescape")) == text(name)


@pytest.mark.parametrize("size", [2**60 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_size_that_no_file_has_is_refused(size: int) -> None:
    with pytest.raises(ServerInvalid, match="size"):
        Reply(0, struct.pack(">IQ", 0x1, size)).attributes()


def test_a_size_that_is_not_given_is_unknown_and_not_zero() -> None:
    assert Reply(0, struct.pack(">I", 0)).attributes() == Attributes(None, 0, 0)


def test_a_server_s_words_are_cut_where_a_message_would_be_nothing_else() -> None:
    with pytest.raises(StatusError) as caught:
        checked(Reply(STATUS, struct.pack(">I", 4) + text(b"w" * 250_000)))
    assert len(caught.value.words) < 400


def test_a_handle_that_is_too_long_for_the_protocol_is_refused() -> None:
    with pytest.raises(ServerInvalid, match="handle"):
        handle_of(Reply(HANDLE, text(b"h" * 257)))
