"""A second SFTP server, asyncssh's: other logins, no posix-rename, a root of its own, false answers if a test wants them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import asyncssh

from ansible_collections.lastgood.database.tests.support.sftp import make_key

USER = "keeper"
PASSWORD = 'c0l:on \\ back\'slash "quo:ted" %41'
_POSIX_RENAME = b"posix-rename@openssh.com"

Files = Callable[[asyncssh.SSHServerChannel[bytes], bytes], asyncssh.SFTPServer]


@dataclass
class OtherServer:
    """A running server, whose users see only what is below ``root``."""

    root: Path
    folder: Path
    port: int = 0
    seen: list[str] = field(default_factory=list)  # the logins that were tried

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def options(self, directory: str = "/", **over: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "remote_directory": directory,
            "host_key_policy": "pinned",
            "host_key": self.host_key,
            "password": PASSWORD,
            "timeout": "5s",
            **over,
        }


class _Logins(asyncssh.SSHServer):
    """Lets USER log in by the given ways."""

    def __init__(self, server: OtherServer, ways: tuple[str, ...], keys: Path | None, hangs_at: str) -> None:
        self._server = server
        self._ways = ways
        self._keys = keys
        self._hangs_at = hangs_at

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    async def begin_auth(self, username: str) -> bool:
        await self._hang("login")
        if self._keys is not None:
            self._connection.set_authorized_keys(str(self._keys))
        return True

    def public_key_auth_supported(self) -> bool:
        return self._keys is not None

    def password_auth_supported(self) -> bool:
        return "password" in self._ways

    async def validate_password(self, username: str, password: str) -> bool:
        await self._hang("password")
        self._server.seen.append("password")
        return (username, password) == (USER, PASSWORD)

    async def _hang(self, place: str) -> None:
        if self._hangs_at == place:
            await asyncio.Event().wait()  # for ever

    def kbdint_auth_supported(self) -> bool:
        return "keyboard-interactive" in self._ways

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "Login", "", "", [("Your password, please: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        self._server.seen.append("keyboard-interactive")
        return (username, list(responses)) == (USER, [PASSWORD])


@contextlib.contextmanager
def other_sftp_server(
    folder: Path,
    *,
    ways: tuple[str, ...] = ("password",),
    keys: Path | None = None,
    hangs_at: str = "",
    files: type[asyncssh.SFTPServer] = asyncssh.SFTPServer,
    posix_rename: bool = False,
    **more: Any,
) -> Iterator[OtherServer]:
    """Start a server in a thread, which ends with the ``with``. ``more`` is for asyncssh.listen.

    One that hangs at the login or the password neither accepts nor rejects anybody.
    """
    folder.mkdir()
    server = OtherServer(folder / "root", folder)
    server.root.mkdir()
    make_key(folder / "host", "ed25519")
    extensions = [one for one in asyncssh.sftp.SFTPServerHandler._extensions if posix_rename or one[0] != _POSIX_RENAME]

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(folder / "host")],
            server_factory=lambda: _Logins(server, ways, keys, hangs_at),
            sftp_factory=lambda channel: files(channel, str(server.root).encode()),
            **more,
        )

    with mock.patch.object(asyncssh.sftp.SFTPServerHandler, "_extensions", extensions), _loop() as do:
        acceptor = do(start())
        server.port = acceptor.get_port()
        try:
            yield server
        finally:
            do(_stop(acceptor))


async def _stop(acceptor: asyncssh.SSHAcceptor) -> None:
    acceptor.close()
    await acceptor.wait_closed()


@contextlib.contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run an event loop in a thread. Yield what runs a coroutine in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sftp", daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
