"""Keys of age, SSH and GnuPG, made by the programs that operators use, and files that these programs encrypt."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import functools
import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PASSPHRASE = "open sesame, please"


@dataclass(frozen=True)
class KeyPair:
    """A private key, its public half for the program that encrypts, and its id in manifests."""

    secret: str
    public: str
    id: str


def age_key(number: int = 1) -> KeyPair:
    """Return a native key of age. Each number has a key of its own."""
    return _age_key(number)


@functools.cache
def _age_key(number: int) -> KeyPair:
    del number
    secret = _run("age-keygen")
    public = _run("age-keygen", "-y", data=secret.encode()).strip()
    return KeyPair(secret, public, public)


@functools.cache
def ssh_key(passphrase: str = "") -> KeyPair:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path))
        public = path.with_suffix(".pub").read_text(encoding="utf-8")
        digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
        return KeyPair(path.read_text(encoding="utf-8"), public, "SHA256:" + base64.b64encode(digest).decode().rstrip("="))


def gpg_key(number: int = 1, passphrase: str = "") -> KeyPair:
    """Return a key of GnuPG, as armored text. Each number has a key of its own."""
    return _gpg_key(number, passphrase)


@functools.cache
def _gpg_key(number: int, passphrase: str) -> KeyPair:
    with tempfile.TemporaryDirectory() as home:
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", passphrase)
        try:
            _run(*gpg, "--quick-gen-key", f"Key {number} <{number}@example.org>", "ed25519", "cert", "never")
            listing = _run(*gpg, "--with-colons", "--list-keys")
            fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
            _run(*gpg, "--quick-add-key", fingerprint, "cv25519", "encr", "never")
            secret = _run(*gpg, "--armor", "--export-secret-keys")
            return KeyPair(secret, _run(*gpg, "--armor", "--export"), fingerprint)
        finally:
            _run("gpgconf", "--homedir", home, "--kill", "all")


def age_encrypt(data: bytes, *keys: KeyPair) -> bytes:
    recipients = [word for key in keys for word in ("--recipient", key.public.strip())]
    return subprocess.run(["age", *recipients], input=data, capture_output=True, check=True).stdout


def gpg_encrypt(data: bytes, *keys: KeyPair) -> bytes:
    with tempfile.TemporaryDirectory() as home:
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--no-autostart", "--trust-model", "always")
        for key in keys:
            subprocess.run([*gpg, "--import"], input=key.public.encode(), capture_output=True, check=True)
        recipients = [word for key in keys for word in ("--recipient", key.id)]
        arguments = [*gpg, "--compress-algo", "none", *recipients, "--encrypt"]
        return subprocess.run(arguments, input=data, capture_output=True, check=True).stdout


def _run(*command: str, data: bytes = b"") -> str:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()
