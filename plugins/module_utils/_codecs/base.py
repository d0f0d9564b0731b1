"""What every codec can do: turn a stream of bytes into a smaller one, as it passes, and back."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

Level = t.Literal["fast", "balanced", "small"]
LEVELS: tuple[Level, ...] = t.get_args(Level)

Write = t.Callable[[t.Union[bytes, memoryview]], None]


class Encoder(t.Protocol):
    """A stream that is being encoded. What comes out goes to the ``write`` that it was made with."""

    def write(self, chunk: memoryview) -> None:
        """Take in the next bytes; the chunk is used up when this returns."""

    def finish(self) -> None:
        """Write what is still held back. Raises ProgramFailed where a program does the work and fails."""


class Codec(t.Protocol):
    """A way to encode, chosen from what the host has."""

    @property
    def compressor(self) -> str:
        """What does the work, with its version: for the manifest."""

    def encoding(self, write: Write) -> t.ContextManager[Encoder]:
        """Begin to encode. Leaving it without ``finish`` gives up whatever was begun."""


class Decoder(t.Protocol):
    """A stream that is being decoded. What comes out goes to the ``write`` that it was made with, in bounded pieces.

    Both methods raise ContentInvalid as soon as it is seen that the stream is none of its kind, broken, or followed by
    something else.
    """

    def write(self, chunk: memoryview) -> None:
        """Take in the next bytes; the chunk is used up when this returns."""

    def finish(self) -> None:
        """Say that there are no more. Raises ContentInvalid where the stream is not at its end."""


class Decoding(t.Protocol):
    """A way to decode, chosen from what the host has."""

    def decoding(self, write: Write) -> t.ContextManager[Decoder]:
        """Begin to decode. Leaving it without ``finish`` gives up whatever was begun."""


class Compression(t.Protocol):
    """The face of a compression. An implementation imports what does the work only when it is asked for."""

    name: t.ClassVar[str]  # in manifests, and of db_backup's option ``compression``
    suffix: t.ClassVar[str]  # of file names, with its dot; no other compression's

    def codec(self, level: Level, runner: Runner) -> Codec:
        """Return the best way to encode that the host has. Raises LibraryMissing where it has none."""

    def decoding(self, runner: Runner) -> Decoding:
        """Return the best way to decode that the host has. Raises LibraryMissing where it has none."""
