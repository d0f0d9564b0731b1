"""A server of MariaDB or MySQL for one backup to be restored into: its files, its settings, and how it starts.

It loads no plugin, writes no binary log, and runs no events.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, connecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._engines.throwaway import ThrowawayServers
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ProgramMissing,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner, run
from ansible_collections.lastgood.database.plugins.module_utils._sandbox import FILES

_SOCKET = "mysql.sock"
_USER = "root"
_INSTALL_SECONDS = 300.0
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


@contextlib.contextmanager
def started(servers: ThrowawayServers, server: Program) -> t.Iterator[Login]:
    """Start a server, and yield the login to it. At the end of the context, stop the server and remove its files."""
    with servers.room(_NEEDED_BYTES) as room:
        plugins = os.path.join(room.files, "plugins")
        with store_errors(f"Making {plugins}"):
            os.mkdir(plugins, 0o700)
            os.chown(plugins, room.sandbox.uid, room.sandbox.gid)
        readable = _readable(server)
        run(servers.runner, room.command(_install(servers.runner, server), readable, seconds=_INSTALL_SECONDS))
        arguments = (server.path, "--no-defaults", *_SETTINGS, *_OWN_SETTINGS[server.product])
        login = Login(unix_socket=os.path.join(room.folder, _SOCKET), user=_USER)
        with servers.running(room, room.command(arguments, readable, logged=True), _SOCKET, lambda: connecting(login)):
            yield login


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
