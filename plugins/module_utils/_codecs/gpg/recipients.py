"""The recipients of GnuPG: full fingerprints of keys in a keyring."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.home import GpgHome
from ansible_collections.lastgood.database.plugins.module_utils._codecs.recipients_file import read_recipients
from ansible_collections.lastgood.database.plugins.module_utils._errors import ProgramFailed, RecipientInvalid
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, run

_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_LISTING = ("--with-colons", "--import-options", "show-only", "--import")
_EXPORT = ("--no-options", "--batch", "--no-tty", "--quiet", "--no-autostart", "--export", "--")
_INVALID = {"r": "is revoked", "e": "has expired", "d": "is disabled", "i": "is invalid"}
# Fields of gpg's listing. See doc/DETAILS in its sources.
_VALIDITY, _FINGERPRINT_FIELD, _CAPABILITIES = 1, 9, 11


@dataclass(frozen=True)
class GpgKey:
    """A primary key: its fingerprint, its validity, whether the whole key can encrypt, and whether it is private."""

    fingerprint: str
    validity: str
    encrypts: bool
    is_private: bool

    @property
    def problem(self) -> str | None:
        """Why nothing can be encrypted for it, None if it can be."""
        if self.validity in _INVALID:
            return _INVALID[self.validity]
        return None if self.encrypts else "has no valid subkey that encrypts"


def keyring_of(recipients: Recipients, home: GpgHome) -> bytes:
    """Return the keys in OpenPGP's format: the content of the file, else those of the fingerprints in the user's own keyring."""
    if recipients.file is not None:
        return read_recipients(recipients.file)
    wanted = fingerprints_of(recipients)
    if not wanted:
        raise RecipientInvalid("No recipient is given.", _remedy(recipients))
    # This alone runs in the user's own home. It starts no agent, and makes no home if the user has none.
    try:
        found = run(home.runner, Command((home.program, *_EXPORT, *wanted))).stdout
    except ProgramFailed as error:
        raise RecipientInvalid(f"The user's keyring can't be read: {error.problem}", _remedy(recipients)) from error
    if not found:
        raise RecipientInvalid(f"The user's keyring has none of the keys {', '.join(wanted)}.", _remedy(recipients))
    return found


def selected_from(recipients: Recipients, keyring: bytes, home: GpgHome) -> tuple[str, ...]:
    """Return the sorted fingerprints to encrypt for: the given ones, else all in the file. Raises RecipientInvalid."""
    keys = {key.fingerprint: key for key in _listed(recipients, keyring, home)}
    if any(key.is_private for key in keys.values()):
        raise RecipientInvalid(
            f"{recipients.file} has a private key.", "Take it away from the host, and write what gpg --export prints to it."
        )
    wanted = fingerprints_of(recipients) or tuple(sorted(keys))
    for fingerprint in wanted:
        where = recipients.file or "The user's keyring"
        if fingerprint not in keys:
            raise RecipientInvalid(f"{where} has no primary key {fingerprint}.", _remedy(recipients))
        problem = keys[fingerprint].problem
        if problem is not None:
            raise RecipientInvalid(
                f"The key {fingerprint} {problem}.", "Renew it (gpg --quick-set-expire), or give another one; then copy it anew."
            )
    return wanted


def fingerprints_of(recipients: Recipients) -> tuple[str, ...]:
    """Return the given fingerprints, sorted and without duplicates. Raises RecipientInvalid unless each is a full one."""
    found = set()
    for number, text in enumerate(recipients.texts, 1):
        fingerprint = "".join(text.split()).upper()
        if _FINGERPRINT.fullmatch(fingerprint) is None:
            raise RecipientInvalid(
                f"Recipient {number} is no full fingerprint.",  # its text may be a secret
                "Give the 40 hexadecimal digits that gpg --fingerprint prints: a shorter id or an address can be another key's.",
            )
        found.add(fingerprint)
    return tuple(sorted(found))


def _listed(recipients: Recipients, keyring: bytes, home: GpgHome) -> t.Iterator[GpgKey]:
    """Yield the primary keys of a keyring, which gpg lists without importing them."""
    try:
        listing = home.feed(keyring, *_LISTING).stdout.decode("utf-8", "replace")
    except ProgramFailed as error:
        raise RecipientInvalid(
            f"gpg can't read {recipients.file or 'its own export'}: {error.problem}", _remedy(recipients)
        ) from error
    primary: list[str] = []
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sec"):
            primary = fields
        elif fields[0] == "fpr" and primary:
            capabilities, is_private = primary[_CAPABILITIES], primary[0] == "sec"
            yield GpgKey(fields[_FINGERPRINT_FIELD], primary[_VALIDITY], "E" in capabilities, is_private)
            primary = []


def _remedy(recipients: Recipients) -> str:
    if recipients.file is None:
        return "Import the keys for that user, or give them as recipients_file, a file that gpg --export wrote."
    return "Write what gpg --export prints for the fingerprint to the file."
