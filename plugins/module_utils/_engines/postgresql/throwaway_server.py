"""A PostgreSQL server for one backup to be restored into: its cluster, its settings, and how it starts.

We log in with a password made up for it, since the code in a dump could ask for any that we have.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import secrets
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, connecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._engines.throwaway import ThrowawayServers
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run
from ansible_collections.lastgood.database.plugins.module_utils._sandbox import FILES, Room

_USER = "postgres"
_PORT = 5432  # only a part of the socket's name
_SOCKET = f".s.PGSQL.{_PORT}"
_INITDB_SECONDS = 300.0
_ANSWER_SECONDS = 30.0
_NEEDED_BYTES = 100 * 1024 * 1024  # an empty cluster, with its first log
_EVENT_TRIGGERS_SINCE = 17
_PROGRAMS = ("initdb", "postgres")
_PARTS = ("bin", "lib", "lib64", "share")  # of an installation; others may be data
_LIBRARY_FOLDER = re.compile(r"lib(?:32|64)?|.*\.libs")
_LIBRARY = re.compile(rb"=> (/\S+) \(0x")

# https://www.postgresql.org/docs/current/runtime-config.html
# The data need not survive a power failure.
THROWAWAY_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "dynamic_shared_memory_type": "mmap",  # in the server's folder, and removed with it, not in /dev/shm
}
_SETTINGS = {
    **THROWAWAY_SETTINGS,
    "listen_addresses": "",
    "unix_socket_directories": FILES,
    "port": str(_PORT),
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "20",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "lc_messages": "C",
}


@contextlib.contextmanager
def started(servers: ThrowawayServers, postgres: Program) -> t.Iterator[Login]:
    """Start a server, and yield the login to it. At the end of the context, stop the server and remove its files."""
    with servers.room(_NEEDED_BYTES) as room:
        installation = _installation(servers.runner, postgres)
        _make_cluster(servers.runner, room, installation)
        login = Login(unix_socket=room.folder, port=_PORT, user=_USER, password=secrets.token_hex())
        with servers.running(room, _server_command(room, installation), _SOCKET, lambda: connecting(login)):
            yield login


@dataclass(frozen=True)
class _Installation:
    """The programs of a server, what they read wherever it is, and how they are run.

    Without /proc a library that is found from where its program is has to be named.
    """

    bin_directory: str
    major: int
    readable: frozenset[str]
    library_folders: tuple[str, ...]

    def arguments(self, program: str, *arguments: str) -> tuple[str, ...]:
        libraries = ("env", f"LD_LIBRARY_PATH={':'.join(self.library_folders)}") if self.library_folders else ()
        return (*libraries, os.path.join(self.bin_directory, program), *arguments)


def _installation(runner: Runner, postgres: Program) -> _Installation:
    bin_directory = os.path.dirname(os.path.realpath(postgres.path))
    home = os.path.dirname(bin_directory)
    libraries = _libraries(runner, *(os.path.join(bin_directory, name) for name in _PROGRAMS))
    folders = {os.path.dirname(library) for library in libraries}
    private = {folder for folder in folders if _LIBRARY_FOLDER.fullmatch(os.path.basename(folder))}
    single = {library for library in libraries if os.path.dirname(library) not in private}
    readable = frozenset({bin_directory, *(os.path.join(home, part) for part in _PARTS), *private, *single})
    return _Installation(bin_directory, postgres.major, readable, tuple(sorted(private)))


def _libraries(runner: Runner, *programs: str) -> list[str]:
    """Return the libraries of programs, as the dynamic loader finds them; none if it does not report them."""
    ldd = runner.find_program("ldd")
    if ldd is None:
        return []
    try:
        said = run(runner, Command((ldd, *programs), seconds=_ANSWER_SECONDS)).stdout
    except BackupError:
        return []
    return [os.path.normpath(os.fsdecode(path)) for path in _LIBRARY.findall(said)]


def initdb_options(data_directory: str, superuser: str) -> tuple[str, ...]:
    """Return the options of initdb for a cluster that depends on no locale and need not survive a power failure."""
    return (f"--pgdata={data_directory}", f"--username={superuser}", "--encoding=UTF8", "--locale=C", "--no-sync")


def _make_cluster(runner: Runner, room: Room, installation: _Installation) -> None:
    arguments = installation.arguments(
        "initdb",
        *initdb_options(f"{FILES}/data", _USER),
        "--auth=trust",  # who comes this far may come in
    )
    run(runner, room.command(arguments, installation.readable, seconds=_INITDB_SECONDS))


def _server_command(room: Room, installation: _Installation) -> Command:
    settings = {**_SETTINGS, **({"event_triggers": "off"} if installation.major >= _EVENT_TRIGGERS_SINCE else {})}
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    arguments = installation.arguments("postgres", "-D", f"{FILES}/data", *options)
    return room.command(arguments, installation.readable, logged=True)
