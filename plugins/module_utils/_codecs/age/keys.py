"""The single keys in an identity for age: age's own ones, or one SSH key.

pyrage opens an identity file that age encrypted with a passphrase. The program age would ask for the passphrase at a terminal.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import functools
import hashlib

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._codecs.identities import read_identity
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    KeyUnreadable,
    LibraryMissing,
    PassphraseWrong,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import secret_file
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run

_PROTECTED = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_PEM = b"-----BEGIN "
_NATIVE = ("AGE-SECRET-KEY-", "AGE-PLUGIN-")
_OPENSSH = b"openssh-key-v1\0"
_REMEDY = "Give a file that age-keygen wrote, or a private key of SSH."


@functools.lru_cache(maxsize=1)  # a passphrase takes a second and 256 MiB, and each backup needs the keys
def keys_of(identity: Identity) -> tuple[bytes, ...]:
    """Return each key as the text of an identity file. Raises KeyUnreadable or PassphraseWrong, whose messages show no key."""
    data = read_identity(identity)
    if data.startswith(_PROTECTED):
        data = _opened(data, identity)
    if data.lstrip().startswith(_PEM):
        _check_open(data, identity)
        return (data,)
    return _native(data, identity)


def _opened(data: bytes, identity: Identity) -> bytes:
    try:
        import pyrage
    except ImportError as error:
        raise LibraryMissing(
            f"{identity.name} is protected by a passphrase, and this host lacks the Python library pyrage, which opens it.",
            "Install pyrage there, or give the identity without a passphrase (age -d prints it).",
            library="pyrage",
        ) from error
    if identity.passphrase is None:
        raise PassphraseWrong(f"{identity.name} is protected by a passphrase.", "Give identity_passphrase.")
    try:
        return bytes(pyrage.passphrase.decrypt(data, identity.passphrase))
    except pyrage.DecryptError:
        raise PassphraseWrong(
            f"identity_passphrase does not open {identity.name}, or that is damaged.", "Correct identity_passphrase."
        ) from None


def _check_open(data: bytes, identity: Identity) -> None:
    """Raise PassphraseWrong for an SSH key with a passphrase, which neither age nor pyrage accepts from another program."""
    lines = data.strip().splitlines()
    is_protected = b"ENCRYPTED" in lines[0] or any(line.startswith(b"Proc-Type:") for line in lines)
    if b"OPENSSH" in lines[0]:
        try:
            container = base64.b64decode(b"".join(lines[1:-1]), validate=True)
        except binascii.Error:
            raise KeyUnreadable(f"{identity.name} is a damaged private key of SSH.", _REMEDY) from None
        is_protected = not container.startswith(_OPENSSH + b"\0\0\0\4none")
    if is_protected:
        raise PassphraseWrong(
            f"{identity.name} is a private key of SSH that is protected by a passphrase, which age does not take from a task.",
            "Give a copy without a passphrase (ssh-keygen -p), and protect that with Ansible Vault.",
        )


def _native(data: bytes, identity: Identity) -> tuple[bytes, ...]:
    keys = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not line.startswith(_NATIVE):
            raise KeyUnreadable(f"Line {number} of {identity.name} is no identity of age.", _REMEDY)
        keys.append(line.encode() + b"\n")
    if not keys:
        raise KeyUnreadable(f"{identity.name} has no identity of age.", _REMEDY)
    return tuple(keys)


def id_of(key: bytes, runner: Runner) -> str:
    """Return the id by which manifests name the key as a recipient: age's public key, or the fingerprint of an SSH key.

    If the host can't compute the public key, this returns the kind of key.
    """
    if key.lstrip().startswith(_PEM):
        return _fingerprint(key)
    return _public_by_pyrage(key) or _public_by_program(key, runner) or "age"


def _fingerprint(key: bytes) -> str:
    """Return the fingerprint of an SSH key. OpenSSH's container has the public key near its beginning."""
    lines = key.strip().splitlines()
    if b"OPENSSH" not in lines[0]:
        return "ssh"
    rest = base64.b64decode(b"".join(lines[1:-1]))[len(_OPENSSH) :]
    for _field in ("cipher", "key derivation", "its options"):
        rest = rest[4 + int.from_bytes(rest[:4], "big") :]
    public = rest[8 : 8 + int.from_bytes(rest[4:8], "big")]  # after the number of keys, which is 1
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def _public_by_pyrage(key: bytes) -> str | None:
    try:
        import pyrage

        return str(pyrage.x25519.Identity.from_str(key.decode().strip()).to_public())
    except ImportError:
        return None
    except pyrage.IdentityError:
        return None


def _public_by_program(key: bytes, runner: Runner) -> str | None:
    program = runner.find_program("age-keygen")
    if program is None:
        return None
    with secret_file(key) as descriptor:
        command = Command((program, "-y", f"/dev/fd/{descriptor}"), descriptors=(descriptor,))
        try:
            return run(runner, command).stdout.decode().strip() or None
        except ProgramFailed:  # such as a key of a plugin
            return None
