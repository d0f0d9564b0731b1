"""Private keys: ed25519, ECDSA and RSA, as OpenSSH or PEM, with a passphrase or without."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import io
import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import KeyUnreadable, PassphraseWrong

if t.TYPE_CHECKING:
    from paramiko.pkey import PKey

_LARGEST_KEY = 64 * 1024
_OPENSSH = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", re.DOTALL)


def read_key_file(path: str, passphrase: str | None) -> PKey:
    """Return the key in a file."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_KEY)
    except FileNotFoundError as error:
        raise KeyUnreadable(
            f"The private key {path} does not exist.",
            "Create it as the user who runs the task, with ssh-keygen, or correct private_key_file.",
        ) from error
    except OSError as error:
        raise KeyUnreadable(
            f"The private key {path} can't be read: {error.strerror}.",
            "Correct its owner and mode, or private_key_file.",
        ) from error
    return read_key(data, path, passphrase)


def read_key(data: bytes, title: str, passphrase: str | None) -> PKey:
    """Return the key in a text. No message contains any of it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from paramiko import ECDSAKey, Ed25519Key, RSAKey, SSHException

    data = data.strip() + b"\n"  # a text in YAML often lacks the end of its last line
    locked = _is_locked(data)
    if locked and not passphrase:
        raise PassphraseWrong(f"The private key {title} needs a passphrase.", "Give it as key_passphrase.")
    secret = passphrase.encode() if locked and passphrase else None
    load = serialization.load_ssh_private_key if _OPENSSH.search(data) else serialization.load_pem_private_key
    try:
        found = load(data, secret)
        text = found.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode()
        for kind, ours in ((Ed25519PrivateKey, Ed25519Key), (EllipticCurvePrivateKey, ECDSAKey), (RSAPrivateKey, RSAKey)):
            if isinstance(found, kind):
                return ours.from_private_key(io.StringIO(text))
    except (ValueError, TypeError, UnsupportedAlgorithm, SSHException):
        if locked:
            raise PassphraseWrong(
                f"The private key {title} does not open with the passphrase.", "Correct key_passphrase."
            ) from None
    raise KeyUnreadable(
        f"{title} is no private key that can be used.", "Give an ed25519, ECDSA or RSA key in OpenSSH's format or as PEM."
    )


def _is_locked(data: bytes) -> bool:
    found = _OPENSSH.search(data)
    if found is None:
        return b"ENCRYPTED" in data
    try:
        raw = base64.b64decode(found[1])
    except binascii.Error:
        return False
    return raw[15:].startswith(b"\0\0\0\4none") is False
