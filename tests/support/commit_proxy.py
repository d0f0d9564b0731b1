"""A connection to PostgreSQL that is lost, or held up, at the COMMIT of a swap."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from tools.throwaway_postgresql import Server

_PIECE = 65536

Fault = Literal["lost before the server has it", "lost before its answer comes", "none"]


class CommitProxy:
    """Listens in ``directory`` and forwards everything to the server, up to the first COMMIT after a RENAME."""

    def __init__(self, server: Server, directory: Path, fault: Fault, at_commit: Callable[[], None]) -> None:
        self.directory = directory
        self._to = str(server.socket_directory / f".s.PGSQL.{server.port}")
        self._fault = fault
        self._at_commit = at_commit
        self.fired = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / f".s.PGSQL.{server.port}"))
        self.listener.listen()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._to)
                for carry in (self._carry_to_server, self._carry_to_client):
                    threading.Thread(target=carry, args=(client, server), daemon=True).start()

    def _carry_to_server(self, client: socket.socket, server: socket.socket) -> None:
        renamed = False
        with contextlib.suppress(OSError):
            while data := client.recv(_PIECE):
                renamed = renamed or b"RENAME TO" in data
                if renamed and data.startswith(b"Q") and b"COMMIT" in data and not self.fired.is_set():
                    self.fired.set()
                    self._at_commit()
                    if self._fault == "lost before its answer comes":
                        client.shutdown(socket.SHUT_RDWR)
                    if self._fault == "lost before the server has it":
                        break
                server.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _carry_to_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_PIECE):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def commit_proxy(server: Server, fault: Fault, at_commit: Callable[[], None] = lambda: None) -> Iterator[CommitProxy]:
    with tempfile.TemporaryDirectory(prefix="px-") as directory:
        proxy = CommitProxy(server, Path(directory), fault, at_commit)
        thread = threading.Thread(target=proxy.serve, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.listener.shutdown(socket.SHUT_RDWR)
            proxy.listener.close()
            thread.join()
