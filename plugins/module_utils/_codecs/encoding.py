"""The encoding of a dump as a payload: content → compression → encryption → payload.

Names, manifests and operations share an Encoding, which is data; a PayloadCodec does the work.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec, Decoding, Encoder, Level, Write
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS, ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner


@dataclass(frozen=True)
class Encoding:
    """A compression and an encryption, by their names. Raises ArgumentInvalid for an unknown one."""

    compression: str
    encryption: str | None = None

    def __post_init__(self) -> None:
        _check("compression", self.compression, COMPRESSIONS)
        if self.encryption is not None:
            _check("encryption", self.encryption, ENCRYPTIONS)

    @property
    def encrypted(self) -> bool:
        return self.encryption is not None

    @property
    def suffix(self) -> str:
        """The end of the file name of a payload, such as ``.gz.age``. Each encoding has its own."""
        compression = COMPRESSIONS[self.compression].suffix
        return compression if self.encryption is None else compression + ENCRYPTIONS[self.encryption]


@dataclass(frozen=True)
class PayloadCodec:
    """Makes payloads of an encoding, by what the host has."""

    encoding: Encoding
    compression: Codec

    @property
    def compressor(self) -> str:
        """The library or program that compresses, with its version, for the manifest."""
        return self.compression.compressor

    def encode(self, write: Write) -> t.ContextManager[Encoder]:
        """Begin a payload, whose bytes go to ``write``. Leaving it without ``finish`` cancels the work."""
        return self.compression.encoding(write)


def codec_for(encoding: Encoding, level: Level, runner: Runner) -> PayloadCodec:
    """Return the way to make payloads of an encoding. Raises LibraryMissing if the host has none."""
    _check_readable(encoding)
    return PayloadCodec(encoding, COMPRESSIONS[encoding.compression].codec(level, runner))


def decoder_for(encoding: Encoding, runner: Runner) -> Decoding:
    """Return the way to read payloads of an encoding. Raises LibraryMissing if the host has none."""
    _check_readable(encoding)
    return COMPRESSIONS[encoding.compression].decoding(runner)


def _check_readable(encoding: Encoding) -> None:
    if encoding.encrypted:
        raise ArgumentInvalid(
            f"A payload that is encrypted ({encoding.encryption}) can neither be made nor read.", "Decrypt it first."
        )


def _check(kind: str, name: str, known: t.Collection[str]) -> None:
    if name not in known:
        raise ArgumentInvalid(f"{kind} is {name}, which is unknown.", f"Give one of {', '.join(known)}.")


ENCODINGS: tuple[Encoding, ...] = tuple(
    Encoding(compression, encryption) for compression in COMPRESSIONS for encryption in (None, *ENCRYPTIONS)
)
