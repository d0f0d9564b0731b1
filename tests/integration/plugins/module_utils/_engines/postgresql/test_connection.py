"""A connection to a real server that falls silent."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import connection
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Login,
    connecting,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed, Interrupted
from tools.throwaway_postgresql import Server

PASSWORD = "hunter2"


class Relay:
    """Hands on what a client and a server say to each other, until it is told to be silent."""

    def __init__(self, server: Server) -> None:
        self._silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = str(server.socket_directory / f".s.PGSQL.{server.port}")
        self._sockets: list[socket.socket] = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def be_silent(self) -> None:
        self._silent.set()

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _address = self._listener.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._server)
            self._sockets += [client, upstream]
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._silent.is_set():
                    sink.sendall(data)


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    relay = Relay(server)
    yield relay
    relay.close()


def test_a_server_that_is_silent_after_the_login_is_an_error(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    with connecting(Login(host="127.0.0.1", port=relay.port, user="postgres", password=PASSWORD)) as open_connection:
        assert query(open_connection, "SELECT 1") == [(1,)]
        monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.5)
        relay.be_silent()
        with pytest.raises(ConnectionFailed, match=r"has not answered for 0\.5 seconds"):
            query(open_connection, "SELECT 2")


def test_a_run_that_is_stopped_waits_for_no_answer(relay: Relay) -> None:
    stopped = threading.Event()
    login = Login(host="127.0.0.1", port=relay.port, user="postgres")
    with connecting(login, is_stopped=stopped.is_set) as open_connection:
        relay.be_silent()
        threading.Timer(0.3, stopped.set).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            query(open_connection, "SELECT pg_sleep(30)")
        assert time.monotonic() - began < 5


def test_a_long_answer_comes_whole(relay: Relay) -> None:
    with connecting(Login(host="127.0.0.1", port=relay.port, user="postgres")) as open_connection:
        [(answer,)] = query(open_connection, "SELECT repeat('x', 10000000)")
        assert len(answer) == 10_000_000


def test_a_connection_can_be_made_after_one_that_fell_silent(server: Server, relay: Relay) -> None:
    test_a_long_answer_comes_whole(relay)
    with connecting(Login(unix_socket=str(server.socket_directory), port=server.port, user="postgres")) as open_connection:
        assert query(open_connection, "SELECT 1") == [(1,)]
