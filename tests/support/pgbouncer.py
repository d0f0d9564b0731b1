"""A real PgBouncer before a test's server, on a socket in a folder of its own."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.observe import wait_until
from tools.throwaway_postgresql import Server

PORT = 6432  # only a part of the socket's name

_CONFIG = """\
[databases]
* = host={server} port={port} user=postgres
{databases}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = {own_port}
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
logfile = {folder}/log
"""


def pgbouncer() -> str | None:
    """Return PgBouncer's path, None if it is not installed."""
    return shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


@contextlib.contextmanager
def pooling(server: Server, mode: str, size: int = 1, databases: str = "") -> Iterator[dict[str, object]]:
    """Run PgBouncer. Yield the options by which a module reaches the server through it."""
    program = pgbouncer()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="pooler-") as name:
        folder = Path(name)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            _CONFIG.format(
                server=server.socket_directory,
                port=server.port,
                folder=folder,
                own_port=PORT,
                mode=mode,
                size=size,
                databases=databases,
            )
        )
        user = []
        if os.geteuid() == 0:  # it refuses to run as root
            owner = server.data_directory.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
            os.chown(settings, owner.st_uid, owner.st_gid)
            user = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
        process = subprocess.Popen([*user, program, "-q", str(settings)], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: (folder / f".s.PGSQL.{PORT}").exists() or process.poll() is not None)
            yield {
                "login_unix_socket": str(folder),
                "login_port": PORT,
                "login_user": server.user,
                "bin_directory": str(server.bin_directory),
            }
        finally:
            process.terminate()
            process.wait()
