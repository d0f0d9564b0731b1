"""A PostgreSQL server of our own, for one backup to be restored into: nobody else reaches it, and it ends with us.

It runs in a sandbox, for whoever restores a dump runs its code, as the server's superuser. It listens on a socket in its folder
and on nothing else. We reach that socket by a link of our own, since the code could put another in its place, and with a
password made up for it, since the code could ask for any that we have.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login, connecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    ProgramFailed,
    ProgramTimeout,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, RunningProgram, run
from ansible_collections.lastgood.database.plugins.module_utils._sandbox import FILES, Room, Sandbox, open_sandbox

_USER = "postgres"
_PORT = 5432  # only a part of the socket's name
_SOCKET = f".s.PGSQL.{_PORT}"
_START_SECONDS = 60.0
_INITDB_SECONDS = 300.0
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.02
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


class ThrowawayServers:
    """Starts the servers of one run, one after the other. What they share is how they are shut in."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._sandbox: Sandbox | None = None

    @contextlib.contextmanager
    def started(self, postgres: Program) -> t.Iterator[Login]:
        """Start a server, and yield the login to it. Leaving this stops the server and removes its files."""
        if self._sandbox is None:
            self._sandbox = open_sandbox(self._runner)
        with self._sandbox.room(_NEEDED_BYTES) as room:
            installation = _installation(self._runner, postgres)
            _make_cluster(self._runner, room, installation)
            with RunningProgram(self._runner, _server_command(room, installation)) as running:
                try:
                    login = Login(unix_socket=room.folder, port=_PORT, user=_USER, password=secrets.token_hex())
                    with room.watched(running):
                        _wait_until_it_answers(self._runner, room, login, running)
                        yield login
                finally:
                    running.kill()


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
