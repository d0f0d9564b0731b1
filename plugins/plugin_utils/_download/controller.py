"""Runs an operation on the controller: a runner that starts no program, and lines that show the progress."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible.utils.display import Display

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, ProgramMissing
from ansible_collections.lastgood.database.plugins.module_utils._process import Completed, Process
from ansible_collections.lastgood.database.plugins.module_utils._progress import Sink, UnderWay
from ansible_collections.lastgood.database.plugins.module_utils._progress_line import Reading, line


class ControllerRunner:
    """A runner without programs. A signal ends the play itself."""

    def find_program(self, name: str) -> str | None:
        return None

    def run(
        self,
        command: t.Sequence[str],
        *,
        environment: t.Mapping[str, str],
        pass_fds: t.Sequence[int],
        started: t.Callable[[Process], None],
        directory: str | None = None,
    ) -> Completed:
        raise ProgramMissing(f"{command[0]} is not run on the controller.", "Report it.")

    def is_stopped(self) -> bool:
        return False

    def stopping(self, act: t.Callable[[], object]) -> t.ContextManager[None]:
        return contextlib.nullcontext()


def folder_for(dest: str, host: str) -> str:
    """Return the host's own folder. Raises ArgumentInvalid if the host's name in the inventory can't name a folder."""
    if host in ("", ".", "..") or "/" in host or not host.isprintable() or len(os.fsencode(host)) > 255:
        raise ArgumentInvalid(f"The inventory's name {host!r} can't be the name of a folder.", "Give the host another name.")
    if not dest.isprintable():
        raise ArgumentInvalid(f"dest is {dest!r}, which has a control character in it.", "Name another folder.")
    return os.path.join(os.path.abspath(os.path.expanduser(dest)), host)


def lines_every(seconds: int, host: str) -> Sink:
    """Return a sink that shows a line every so many seconds."""
    last = time.monotonic()
    before: Reading | None = None

    def show(tasks: t.Sequence[UnderWay]) -> None:
        nonlocal last, before
        now = time.monotonic()
        if not tasks or now - last < seconds:
            return
        task = tasks[0]
        reading = Reading(task.title, now, task.began, max(0, task.done_bytes), task.expected_bytes)
        Display().display(line(host, reading, before))
        last, before = now, reading

    return show
