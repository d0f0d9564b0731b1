"""Hosts that have this and lack that, streams to encode, and the programs that undo it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES


def make_text(chance: random.Random) -> bytes:
    """Return a few megabytes of words, some of them much more frequent than others, as they are in a language."""
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _time in range(3000)]
    return " ".join(chance.choices(words, [1 / rank for rank in range(1, 3001)], k=400_000)).encode()


CONTENTS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"x",
    "a byte less than a chunk": lambda: bytes(CHUNK_BYTES - 1),
    "a chunk": lambda: bytes(CHUNK_BYTES),
    "a byte more than a chunk": lambda: bytes(CHUNK_BYTES + 1),
    "text": lambda: make_text(random.Random(7)),
    "what can't be made smaller": lambda: random.Random(7).randbytes(5_000_000),
}
CONTENTS = {name: functools.cache(make) for name, make in CONTENTS.items()}


@pytest.fixture(params=CONTENTS)
def content(request: pytest.FixtureRequest) -> bytes:
    return CONTENTS[request.param]()


@pytest.fixture
def text() -> bytes:
    return CONTENTS["text"]()


@pytest.fixture
def noise() -> bytes:
    return CONTENTS["what can't be made smaller"]()


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a library one that this Python does not have."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave no programs on PATH but those that a test makes in tmp_path / "bin"."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def encode() -> Callable[[Codec, bytes], bytes]:
    """Encode as an operation does: chunk by chunk out of one buffer, which holds something else a moment later."""

    def do(codec: Codec, content: bytes) -> bytes:
        encoded = bytearray()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with codec.encoding(encoded.extend) as encoder:
            for start in range(0, len(content), CHUNK_BYTES):
                chunk = content[start : start + CHUNK_BYTES]
                buffer[: len(chunk)] = chunk
                encoder.write(buffer[: len(chunk)])
                buffer[: len(chunk)] = b"\xaa" * len(chunk)
            encoder.finish()
        return bytes(encoded)

    return do


@pytest.fixture
def read_back() -> Callable[[bytes, str], bytes]:
    """Undo it by the program that an operator has: gzip or zstd."""

    def do(encoded: bytes, program: str) -> bytes:
        return subprocess.run((f"/usr/bin/{program}", "-dc"), input=encoded, capture_output=True, check=True).stdout

    return do
