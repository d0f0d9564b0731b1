"""The encoding of a dump as a payload: content → compression → encryption → payload.

Names, manifests and operations share an Encoding, which is data; a PayloadCodec does the work.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    Codec,
    Decoder,
    Decoding,
    Encoder,
    EncryptionCodec,
    Identity,
    Level,
    Recipients,
    Write,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS, ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, IdentityMissing
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
        return compression if self.encryption is None else compression + ENCRYPTIONS[self.encryption].suffix


@dataclass(frozen=True)
class PayloadCodec:
    """Makes payloads of an encoding by the host's libraries or programs. Without an ``encryption`` it only compresses."""

    encoding: Encoding
    compression: Codec
    encryption: EncryptionCodec | None = None

    @property
    def compressor(self) -> str:
        """The library or program that compresses, with its version, for the manifest."""
        return self.compression.tool

    @property
    def encryptor(self) -> str | None:
        """The library or program that encrypts, with its version, for the manifest."""
        return None if self.encryption is None else self.encryption.tool

    @property
    def recipients(self) -> tuple[str, ...]:
        """The ids of those who can decrypt, for the manifest."""
        return () if self.encryption is None else self.encryption.recipients

    @contextlib.contextmanager
    def encode(self, write: Write) -> t.Iterator[Encoder]:
        """Begin a payload, whose bytes go to ``write``. Leaving it without ``finish`` cancels the work."""
        if self.encryption is None:
            with self.compression.encoding(write) as compressing:
                yield compressing
            return
        with self.encryption.encoding(write) as encrypting, self.compression.encoding(_into(encrypting)) as compressing:
            yield _Chain(compressing, encrypting)


@dataclass(frozen=True)
class _PayloadDecoding:
    """Reads encrypted payloads."""

    encryption: Decoding
    compression: Decoding

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        with self.compression.decoding(write) as decompressing, self.encryption.decoding(_into(decompressing)) as decrypting:
            yield _Chain(decrypting, decompressing)


@dataclass(frozen=True)
class _Chain:
    """Two streams: the first writes to the second."""

    first: Encoder
    second: Encoder

    def write(self, chunk: memoryview) -> None:
        self.first.write(chunk)

    def finish(self) -> None:
        self.first.finish()
        self.second.finish()


def _into(stream: Encoder) -> Write:
    def write(data: bytes | memoryview) -> None:
        stream.write(memoryview(data))

    return write


def codec_for(encoding: Encoding, level: Level, runner: Runner, recipients: Recipients | None = None) -> PayloadCodec:
    """Return the way to make payloads of an encoding. Raises LibraryMissing if the host has none.

    An encryption needs ``recipients``, and raises RecipientInvalid if one of them can't be used.
    """
    compression = COMPRESSIONS[encoding.compression].codec(level, runner)
    if encoding.encryption is None:
        return PayloadCodec(encoding, compression)
    if recipients is None:
        raise ArgumentInvalid(f"encryption is {encoding.encryption}, and no recipient is given.", "Give recipients.")
    return PayloadCodec(encoding, compression, ENCRYPTIONS[encoding.encryption].codec(recipients, runner))


def decoder_for(encoding: Encoding, runner: Runner, identity: Identity | None = None) -> Decoding:
    """Return the way to read payloads of an encoding. Raises LibraryMissing if the host has none.

    An encrypted payload needs an ``identity``: without one it raises IdentityMissing.
    """
    compression = COMPRESSIONS[encoding.compression].decoding(runner)
    if encoding.encryption is None:
        return compression
    if identity is None:
        raise IdentityMissing(
            f"It is encrypted ({encoding.encryption}), and no identity is given.",
            "Give the private key of one of its recipients as identity or identity_file.",
        )
    return _PayloadDecoding(ENCRYPTIONS[encoding.encryption].decoding(identity, runner), compression)


def _check(kind: str, name: str, known: t.Collection[str]) -> None:
    if name not in known:
        raise ArgumentInvalid(f"{kind} is {name}, which is unknown.", f"Give one of {', '.join(known)}.")


ENCODINGS: tuple[Encoding, ...] = tuple(
    Encoding(compression, encryption) for compression in COMPRESSIONS for encryption in (None, *ENCRYPTIONS)
)
