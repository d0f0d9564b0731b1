"""The recipients of age: its own public keys, and SSH's. https://age-encryption.org/v1"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.recipients_file import read_recipients
from ansible_collections.lastgood.database.plugins.module_utils._errors import RecipientInvalid

_PREFIX = "age1"
_SSH_TYPES = ("ssh-ed25519", "ssh-rsa")
_PRIVATE = ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY-----")
_LEAST_RSA_BITS = 2048  # age encrypts for no smaller key
_ED25519_BYTES = 32
_REMEDY = "Give public keys as age-keygen -y prints them (age1...), or lines of SSH public keys (ssh-ed25519, ssh-rsa)."


@dataclass(frozen=True)
class AgeRecipient:
    """A public key: its text for age, and its id: the same text, or an SSH key's fingerprint as ssh-keygen -l prints it."""

    text: str
    id: str


def recipients_from(recipients: Recipients) -> tuple[AgeRecipient, ...]:
    """Return the recipients, sorted by id and without duplicates. Raises RecipientInvalid."""
    found: dict[str, AgeRecipient] = {}
    for place, text in _texts(recipients):
        recipient = _parse(text, place)
        found[recipient.id] = recipient
    if not found:
        raise RecipientInvalid("No recipient is given.", _REMEDY)
    return tuple(found[name] for name in sorted(found))


def _texts(recipients: Recipients) -> t.Iterator[tuple[str, str]]:
    """Yield each recipient as its place in the option or file, for messages, and its text."""
    for number, text in enumerate(recipients.texts, 1):
        yield f"Recipient {number}", text.strip()
    if recipients.file is not None:
        for number, line in enumerate(read_recipients(recipients.file).decode("utf-8", "replace").splitlines(), 1):
            if line.strip() and not line.strip().startswith("#"):
                yield f"Line {number} of {recipients.file}", line.strip()


def _parse(text: str, place: str) -> AgeRecipient:
    if any(word in text.upper() for word in _PRIVATE):
        raise RecipientInvalid(f"{place} is a private key.", f"Take it away from the host: {_REMEDY}")
    words = text.split()
    if len(words) >= 2 and words[0] in _SSH_TYPES:
        return _parse_ssh(words[0], words[1], place)
    if len(words) == 1 and text.startswith(_PREFIX) and _is_x25519(text):
        return AgeRecipient(text, text)
    raise RecipientInvalid(f"{place} is no public key of age or SSH.", _REMEDY)  # its text may be a secret


def _parse_ssh(kind: str, encoded: str, place: str) -> AgeRecipient:
    try:
        blob = base64.b64decode(encoded, validate=True)
        name, *numbers = _fields(blob)
    except (binascii.Error, ValueError, struct.error) as error:
        raise RecipientInvalid(f"{place} is a damaged SSH public key.", _REMEDY) from error
    if name != kind.encode() or len(numbers) != (1 if kind == "ssh-ed25519" else 2):
        raise RecipientInvalid(f"{place} is a damaged SSH public key.", _REMEDY)
    if kind == "ssh-ed25519" and len(numbers[0]) != _ED25519_BYTES:
        raise RecipientInvalid(f"{place} is a damaged SSH public key.", _REMEDY)
    bits = int.from_bytes(numbers[-1], "big").bit_length()
    if kind == "ssh-rsa" and bits < _LEAST_RSA_BITS:
        raise RecipientInvalid(f"{place} is an RSA key of {bits} bits, and age needs {_LEAST_RSA_BITS}.", "Use a larger key.")
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return AgeRecipient(f"{kind} {encoded}", f"SHA256:{fingerprint}")


def _fields(blob: bytes) -> list[bytes]:
    """Return the strings of an SSH public key, RFC 4253, 6.6."""
    fields, rest = [], blob
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        if len(rest) < 4 + length:
            raise ValueError("a field is cut")
        fields.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return fields or [b""]


# Bech32 (BIP 173), without its limit on the length.
_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_X25519_CHARACTERS = 52 + 6  # 32 bytes in groups of 5 bits, and the checksum


def _is_x25519(text: str) -> bool:
    """Return whether a text is a public key of age with the right checksum."""
    human, data = text[: len(_PREFIX) - 1], text[len(_PREFIX) :]
    if len(data) != _X25519_CHARACTERS or any(character not in _ALPHABET for character in data):
        return False
    values = [ord(character) >> 5 for character in human] + [0] + [ord(character) & 31 for character in human]
    values += [_ALPHABET.index(character) for character in data]
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum == 1
