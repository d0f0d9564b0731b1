"""Sending backups to OpenSSH on loopback, beside its own sftp program and paramiko's put; also through a network with a delay.

Run with ``put``, a port, a folder with keys, one to send and one to send it to, it is paramiko's put, which is measured.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import getpass
import os
import queue
import shutil
import socket
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path

import paramiko

from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server
from bench.backups import put_backups
from bench.measure import Case, compare
from bench.peers import ours

DELAY_SECONDS = 0.04  # each way
_PIECE = 256 * 1024


def uploading() -> None:
    """Print the rows."""
    with sftp_server() as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder, delayed(server.port) as far:
        top = Path(folder)
        for title, count, size in (("512 MiB in one file", 1, 512), ("200 files of 1 MiB", 200, 1)):
            place = Place(top / title.replace(" ", "-"), server, count, size)
            compare(f"Sending {title}", place.cases(server.port), rounds=3)
        for title, count, size in (("64 MiB in one file", 1, 64), ("20 files of 1 MiB", 20, 1)):
            place = Place(top / title.replace(" ", "-"), server, count, size)
            compare(f"Sending {title}, 40 ms each way", place.cases(far), rounds=3)


class Place:
    """Backups to send, and the ways to do so."""

    def __init__(self, folder: Path, server: SftpServer, count: int, mebibytes: int) -> None:
        self._folder = folder
        self._server = server
        self._here = folder / "here"
        self._there = folder / "there"
        put_backups(self._here, count, mebibytes)

    def cases(self, port: int) -> dict[str, Case]:
        keys, there = self._server.folder, self._there
        known = {"host_key_policy": "pinned", "host_key": self._server.host_key()}
        sftp = self._server.options(there, port=port, **known)
        put = [sys.executable, "-m", "bench.uploading", "put", str(port), str(keys), str(self._here), str(there)]
        upload = ours("backup_upload", self._folder, directory=str(self._here), sftp=sftp)
        digested = ours("backup_upload", self._folder, directory=str(self._here), sftp=sftp, verify="sha256")
        cases = {
            "backup_upload": upload,
            "backup_upload, verify=sha256": digested,
            "paramiko's put": Case(put),
            "OpenSSH's sftp, put -f": self._openssh(port, "put -f"),  # which waits for the server's disk, as we do
            "OpenSSH's sftp, put": self._openssh(port, "put"),
        }
        return {name: Case(case.command, case.environment, self._make_empty) for name, case in cases.items()}

    def _openssh(self, port: int, word: str) -> Case:
        batch = self._folder / f"batch {word}"
        batch.write_text(f"{word} {self._here}/backup_* {self._there}/\n")
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        key = self._server.folder / "user_ed25519"
        return Case(["sftp", "-q", "-b", str(batch), "-i", str(key), "-P", str(port), *options, f"{getpass.getuser()}@127.0.0.1"])

    def _make_empty(self) -> None:
        shutil.rmtree(self._there, ignore_errors=True)
        self._there.mkdir()


@contextlib.contextmanager
def delayed(to: int) -> t.Iterator[int]:
    """Carry connections to a port on loopback, everything late, and give the port to connect to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=_accept, args=(listener, to), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, to: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _address = listener.accept()
            server = socket.create_connection(("127.0.0.1", to))
            for source, sink in ((client, server), (server, client)):
                late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                threading.Thread(target=_take, args=(source, late), daemon=True).start()
                threading.Thread(target=_give, args=(late, sink), daemon=True).start()


def _take(source: socket.socket, late: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    data = b"begun"
    while data:
        try:
            data = source.recv(_PIECE)
        except OSError:
            data = b""
        late.put((time.monotonic() + DELAY_SECONDS, data))


def _give(late: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, data = late.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)


def _put(port: int, keys: Path, here: Path, there: Path) -> None:
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect("127.0.0.1", port, key_filename=str(keys / "user_ed25519"), look_for_keys=False, allow_agent=False)
        sftp = client.open_sftp()
        for path in sorted(here.glob("backup_*")):
            sftp.put(str(path), str(there / path.name))


if __name__ == "__main__":
    _put(int(sys.argv[2]), *map(Path, sys.argv[3:]))
