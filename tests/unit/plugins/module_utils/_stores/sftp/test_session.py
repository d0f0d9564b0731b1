"""Many requests under way at once, and servers that answer what nobody asked."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ConnectionLost, ServerInvalid
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.conversations import (
    list_directory,
    look,
    read_start,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import (
    ATTRS,
    FAILURE,
    PERMISSION_DENIED,
    STATUS,
    StatusError,
    text,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.session import Session

Hear = Callable[[bytes], Session]
Talk = Callable[[Callable[[int, bytes], "tuple[int, bytes]"]], Session]


def size_by_name(_kind: int, body: bytes) -> tuple[int, bytes]:
    return ATTRS, struct.pack(">IQ", 0x1, int(body[4:]))


def test_conversations_side_by_side_give_their_results_in_order(talk: Talk) -> None:
    found = talk(size_by_name).converse_all(look(str(number)) for number in range(500))
    assert [one.size for one in found if one is not None] == list(range(500))


def test_one_that_is_refused_ends_the_others_and_the_session_goes_on(talk: Talk) -> None:
    asked = 0

    def refuse_some(kind: int, body: bytes) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        return (STATUS, struct.pack(">I", PERMISSION_DENIED) + text(b"no")) if body[4:] == b"100" else size_by_name(kind, body)

    session = talk(refuse_some)
    with pytest.raises(StatusError, match="no"):
        session.converse_all(look(str(number)) for number in range(500))
    assert asked < 200  # the rest is not asked for
    after = session.converse(look("7"))
    assert after is not None
    assert after.size == 7


@pytest.mark.parametrize("length", [0, 1024 * 1024 + 1, 2**32 - 1])
def test_a_packet_of_a_length_that_can_not_be_is_refused_unread(hear: Hear, length: int) -> None:
    session = hear(struct.pack(">IB", length, ATTRS))
    with pytest.raises(ServerInvalid, match=f"a packet of {length} bytes"):
        session.converse(look("x"))


def test_an_answer_that_nobody_asked_for_is_refused(hear: Hear) -> None:
    session = hear(struct.pack(">IBIII", 13, STATUS, 99, FAILURE, 0))
    with pytest.raises(ServerInvalid, match="not asked"):
        session.converse(look("x"))


def test_a_session_that_ends_in_mid_packet_was_cut(hear: Hear) -> None:
    with pytest.raises(ConnectionLost):
        hear(struct.pack(">IB", 100, ATTRS) + b"half").converse(look("x"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
def test_whatever_bytes_come_end_in_a_result_or_a_clean_error(hear: Hear, coming: bytes, framed: bool) -> None:
    if framed:  # as a packet that answers the first question, whatever it says
        body = struct.pack(">I", 1) + coming[1:]
        coming = struct.pack(">IB", len(body) + 1, coming[0] if coming else ATTRS) + body
    for ask in (lambda: look("x"), lambda: read_start("x", 100), lambda: list_directory("x", 60.0)):
        try:
            hear(coming).converse(ask())  # type: ignore[arg-type]
        except (BackupError, StatusError):
            continue
