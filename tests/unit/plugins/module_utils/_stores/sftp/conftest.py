"""A server of SFTP in memory, which answers as a test wants it to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.packets import INIT, VERSION
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.patience import Patience
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.session import Channel, Session

Answer = Callable[[int, bytes], "tuple[int, bytes]"]
Talk = Callable[[Answer], Session]


class Memory:
    """A channel to a server that is a function: of a request's kind and body, to the answer's."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._coming = b""
        self._sent = b""

    def send(self, data: bytes) -> int:
        self._sent += data
        while len(self._sent) >= 4 and len(self._sent) >= (end := 4 + struct.unpack_from(">I", self._sent)[0]):
            self._receive(self._sent[4:end])
            self._sent = self._sent[end:]
        return len(data)

    def _receive(self, request: bytes) -> None:
        if request[0] == INIT:
            self._coming += packet(VERSION, struct.pack(">I", 3))
            return
        kind, number = struct.unpack_from(">BI", request)
        answered, body = self._answer(kind, request[5:])
        self._coming += packet(answered, struct.pack(">I", number) + body)

    def recv(self, count: int) -> bytes:
        taken, self._coming = self._coming[:count], self._coming[count:]
        return taken

    def close(self) -> object:
        return None


class Recorded:
    """A channel on which comes what was recorded, whatever is asked."""

    def __init__(self, coming: bytes) -> None:
        self._coming = coming

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, count: int) -> bytes:
        taken, self._coming = self._coming[:count], self._coming[count:]
        return taken

    def close(self) -> object:
        return None


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


class Unwatched(Patience):
    """Patience without a thread: nothing waits in memory."""

    def _watch(self) -> None:
        return None


def _session(channel: Channel) -> Session:
    return Session(channel, Unwatched(1.0, channel.close), "server:22")


@pytest.fixture
def talk() -> Talk:
    """Begin a session with a server that answers so."""
    return lambda answer: _session(Memory(answer))


@pytest.fixture
def hear() -> Callable[[bytes], Session]:
    """Begin a session with a server that sends these bytes, whatever is asked."""
    return lambda coming: _session(Recorded(packet(VERSION, struct.pack(">I", 3)) + coming))
