"""Finds the session key of a payload of GnuPG by a private key, which is in a temporary home for a moment only.

The home is removed, with its agent, as soon as the session key is known. The session key alone then decrypts the payload.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.agent import home_with_agent
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.home import GpgHome
from ansible_collections.lastgood.database.plugins.module_utils._codecs.identities import read_identity
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    IdentityWrong,
    KeyUnreadable,
    PassphraseWrong,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import secret_file
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run

_SECONDS = 60.0
_BAD_PASSPHRASE = (11, 177)  # libgpg-error's codes for a bad and a missing passphrase; the upper bits of an error have its source
_CODE_BITS = 0xFFFF
_SECRETS_READ = 10  # the field of IMPORT_RES, doc/DETAILS in GnuPG's sources
_SECRET = re.compile(r"[0-9A-Fa-f]{32}")


def without_secrets(words: str) -> str:
    """Return gpg's messages without the lines that may have a session key."""
    return "\n".join(line for line in words.splitlines() if not _SECRET.search(line))


class Statuses:
    """The lines that gpg writes to the file of --status-fd: a protocol that does not depend on the user's language."""

    def __init__(self, data: bytes) -> None:
        lines = data.decode("utf-8", "replace").splitlines()
        self._lines = [line.split()[1:] for line in lines if line.startswith("[GNUPG:] ")]

    def all(self, name: str) -> list[list[str]]:
        """Return the fields of each line with this name. The name is the first field."""
        return [fields for fields in self._lines if fields and fields[0] == name]

    def has(self, name: str) -> bool:
        return bool(self.all(name))


def read_statuses(descriptor: int) -> Statuses:
    """Return the status lines in a file in memory."""
    return Statuses(os.pread(descriptor, os.fstat(descriptor).st_size, 0))


@dataclass(frozen=True)
class Opened:
    """The session key of a payload, and the fingerprints of the identity's keys that the payload is encrypted for."""

    session_key: str = field(repr=False)
    fingerprints: tuple[str, ...]


def open_payload(identity: Identity, beginning: bytes, runner: Runner) -> Opened:
    """Open the payload with this beginning. Raises IdentityWrong, KeyUnreadable, PassphraseWrong and ContentInvalid."""
    secret = read_identity(identity)
    with home_with_agent(runner, "A backup that is encrypted with gpg") as home:
        _import(home, secret, identity)
        statuses = _decrypt_beginning(home, beginning, identity)
        keys = statuses.all("SESSION_KEY")
        if not keys:
            raise _reason(statuses, identity)
        return Opened(keys[0][1], _fingerprints(home, statuses))


def _import(home: GpgHome, secret: bytes, identity: Identity) -> None:
    with secret_file(secret) as file, secret_file(b"") as status:
        arguments = ("--status-fd", str(status), "--import", f"/dev/fd/{file}")
        failed = _run(home, arguments, (file, status))
        results = read_statuses(status).all("IMPORT_RES")
    secrets = int(results[0][_SECRETS_READ]) if results and len(results[0]) > _SECRETS_READ else 0
    if secrets:
        return
    if failed is not None and not results:
        raise failed
    raise KeyUnreadable(
        f"{identity.name} has no private key of OpenPGP.", "Give what gpg --export-secret-keys --armor prints for the key."
    )


def _decrypt_beginning(home: GpgHome, beginning: bytes, identity: Identity) -> Statuses:
    """Decrypt the beginning, so that gpg reports the session key. gpg always fails, because the rest is missing."""
    passphrase = (identity.passphrase or "").encode()
    with secret_file(beginning) as file, secret_file(passphrase) as secret, secret_file(b"") as status:
        os.lseek(secret, 0, os.SEEK_SET)
        unlock = ("--status-fd", str(status), "--pinentry-mode", "loopback", "--passphrase-fd", str(secret))
        show = ("--show-session-key", "--output", "/dev/null", "--yes", "--decrypt", f"/dev/fd/{file}")
        _run(home, (*unlock, *show), (file, secret, status))
        return read_statuses(status)


def _run(home: GpgHome, arguments: tuple[str, ...], descriptors: tuple[int, ...]) -> ProgramFailed | None:
    """Run gpg, and return its failure. The caller reads the statuses, which say more than the exit status."""
    command = Command(home.command(*arguments), descriptors=descriptors, seconds=_SECONDS, reportable=without_secrets)
    try:
        run(home.runner, command)
    except ProgramFailed as error:
        if error.details["exit_status"] < 0:
            raise
        return error
    return None


def _reason(statuses: Statuses, identity: Identity) -> BackupError:
    """Return why gpg found no session key."""
    recipients = [fields[1] for fields in statuses.all("ENC_TO")]
    if not recipients:
        return ContentInvalid(
            "The encrypted stream is broken: it is no message of OpenPGP.", "Take another backup, or another copy."
        )
    if statuses.has("DECRYPTION_KEY"):
        return ContentInvalid("The encrypted stream ends within its header.", "Take another backup, or another copy of this one.")
    errors = [int(fields[2]) & _CODE_BITS for fields in statuses.all("ERROR") if len(fields) > 2 and fields[2].isdecimal()]
    if any(code in _BAD_PASSPHRASE for code in errors):
        if identity.passphrase is None:
            return PassphraseWrong(f"{identity.name} is protected by a passphrase.", "Give identity_passphrase.")
        return PassphraseWrong(f"identity_passphrase does not open {identity.name}.", "Correct identity_passphrase.")
    return IdentityWrong(
        f"{identity.name} does not open it: it is encrypted for the keys {', '.join(recipients)}.",
        "Give the identity of one of its recipients.",
    )


def _fingerprints(home: GpgHome, statuses: Statuses) -> tuple[str, ...]:
    """Return the primary keys of the identity that the payload is encrypted for."""
    recipients = {fields[1] for fields in statuses.all("ENC_TO")}
    found = {fields[2] for fields in statuses.all("DECRYPTION_KEY")}
    listing = run(home.runner, Command(home.command("--with-colons", "--list-secret-keys"), seconds=_SECONDS)).stdout
    for primary, ids in _secret_keys(listing.decode("utf-8", "replace")):
        if recipients & ids:
            found.add(primary)
    return tuple(sorted(found))


def _secret_keys(listing: str) -> t.Iterator[tuple[str, set[str]]]:
    """Yield the fingerprint of each primary key, and the ids of it and its subkeys."""
    primary, ids = "", set[str]()
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] == "sec":
            if primary:
                yield primary, ids
            primary, ids = "", {fields[4]}
        elif fields[0] == "ssb":
            ids.add(fields[4])
        elif fields[0] == "fpr" and not primary:
            primary = fields[9]
    if primary:
        yield primary, ids
