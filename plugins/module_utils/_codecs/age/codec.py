"""Encrypts with age: by the Python library pyrage if it can be imported, else by the program age. Both write the same format."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.recipients import AgeRecipient, recipients_from
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    Codec,
    Encoder,
    EncryptionCodec,
    Recipients,
    Write,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.pulling import Input, Output, PullingCodec
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ProgramFailed,
    ProgramMissing,
    RecipientInvalid,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run


@dataclass(frozen=True)
class AgeCodec:
    """Encrypts for the recipients, by the library or by the program."""

    codec: Codec
    recipients: tuple[str, ...]

    @property
    def tool(self) -> str:
        return self.codec.tool

    def encoding(self, write: Write) -> t.ContextManager[Encoder]:
        return self.codec.encoding(write)


def age_codec(recipients: Recipients, runner: Runner) -> EncryptionCodec:
    """Return the best way to encrypt with age that the host has. Raises ProgramMissing and RecipientInvalid."""
    found = recipients_from(recipients)
    codec = _pyrage(found) or _program(found, runner)
    if codec is None:
        raise ProgramMissing(
            "encryption=age needs the program age or the Python library pyrage, and this host has neither.",
            "Install the package age (Debian, Ubuntu, Fedora and Alpine call it so), or pyrage with pip.",
        )
    return AgeCodec(codec, tuple(recipient.id for recipient in found))


def _pyrage(recipients: tuple[AgeRecipient, ...]) -> Codec | None:
    try:
        import pyrage
    except ImportError:
        return None
    if not hasattr(pyrage, "encrypt_io"):  # versions before 1.2 have no streams
        return None

    keys: list[t.Any] = []
    for recipient in recipients:
        kind = pyrage.x25519 if recipient.text.startswith("age1") else pyrage.ssh
        try:
            keys.append(kind.Recipient.from_str(recipient.text))
        except pyrage.RecipientError as error:
            raise RecipientInvalid(f"pyrage refuses the recipient {recipient.id}: {error}.", "Give another key.") from error

    def encrypt(source: Input, sink: Output) -> None:
        try:
            pyrage.encrypt_io(source, sink, keys)
        except pyrage.EncryptError as error:
            raise ProgramFailed(f"pyrage could not encrypt: {error}.", "Install it anew, or use the program age.") from error

    return PullingCodec(f"pyrage {_version_of_pyrage()}".rstrip(), encrypt)


def _version_of_pyrage() -> str:
    from importlib.metadata import PackageNotFoundError, version  # pyrage does not report its version

    try:
        return version("pyrage")
    except PackageNotFoundError:
        return ""


def _program(recipients: tuple[AgeRecipient, ...], runner: Runner) -> Codec | None:
    program = runner.find_program("age")
    if program is None:
        return None
    words = run(runner, Command((program, "--version"))).stdout.decode("utf-8", "replace").split()
    options = [word for recipient in recipients for word in ("--recipient", recipient.text)]
    return ProgramCodec(f"age {words[0] if words else ''}".rstrip(), runner, (program, "--encrypt", *options))
