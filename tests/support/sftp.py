"""A real OpenSSH server for SFTP, on a loopback port of its own, with its own keys, as the user who runs the tests."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.plugins.module_utils._process import family_of, signal_family
from ansible_collections.lastgood.database.tests.support.observe import wait_until

PASSPHRASE = "open ses'ame \" $HOME"

# Privilege separation needs this directory, which a service would make.
_PRIVSEP = Path("/run/sshd")

_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_ed25519
HostKey {folder}/host_rsa
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
MaxStartups 100
{more}
"""
_SUBSYSTEM = "Subsystem sftp internal-sftp"


def sshd() -> str | None:
    """Return the path of OpenSSH's server, None if not installed."""
    return shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


@dataclass(frozen=True)
class SftpServer:
    """A running server. ``options`` returns the options to reach a directory on it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill it and all its connections at once."""
        signal_family(family_of(self.process), signal.SIGKILL)

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def host_key(self, kind: str = "ed25519") -> str:
        """Return its public key, as ``type base64``."""
        return " ".join((self.folder / f"host_{kind}.pub").read_text().split()[:2])

    def fingerprint(self, kind: str) -> str:
        """Return its fingerprint, ``SHA256:...``."""
        told = subprocess.run(("ssh-keygen", "-lf", self.folder / f"host_{kind}.pub"), check=True, capture_output=True, text=True)
        return told.stdout.split()[1]

    def options(self, directory: Path | str, **over: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "remote_directory": str(directory),
            "private_key_file": str(self.folder / "user_ed25519"),
            "known_hosts_file": str(self.known_hosts),
            **over,
        }


def make_key(path: Path, kind: str, *arguments: str, passphrase: str = "") -> Path:
    """Make a key pair by ssh-keygen."""
    command = ("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path), *arguments)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return path


@contextlib.contextmanager
def sftp_server(more: str = _SUBSYSTEM) -> Iterator[SftpServer]:
    """Start a server, which ends with the ``with``."""
    program = sshd()
    assert program is not None, "OpenSSH's server is not installed"
    if os.geteuid() == 0:
        _PRIVSEP.mkdir(mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sshd-") as name:
        folder = Path(name)
        keys = [make_key(folder / f"host_{kind}", kind) for kind in ("ed25519", "rsa")]
        user = make_key(folder / "user_ed25519", "ed25519")
        shutil.copy(f"{user}.pub", folder / "authorized_keys")
        port = _free_port()
        lines = [f"[127.0.0.1]:{port} {Path(f'{key}.pub').read_text()}" for key in keys]
        (folder / "known_hosts").write_text("".join(lines))
        (folder / "config").write_text(_CONFIG.format(port=port, folder=folder, more=more))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen((program, "-D", "-e", "-f", folder / "config"), stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, (folder / "log").read_text()
            yield SftpServer(port, folder, process)
        finally:
            signal_family(family_of(process), signal.SIGTERM)
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
