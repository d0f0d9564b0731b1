"""Servers of our own, for one backup each to be restored into. Nobody else can connect to them, and they end with this process.

They run in a sandbox, because a restore executes the code in a dump as the server's superuser. A server listens on a socket in
its folder and on nothing else. We connect through our own link to that socket, since the code could put another one in its place.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionFailed,
    ProgramFailed,
    ProgramTimeout,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, RunningProgram
from ansible_collections.lastgood.database.plugins.module_utils._sandbox import Room, Sandbox, open_sandbox

_START_SECONDS = 60.0
_POLL_SECONDS = 0.02


class ThrowawayServers:
    """Runs the servers of one run, one after the other. They share the sandbox, which is opened for the first one."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._sandbox: Sandbox | None = None

    def room(self, needed_bytes: int) -> t.ContextManager[Room]:
        """Make the folder of one server, and remove it at the end of the context."""
        if self._sandbox is None:
            self._sandbox = open_sandbox(self.runner)
        return self._sandbox.room(needed_bytes)

    @contextlib.contextmanager
    def running(
        self, room: Room, command: Command, socket: str, connecting: t.Callable[[], t.ContextManager[object]]
    ) -> t.Iterator[None]:
        """Start a server, wait until ``connecting`` succeeds, and end the server at the end of the context.

        ``socket`` is the name of the server's socket in its folder. ``connecting`` connects by the link of the same name.
        """
        with RunningProgram(self.runner, command) as program:
            try:
                with room.watched(program):
                    self._wait(room, program, socket, connecting)
                    yield
            finally:
                program.kill()

    def _wait(
        self, room: Room, program: RunningProgram, socket: str, connecting: t.Callable[[], t.ContextManager[object]]
    ) -> None:
        deadline = time.monotonic() + _START_SECONDS
        linked = False
        while True:
            if program.has_ended or self.runner.is_stopped():
                program.kill()
                raise ProgramFailed(
                    f"The server to restore into ended as soon as it had begun: {room.said() or 'it said nothing'}.",
                    "Run it again.",
                )
            if not linked and os.path.exists(os.path.join(room.files, socket)):
                room.link(socket)
                linked = True
            try:
                with connecting():
                    return
            except ConnectionFailed as error:
                if time.monotonic() > deadline:
                    raise ProgramTimeout(
                        f"The server to restore into did not answer for {_START_SECONDS:g} seconds: {error}",
                        "See whether the host is busy, and run again.",
                    ) from error
            time.sleep(_POLL_SECONDS)
