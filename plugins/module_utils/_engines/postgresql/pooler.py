"""Refuses a connection pooler that hands a server's sessions from client to client between transactions.

pg_dump and pg_restore set parameters of their session, such as search_path and row_security. Behind such a pooler (PgBouncer with
pool_mode=transaction) the application gets that session next, with these parameters. A pooler that gives each client a session
for as long as it is connected resets the session in between.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import struct
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import (
    Connect,
    Login,
    connecting,
    query,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ConnectionPooled

if t.TYPE_CHECKING:
    import psycopg2.extensions

_SECONDS = 5.0  # a pooler without a session to spare lets the second connection wait
# Not in turn: a pooler that takes its sessions in turn would give each of two connections the same one every time.
_ORDER = (0, 1, 0, 0, 1, 1)


def check_pooling(login: Login) -> None:
    """Raise ConnectionPooled where the login leads to a pooler that hands sessions on between transactions."""
    with connecting(login) as connection:
        if is_direct(connection):
            return
    check_sessions(login, login.database)


def check_sessions(login: Login, database: str, connect: Connect = connecting) -> None:
    """Raise ConnectionPooled where two connections share a session of the server, or one changes its session."""
    login = dataclasses.replace(login, database=database)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(login))]
        with contextlib.suppress(BackupError):  # the user may have one connection only
            connections.append(stack.enter_context(connect(login, seconds=_SECONDS)))
        if _are_shared(connections):
            raise ConnectionPooled(
                f"The login leads to a connection pooler that hands the server's sessions for the database {database} from "
                "client to client between transactions, so that the settings of pg_dump and pg_restore would reach others.",
                "Connect to the server itself: give its own address and port in login_host and login_port, or the directory of "
                "its socket in login_unix_socket.",
            )


def _are_shared(connections: list[psycopg2.extensions.connection]) -> bool:
    session_of: dict[int, int] = {}
    with contextlib.suppress(BackupError):  # no session was to be had for the second connection: each has one of its own
        for place in _ORDER:
            if place < len(connections):
                [(session,)] = query(connections[place], "SELECT pg_catalog.pg_backend_pid()")
                session_of.setdefault(place, session)
                if session_of[place] != session or len(set(session_of.values())) < len(session_of):
                    return True
    return False


def is_direct(connection: psycopg2.extensions.connection) -> bool:
    """Return whether the server's own process is at the other end; False where that can't be known."""
    # A query comes first: it reports a connection that was lost.
    [(backend, port)] = query(connection, "SELECT pg_catalog.pg_backend_pid(), pg_catalog.inet_client_port()")
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        if end.family == socket.AF_UNIX:
            return _listener(end) == _parent(backend)
        return bool(port == end.getsockname()[1])


def _listener(end: socket.socket) -> int:
    """Return the process that listens at the other end of a local socket."""
    credentials = struct.Struct("3i")
    pid: int = credentials.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))[0]
    return pid


def _parent(process: int) -> int | None:
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None
