"""Keys of age, SSH and GnuPG, made by the programs that operators use, and what these programs encrypt and decrypt."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PASSPHRASE = "open sesame, please"


@dataclass(frozen=True)
class KeyPair:
    """A private key, its public half for the program that encrypts, and its id in manifests."""

    secret: str
    public: str
    id: str

    def decrypt(self, payload: bytes) -> bytes:
        """Decrypt by the program age."""
        with tempfile.NamedTemporaryFile() as identity:
            identity.write(self.secret.encode())
            identity.flush()
            return _run("/usr/bin/age", "--decrypt", "--identity", identity.name, data=payload)


def age_key(number: int = 1) -> KeyPair:
    """Return a native key of age. Each number has a key of its own."""
    return _age_key(number)


@functools.cache
def _age_key(number: int) -> KeyPair:
    del number
    secret = _run("age-keygen").decode()
    public = _run("age-keygen", "-y", data=secret.encode()).decode().strip()
    return KeyPair(secret, public, public)


@functools.cache
def ssh_key(passphrase: str = "", kind: str = "ed25519") -> KeyPair:
    """Return a key of SSH, of the kind ed25519 or rsa."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key")
        _run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "a comment", "-f", str(path))
        public = path.with_suffix(".pub").read_text(encoding="utf-8").strip()
        fingerprint = _run("ssh-keygen", "-lf", str(path.with_suffix(".pub"))).decode().split()[1]
        return KeyPair(path.read_text(encoding="utf-8"), public, fingerprint)


def gpg_key(number: int = 1, passphrase: str = "") -> KeyPair:
    """Return a key of GnuPG, as armored text. Each number has a key of its own."""
    return _gpg_key(number, passphrase)


@functools.cache
def _gpg_key(number: int, passphrase: str) -> KeyPair:
    with gpg_keys() as keys:
        protected = ("--pinentry-mode", "loopback", "--passphrase", passphrase)
        user = f"Key {number} <{number}@example.org>"
        keys.gpg(*protected, "--quick-gen-key", user, "ed25519", "cert", "never")
        fingerprint = keys.listed(user)
        keys.gpg(*protected, "--quick-add-key", fingerprint, "cv25519", "encr", "never")
        secret = keys.gpg(*protected, "--armor", "--export-secret-keys")
        return KeyPair(secret.decode(), keys.gpg("--armor", "--export").decode(), fingerprint)


def age_encrypt(data: bytes, *keys: KeyPair) -> bytes:
    return _run("age", *(word for key in keys for word in ("--recipient", key.public)), data=data)


def gpg_encrypt(data: bytes, *keys: KeyPair) -> bytes:
    with gpg_keys(*(key.public.encode() for key in keys)) as home:
        recipients = [word for key in keys for word in ("--recipient", key.id)]
        return home.gpg("--trust-model", "always", "--compress-algo", "none", *recipients, "--encrypt", data=data)


class GpgKeys:
    """A GnuPG home with private keys, one for each name."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._fingerprints: dict[str, str] = {}

    def gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        """Run gpg in the home, and return what it prints."""
        return _run("gpg", "--homedir", str(self.home), "--batch", "--no-tty", "--quiet", *arguments, data=data)

    def listed(self, user: str) -> str:
        """Return the fingerprint of a user's key."""
        listing = self.gpg("--with-colons", "--list-keys", user).decode().splitlines()
        return next(line.split(":")[9] for line in listing if line.startswith("fpr:"))

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
        fingerprint = self.listed(f"{name}@example.org")
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
def gpg_keys(*keys: bytes) -> Iterator[GpgKeys]:
    """Make a GnuPG home with these keys. Its path is short, since it has the sockets of an agent."""
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="gpg-"))
    try:
        made = GpgKeys(home)
        for key in keys:
            made.gpg("--import", data=key)
        yield made
    finally:
        subprocess.run(("gpgconf", "--homedir", str(home), "--kill", "all"), check=True)
        with contextlib.suppress(FileNotFoundError):  # the agent removes its sockets as it ends
            shutil.rmtree(home)
        shutil.rmtree(home, ignore_errors=True)


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


def _run(*command: str, data: bytes = b"") -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout
