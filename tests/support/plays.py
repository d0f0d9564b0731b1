"""Runs tasks in a play, by ansible-playbook, on one host or several, over a connection of any kind.

with playing(folder, [{"lastgood.database.db_backup": {...}}], variables=over_ssh(server)) as play:
    wait_until(lambda: "running" in play.output())
    play.interrupt()
finished = play.finish()
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

HANGS_AFTER_SECONDS = 240
LOCAL: Mapping[str, Any] = types.MappingProxyType({"ansible_connection": "local", "ansible_python_interpreter": sys.executable})


def over_ssh(server: SftpServer) -> dict[str, Any]:
    """Return the variables of a host that is reached by OpenSSH."""
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": server.port,
        "ansible_user": getpass.getuser(),
        "ansible_ssh_private_key_file": str(server.folder / "user_ed25519"),
        "ansible_ssh_common_args": f"-F /dev/null -o UserKnownHostsFile={server.known_hosts}",
        "ansible_python_interpreter": sys.executable,
    }


@dataclass
class Play:
    """A play that runs, or that has ended."""

    process: subprocess.Popen[bytes]
    folder: Path

    def output(self) -> str:
        """Return its output so far."""
        return (self.folder / "output").read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is met while the play runs."""
        wait_until(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output()

    def interrupt(self) -> None:
        """Do what Ctrl-C does in a terminal: signal every process in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> int:
        """Wait for its end, and return its exit status."""
        return self.process.wait(HANGS_AFTER_SECONDS)

    def results(self, host: str = "db7") -> list[dict[str, Any]]:
        """Return what each task of the play returned on a host."""
        found: list[dict[str, Any]] = json.loads((self.folder / f"{host}.results").read_text())
        return found


@contextlib.contextmanager
def playing(
    folder: Path,
    tasks: Sequence[Mapping[str, Any]],
    *arguments: str,
    variables: Mapping[str, Any] = LOCAL,
    hosts: Sequence[str] = ("db7",),
    environment: Mapping[str, str] | None = None,
    **keywords: Any,
) -> Iterator[Play]:
    """Start a play, which ends with the ``with``. Records the result of each task, even if it fails."""
    registered = [{"ignore_errors": True, **task, "register": f"result_{number}"} for number, task in enumerate(tasks)]
    content = "{{ [" + ", ".join(f"result_{number}" for number in range(len(tasks))) + "] | to_json }}"
    note = {
        "ansible.builtin.copy": {"content": content, "dest": f"{folder}/{{{{ inventory_hostname }}}}.results", "mode": "0600"},
        "connection": "local",
        "become": False,
        "vars": {**LOCAL},
    }
    playbook = folder / "playbook.yml"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "environment": {"TEST_FOLDER": str(folder)},  # by which a test recognises its processes
        "vars": dict(variables),
        "tasks": [*registered, note],
        **keywords,
    }
    playbook.write_text(json.dumps([play]))
    command = ["ansible-playbook", str(playbook), "--inventory", ",".join(hosts) + ",", *arguments]
    environ = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": tempfile.mkdtemp(prefix="cp-"),  # short: a socket's path has a limit
        "ANSIBLE_SSH_TIMEOUT": "5",
        **(environment or {}),
    }
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environ, start_new_session=True
        )
    try:
        yield Play(process, folder)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(environ["ANSIBLE_SSH_CONTROL_PATH_DIR"], ignore_errors=True)
