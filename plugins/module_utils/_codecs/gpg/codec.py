"""Encrypts with OpenPGP, by the program gpg in a temporary home."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    Encoder,
    EncryptionCodec,
    Recipients,
    Write,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.home import find_gpg, gpg_home
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.recipients import keyring_of, selected_from
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run

# The content is already compressed, and the input's name is only a number in /dev/fd.
_ENCRYPT = ("--compress-algo", "none", "--set-filename", "", "--output", "-", "--encrypt")


@dataclass(frozen=True)
class GpgCodec:
    """Encrypts for the recipients, whose keys are in a keyring."""

    tool: str
    recipients: tuple[str, ...]
    runner: Runner
    program: str
    keyring: bytes = field(repr=False)

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        with gpg_home(self.runner, self.program) as home:
            home.feed(self.keyring, "--import")
            options = [word for fingerprint in self.recipients for word in ("--recipient", fingerprint)]
            program = ProgramCodec(self.tool, self.runner, home.command(*_ENCRYPT, *options, "--"))
            with program.encoding(write) as encoder:
                yield encoder


def gpg_codec(recipients: Recipients, runner: Runner) -> EncryptionCodec:
    """Return the way to encrypt with gpg. Raises ProgramMissing and RecipientInvalid."""
    program = find_gpg(runner, "encryption=gpg")
    with gpg_home(runner, program) as home:
        keyring = keyring_of(recipients, home)
        selected = selected_from(recipients, keyring, home)
    version = run(runner, Command((program, "--version"))).stdout.decode("utf-8", "replace").split("\n", 1)[0].split()
    return GpgCodec(f"gpg {version[-1] if version else ''}".rstrip(), selected, runner, program, keyring)
