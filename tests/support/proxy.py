"""A network between a module and its server, which fails after a number of bytes in one direction."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Failure = Literal["close", "stall", "drip"]

_PIECE = 16384
_DRIP_SECONDS = 0.2


@dataclass
class Proxy:
    """Listens on ``port``, and forwards data to another port on loopback."""

    to: int
    limit: int
    direction: Literal["from server", "to server"]
    failure: Failure
    port: int = 0
    failed: threading.Event = field(default_factory=threading.Event)
    _ends: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                self._ends += [client, server]
                for source, sink, name in ((server, client, "from server"), (client, server, "to server")):
                    threading.Thread(target=self._carry, args=(source, sink, name == self.direction), daemon=True).start()

    def close(self) -> None:
        _close(self._ends)

    def _carry(self, source: socket.socket, sink: socket.socket, fails: bool) -> None:
        left = self.limit
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if fails and len(data) > left:
                    self.failed.set()
                    if self.failure == "close":
                        _close((source, sink))
                    if self.failure == "drip":
                        sink.sendall(data[:left])
                        self._drip(source, sink, data[left:])
                    return  # otherwise both ends stay open, without data
                left -= len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _drip(self, source: socket.socket, sink: socket.socket, data: bytes) -> None:
        while data:
            for byte in data:
                sink.sendall(bytes([byte]))
                time.sleep(_DRIP_SECONDS)
            data = source.recv(_PIECE)


def _close(ends: Iterable[socket.socket]) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextlib.contextmanager
def failing_network(
    to: int, limit: int, direction: Literal["from server", "to server"] = "from server", failure: Failure = "close"
) -> Iterator[Proxy]:
    """Carry ``limit`` bytes of each connection in a direction, and then close it, carry no more, or one byte now and then."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        proxy = Proxy(to, limit, direction, failure, listener.getsockname()[1])
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            proxy.close()
