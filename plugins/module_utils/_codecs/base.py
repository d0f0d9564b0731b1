"""The protocols of codecs, which encode and decode a stream of bytes piece by piece."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

Level = t.Literal["fast", "balanced", "small"]
LEVELS: tuple[Level, ...] = t.get_args(Level)

# How many bytes from its beginning decide whether a key opens a payload. Each recipient takes 100 bytes with age, and up to
# 1100 with GnuPG.
BEGINNING_BYTES = 64 * 1024

Write = t.Callable[[t.Union[bytes, memoryview]], None]


class Encoder(t.Protocol):
    """A stream that is being encoded. The output goes to the ``write`` that it was made with."""

    def write(self, chunk: memoryview) -> None:
        """Take in the next bytes; the chunk is not used after this returns."""

    def finish(self) -> None:
        """Write the rest of the output. Raises ProgramFailed if a program does the work and fails."""


class Codec(t.Protocol):
    """A way to encode, chosen from what the host has."""

    @property
    def tool(self) -> str:
        """The library or program with its version, for the manifest."""

    def encoding(self, write: Write) -> t.ContextManager[Encoder]:
        """Begin to encode. Leaving it without ``finish`` cancels the work."""


class Decoder(t.Protocol):
    """A stream that is being decoded. The output goes to the ``write`` that it was made with, in bounded pieces.

    Both methods raise ContentInvalid as soon as the stream proves to be of another kind, broken, or followed by other bytes.
    """

    def write(self, chunk: memoryview) -> None:
        """Take in the next bytes; the chunk is not used after this returns."""

    def finish(self) -> None:
        """End the stream. Raises ContentInvalid if it is incomplete."""


class Decoding(t.Protocol):
    """A way to decode, chosen from what the host has."""

    def decoding(self, write: Write) -> t.ContextManager[Decoder]:
        """Begin to decode. Leaving it without ``finish`` cancels the work."""


class Compression(t.Protocol):
    """The face of a compression. An implementation imports its codec only when needed."""

    name: t.ClassVar[str]  # in manifests and db_backup's option ``compression``
    suffix: t.ClassVar[str]  # of file names, with its dot; unique

    def codec(self, level: Level, runner: Runner) -> Codec:
        """Return the best way to encode that the host has. Raises LibraryMissing if it has none."""

    def decoding(self, runner: Runner) -> Decoding:
        """Return the best way to decode that the host has. Raises LibraryMissing if it has none."""


@dataclass(frozen=True)
class Recipients:
    """Who can decrypt a payload. Nothing in it is secret.

    ``texts`` has public keys, or fingerprints of keys. ``file`` is the path of a file with public keys, as the encryption's
    own program reads it: a list of recipients for age, a keyring for GnuPG.
    """

    texts: tuple[str, ...] = ()
    file: str | None = None


@dataclass(frozen=True)
class Identity:
    """A private key that decrypts payloads: its text, or the path of its file, and its passphrase. repr hides the secrets."""

    text: str | None = field(default=None, repr=False)
    file: str | None = None
    passphrase: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The identity's name in messages."""
        return "identity" if self.text is not None else f"identity_file {self.file}"


class EncryptionCodec(Codec, t.Protocol):
    """A way to encrypt for some recipients, chosen from what the host has."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """The ids of the recipients, sorted and without duplicates, for the manifest.

        An id can be computed from the private key too, so that an identity's backups can be found.
        """


class Encryption(t.Protocol):
    """The face of an encryption. An implementation imports its codec only when needed."""

    name: t.ClassVar[str]  # in manifests and db_backup's option ``encryption``
    suffix: t.ClassVar[str]  # of file names, with its dot; unique

    def codec(self, recipients: Recipients, runner: Runner) -> EncryptionCodec:
        """Return the best way to encrypt that the host has. Raises ProgramMissing if it has none.

        Raises RecipientInvalid for a recipient that is malformed, unknown, expired or revoked, or a private key. No error
        shows a recipient's text, which may be a secret.
        """

    def decoding(self, identity: Identity, runner: Runner) -> Decoding:
        """Return the best way to decrypt that the host has. Raises ProgramMissing if it has none.

        Its decoders raise ContentInvalid for a broken payload, and IdentityWrong for an identity that can't open it, which says
        nothing about the payload. Their output is authentic when ``finish`` has returned.
        """

    def opened_by(self, identity: Identity, beginning: bytes, runner: Runner) -> tuple[str, ...]:
        """Return the ids of the identity's keys that open the payload with this ``beginning``, none if no key does.

        Raises ContentInvalid if no payload of this encryption begins so, and the errors of ``decoding``.
        """
