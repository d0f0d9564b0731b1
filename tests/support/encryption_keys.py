"""Keys for encrypted backups: made by the programs that an operator has, and what decrypts with them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class KeyPair(NamedTuple):
    """The public key of somebody, and the file with the private one."""

    recipient: str
    identity: Path

    def decrypt(self, payload: bytes) -> bytes:
        """Decrypt by the program age."""
        command = ("/usr/bin/age", "--decrypt", "--identity", str(self.identity))
        return subprocess.run(command, input=payload, capture_output=True, check=True).stdout


def age_key(folder: Path, name: str) -> KeyPair:
    """Make a key of age."""
    file = folder / name
    subprocess.run(("age-keygen", "-o", str(file)), capture_output=True, check=True)
    made = subprocess.run(("age-keygen", "-y", str(file)), capture_output=True, check=True)
    return KeyPair(made.stdout.decode().strip(), file)


def ssh_key(folder: Path, name: str, kind: str = "ed25519") -> KeyPair:
    """Make a key of SSH, of the kind ed25519 or rsa."""
    file = folder / name
    subprocess.run(("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a comment", "-f", str(file)), check=True)
    return KeyPair(file.with_name(f"{name}.pub").read_text(encoding="utf-8").strip(), file)


class GpgKeys:
    """A GnuPG home with private keys, one for each name."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._fingerprints: dict[str, str] = {}

    def gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        """Run gpg in the home, and return what it prints."""
        command = ("gpg", "--homedir", str(self.home), "--batch", "--no-tty", "--quiet", *arguments)
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of the key with the name, and make it if it is new.

        The keys named expired, revoked and signing are no use for encryption.
        """
        if name not in self._fingerprints:
            self._fingerprints[name] = self._make(name)
        return self._fingerprints[name]

    def _make(self, name: str) -> str:
        unprotected = ("--passphrase", "", "--quick-generate-key", f"{name}@example.org")
        if name == "expired":
            self.gpg("--faked-system-time", "20200101T000000", *unprotected, "future-default", "default", "1d")
        elif name == "signing":
            self.gpg(*unprotected, "ed25519", "sign", "never")
        else:
            self.gpg(*unprotected, "future-default", "default", "never")
        listing = self.gpg("--with-colons", "--list-keys", f"{name}@example.org").decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listing if line.startswith("fpr:"))
        if name == "revoked":
            revocation = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
            self.gpg("--import", data=revocation.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
        return fingerprint

    def public(self, *names: str) -> bytes:
        """Return the public keys, as ``gpg --export`` prints them."""
        return self.gpg("--export", *(self.fingerprint(name) for name in names))

    def private(self, name: str) -> bytes:
        return self.gpg("--passphrase", "", "--pinentry-mode", "loopback", "--export-secret-keys", self.fingerprint(name))

    def alone(self, name: str) -> contextlib.AbstractContextManager[GpgKeys]:
        """Make a home that has the private key of this name, and no other one."""
        return gpg_keys(self.private(name))

    def decrypt(self, payload: bytes) -> bytes:
        return self.gpg("--decrypt", data=payload)


@contextlib.contextmanager
def gpg_keys(keys: bytes = b"") -> Iterator[GpgKeys]:
    """Make a GnuPG home, with keys if some are given. Its path is short, since it has the sockets of an agent."""
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="gpg-"))
    try:
        made = GpgKeys(home)
        if keys:
            made.gpg("--import", data=keys)
        yield made
    finally:
        subprocess.run(("gpgconf", "--homedir", str(home), "--kill", "all"), check=True)
        shutil.rmtree(home)


def gpg_processes() -> set[str]:
    """Return the command lines of the daemons of GnuPG that this worker's tests started, except those of our own homes."""
    found = set()
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if not _is_of_this_worker(Path("/proc", entry, "environ").read_bytes()):
                continue
            words = Path("/proc", entry, "cmdline").read_bytes().decode().split("\0")
            if Path(words[0]).name in ("gpg-agent", "keyboxd", "dirmngr", "scdaemon") and "/tmp/gpg-" not in " ".join(words):
                found.add(" ".join(words))
    return found


def _is_of_this_worker(environment: bytes) -> bool:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return worker is None or f"PYTEST_XDIST_WORKER={worker}".encode() in environment.split(b"\0")
