"""A server of our own to restore one backup into. Nobody else can connect to it, and it ends with this process.

It runs in a sandbox, because a restore executes the code in a dump as the server's root. It listens on a socket in its folder and
on nothing else, loads no plugin, writes no binary log, and runs no events. We connect through our own link to that socket, since
the code could put another one in its place.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, connecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionFailed,
    ProgramFailed,
    ProgramMissing,
    ProgramTimeout,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner, RunningProgram, run
from ansible_collections.lastgood.database.plugins.module_utils._sandbox import FILES, Room, Sandbox, open_sandbox

_SOCKET = "mysql.sock"
_USER = "root"
_START_SECONDS = 60.0
_INSTALL_SECONDS = 300.0
_POLL_SECONDS = 0.02
_NEEDED_BYTES = 250 * 1024 * 1024  # an empty server, with its logs
_PARTS = ("bin", "sbin", "lib", "lib64", "libexec", "scripts", "share")  # of an installation; other folders may be data
_INSTALLERS = ("mariadb-install-db", "mysql_install_db")
_OF_THE_SYSTEM = ("/usr", "/")

# The data need not survive a power failure.
_SETTINGS = (
    f"--datadir={FILES}/data",
    f"--socket={FILES}/{_SOCKET}",
    f"--pid-file={FILES}/pid",
    "--tmpdir=/tmp",
    f"--plugin-dir={FILES}/plugins",
    f"--secure-file-priv={FILES}/plugins",
    "--skip-networking",
    "--skip-log-bin",
    "--local-infile=0",
    "--event-scheduler=OFF",
    "--performance-schema=OFF",
    "--max-allowed-packet=1G",
    "--max-connections=20",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-strict-mode=0",
)
_OWN_SETTINGS = {"MariaDB": (), "MySQL": ("--mysqlx=OFF",)}


class ThrowawayServers:
    """Starts the servers of one run, one after the other. They share the sandbox."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._sandbox: Sandbox | None = None

    @contextlib.contextmanager
    def started(self, server: Program) -> t.Iterator[Login]:
        """Start a server, and yield the login to it. At the end of the context, stop the server and remove its files."""
        if self._sandbox is None:
            self._sandbox = open_sandbox(self._runner)
        with self._sandbox.room(_NEEDED_BYTES) as room:
            plugins = os.path.join(room.files, "plugins")
            with store_errors(f"Making {plugins}"):
                os.mkdir(plugins, 0o700)
                os.chown(plugins, self._sandbox.uid, self._sandbox.gid)
            readable = _readable(server)
            run(self._runner, room.command(_install(self._runner, server), readable, seconds=_INSTALL_SECONDS))
            arguments = (server.path, "--no-defaults", *_SETTINGS, *_OWN_SETTINGS[server.product])
            with RunningProgram(self._runner, room.command(arguments, readable, logged=True)) as running:
                try:
                    login = Login(unix_socket=os.path.join(room.folder, _SOCKET), user=_USER)
                    with room.watched(running):
                        _wait_until_it_answers(self._runner, room, login, running)
                        yield login
                finally:
                    running.kill()


def _readable(server: Program) -> set[str]:
    """Return the folders of the server's installation, none if it is the system's."""
    home = os.path.dirname(os.path.dirname(os.path.realpath(server.path)))
    return set() if home in _OF_THE_SYSTEM else {os.path.join(home, part) for part in _PARTS}


def _install(runner: Runner, server: Program) -> tuple[str, ...]:
    """Return the command that creates a server's own databases."""
    if server.product == "MySQL":
        return (server.path, "--no-defaults", "--initialize-insecure", f"--datadir={FILES}/data")
    home = os.path.dirname(os.path.dirname(os.path.realpath(server.path)))
    own = (os.path.join(home, folder, name) for name in _INSTALLERS for folder in ("bin", "scripts"))
    installer = next(filter(os.path.exists, own), None) or next(filter(None, map(runner.find_program, _INSTALLERS)), None)
    if installer is None:
        raise ProgramMissing(
            f"There is no {_INSTALLERS[0]}, which belongs to {server.path}.", "Install the package of MariaDB's server anew."
        )
    return (
        *(installer, "--no-defaults", "--force", f"--basedir={home}", f"--datadir={FILES}/data", "--skip-test-db"),
        "--auth-root-authentication-method=normal",
    )


def _wait_until_it_answers(runner: Runner, room: Room, login: Login, running: RunningProgram) -> None:
    deadline = time.monotonic() + _START_SECONDS
    linked = False
    while True:
        if running.has_ended or runner.is_stopped():
            running.kill()
            raise ProgramFailed(
                f"The server to restore into ended as soon as it had begun: {room.said() or 'it said nothing'}.", "Run it again."
            )
        if not linked and os.path.exists(os.path.join(room.files, _SOCKET)):
            room.link(_SOCKET)
            linked = True
        try:
            with connecting(login):
                return
        except ConnectionFailed as error:
            if time.monotonic() > deadline:
                raise ProgramTimeout(
                    f"The server to restore into did not answer for {_START_SECONDS:g} seconds: {error}",
                    "See whether the host is busy, and run again.",
                ) from error
        time.sleep(_POLL_SECONDS)
