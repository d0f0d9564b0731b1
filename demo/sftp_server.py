"""An SFTP server for the demonstration: on loopback, with keys of its own, as whoever runs it, and gone afterwards."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
import threading
import typing as t
from pathlib import Path

import asyncssh

USER = "demo"


@contextlib.contextmanager
def sftp_server(folder: Path) -> t.Iterator[dict[str, t.Any]]:
    """Serve what is in ``folder/files``, and give the options by which the modules reach it."""
    (folder / "files").mkdir(parents=True)
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _number in range(2))
    user.write_private_key(folder / "key")
    user.write_public_key(folder / "key.pub")
    (folder / "key").chmod(0o600)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host],
            authorized_client_keys=str(folder / "key.pub"),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder / "files").encode()),
        )

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sftp", daemon=True)
    thread.start()
    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        yield {
            "host": "127.0.0.1",
            "port": acceptor.get_port(),
            "user": USER,
            "private_key_file": str(folder / "key"),
            "host_key_policy": "pinned",
            "host_key": " ".join(host.export_public_key().decode().split()[:2]),
            "remote_directory": "/backups",
        }
    finally:
        loop.call_soon_threadsafe(acceptor.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
