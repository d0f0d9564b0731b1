"""Sessions of others on a MariaDB or MySQL server: they hold locks, wait for them, or use a database."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from ansible_collections.lastgood.database.tests.support.observe import wait_until
from tools.throwaway_mysql import Server

_OTHERS = "from information_schema.processlist where id <> connection_id() and command <> 'Daemon'"


@contextlib.contextmanager
def session(server: Server, sql: str, database: str | None = None, *, state: str | None = None) -> Iterator[None]:
    """Execute SQL in a session that stays open. A last statement that does not end is waited for until it has this state."""
    login = (
        "--no-defaults",
        f"--socket={server.socket}",
        f"--user={server.user}",
        "--batch",
        "--unbuffered",
        "--skip-column-names",
    )
    command = (server.installation.client, *login, *(() if database is None else (database,)))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        try:
            client.stdin.write(f"{sql};\n" if state is not None else f"{sql};\nselect 'executed';\n")
            client.stdin.flush()
            if state is None:
                assert "executed\n" in iter(client.stdout.readline, "")
            else:
                wait_until(lambda: bool(server.sql(f"select id {_OTHERS} and state = '{state}'")))
            yield
        finally:
            client.kill()


def sessions_of(server: Server) -> set[int]:
    """Return the numbers of all sessions but the one that asks."""
    return {int(number) for number in server.sql(f"select id {_OTHERS}").split()}
