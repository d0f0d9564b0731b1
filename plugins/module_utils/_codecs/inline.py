# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Encoders that are a library's compressor object, or nothing at all."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Encoder, Write


class Compressor(t.Protocol):
    """What zlib, python-isal and the zstd libraries call a compressor object."""

    def compress(self, data: memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


@dataclass(frozen=True)
class InlineEncoder:
    """Compresses in our own process."""

    compressor: Compressor
    output: Write

    def write(self, chunk: memoryview) -> None:
        compressed = self.compressor.compress(chunk)
        if compressed:
            self.output(compressed)

    def finish(self) -> None:
        self.output(self.compressor.flush())


@dataclass(frozen=True)
class InlineCodec:
    """Makes encoders around a new compressor object each."""

    compressor: str
    make: t.Callable[[], Compressor]

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        yield InlineEncoder(self.make(), write)


@dataclass(frozen=True)
class PlainEncoder:
    """Hands on what it gets."""

    output: Write

    def write(self, chunk: memoryview) -> None:
        self.output(chunk)

    def finish(self) -> None:
        pass


class PlainCodec:
    """No compression."""

    compressor = "none"

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        yield PlainEncoder(write)
