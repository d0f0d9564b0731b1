"""A GnuPG home with an agent, for a private key. The agent ends with the work, or within seconds if this process is killed.

If the host has a file system in memory, the home is in it, so that the key is never written to a disk.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.home import GpgHome, find_gpg
from ansible_collections.lastgood.database.plugins.module_utils._errors import ProgramFailed, ProgramMissing
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, pipe, write_all
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, RunningProgram
from ansible_collections.lastgood.database.plugins.module_utils._scratch import (
    scratch_folder,
    sweep_scratch_folders,
    temporary_directory,
)

_MEMORY = "/dev/shm"
_PREFIX = "lg-key-"  # short, since the path of the agent's socket has at most 107 bytes
_READY = b"\n"


@contextlib.contextmanager
def home_with_agent(runner: Runner, purpose: str) -> t.Iterator[GpgHome]:
    """Make a home, and run its agent. Leaving the context kills the agent, and removes the home with its content."""
    program = find_gpg(runner, purpose)
    parent = _MEMORY if os.path.isdir(_MEMORY) and os.access(_MEMORY, os.W_OK | os.X_OK) else temporary_directory()
    sweep_scratch_folders(parent, _PREFIX)
    with scratch_folder(parent, _PREFIX) as folder, _running_agent(runner, folder):
        yield GpgHome(program, folder, runner)


@contextlib.contextmanager
def _running_agent(runner: Runner, folder: str) -> t.Iterator[None]:
    """Run the agent and, as its command, a waiter that reads our pipe to its end. The agent ends when the waiter does."""
    agent, waiter = runner.find_program("gpg-agent"), runner.find_program("cat")
    if agent is None or waiter is None:
        raise ProgramMissing(
            "A private key of GnuPG needs the program gpg-agent, and this host has none.",
            "Install the package gpg-agent (Debian and Ubuntu), gnupg2 (RHEL and Fedora) or gpg2 (SUSE).",
        )
    reading, feeding = pipe()
    command = Command(
        (agent, "--homedir", folder, "--quiet", "--no-options", "--daemon", waiter, f"/dev/fd/{reading}"), descriptors=(reading,)
    )
    try:
        with RunningProgram(runner, command, owned=[reading], take_output=True) as running:
            try:
                _wait_for(running, feeding)
                yield
            finally:
                running.kill()
    finally:
        close_quietly(feeding)


def _wait_for(running: RunningProgram, feeding: int) -> None:
    """Wait until the agent's socket exists: gpg-agent then starts the waiter, which writes back what we write to the pipe."""
    with contextlib.suppress(BrokenPipeError):
        write_all(feeding, _READY)
    output = running.output()
    if output is None or os.read(output, 1) != _READY:
        running.wait()
        raise ProgramFailed("gpg-agent did not start.", "Run it by hand to see its error.")
