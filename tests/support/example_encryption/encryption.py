"""The smallest encryption: it adds the length of a word to each byte, and hides nothing.

docs/architecture.md, "Add a codec", refers to it. Its place in the collection is ``_codecs/shift/encryption.py``.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    Decoding,
    Encoder,
    EncryptionCodec,
    Identity,
    Recipients,
    Write,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainEncoder
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


@dataclass(frozen=True)
class ShiftCodec:
    """Adds a number to each byte, or takes it away."""

    shift: int
    recipients: tuple[str, ...] = ()
    tool: str = "shift 1"

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        table = bytes((byte + self.shift) % 256 for byte in range(256))
        yield PlainEncoder(lambda data: write(bytes(data).translate(table)))

    decoding = encoding


class ShiftEncryption:
    """The encryption ``shift``."""

    name: t.ClassVar[str] = "shift"
    suffix: t.ClassVar[str] = ".shift"

    def codec(self, recipients: Recipients, runner: Runner) -> EncryptionCodec:
        return ShiftCodec(len(recipients.texts[0]), recipients.texts)

    def decoding(self, identity: Identity, runner: Runner) -> Decoding:
        return ShiftCodec(-len((identity.text or "").strip()))

    def opened_by(self, identity: Identity, beginning: bytes, runner: Runner) -> tuple[str, ...]:
        return ((identity.text or "").strip(),)
