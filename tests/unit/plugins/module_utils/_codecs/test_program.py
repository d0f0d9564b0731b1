"""A program that encodes, when all goes well and when it does not: it, or whoever takes its output, fails."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _process
from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec, ProgramDecoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    NoSpace,
    ProgramFailed,
    ProgramMissing,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

pytestmark = pytest.mark.usefixtures("nothing_left")

Bounded = Callable[[Callable[[], Any]], Any]
Encode = Callable[[Codec, bytes], bytes]
Python = Callable[..., tuple[str, ...]]

COPIES = """
import os, shutil, signal, sys
source = open(sys.argv[-1], "rb", buffering=0)
sink = open(1, "wb", buffering=0, closefd=False)
"""


class Left(Exception):
    """Why somebody leaves in the middle."""


@pytest.fixture
def codec(runner: ModuleRunner, python: Python) -> Callable[[str], Codec]:
    """Return the codec whose program is this Python code."""
    return lambda code: ProgramCodec("a program", runner, python(COPIES + code))


def test_what_the_program_says_is_what_is_written(
    codec: Callable[[str], Codec], content: bytes, encode: Encode, bounded: Bounded
) -> None:
    assert bounded(lambda: encode(codec("shutil.copyfileobj(source, sink)"), content)) == content


def test_a_program_that_writes_before_it_has_read_does_not_block_the_writer(
    codec: Callable[[str], Codec], noise: bytes, encode: Encode, bounded: Bounded
) -> None:
    code = "sink.write(bytes(3_000_000)); shutil.copyfileobj(source, sink)"
    assert bounded(lambda: encode(codec(code), noise)) == bytes(3_000_000) + noise


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("source.read(100_000); sys.exit('out of memory')", "ended with status 1: out of memory"),
        ("shutil.copyfileobj(source, sink); sys.exit(5)", "ended with status 5: it said nothing"),
        ("source.read(100_000); os.kill(os.getpid(), signal.SIGKILL)", "was ended by signal 9"),
        ("source.read(100_000)", "stopped reading before the end of its input"),
    ],
    ids=["fails in the middle", "fails at the end", "is killed", "stops with status 0"],
)
def test_a_program_that_fails_is_an_error_with_its_own_words(
    codec: Callable[[str], Codec], noise: bytes, encode: Encode, bounded: Bounded, code: str, words: str
) -> None:
    with pytest.raises(ProgramFailed, match=words) as caught:
        bounded(lambda: encode(codec(code), noise))
    assert caught.value.code == "program_failed"


@pytest.mark.parametrize("size", [0, 10, 5_000_000])
def test_a_program_that_can_not_be_started_is_an_error(
    runner: ModuleRunner, tmp_path: Path, encode: Encode, bounded: Bounded, size: int
) -> None:
    broken = tmp_path / "pigz"
    broken.write_text("Just words.\n", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(ProgramMissing, match="Exec format error") as caught:
        bounded(lambda: encode(ProgramCodec("pigz", runner, (str(broken),)), bytes(size)))
    assert caught.value.code == "program_missing"


@pytest.mark.parametrize("fails_after", [0, 1_000_000], ids=["at once", "later"])
def test_an_error_in_writing_comes_out_as_it_is_and_the_program_is_ended(
    codec: Callable[[str], Codec], noise: bytes, bounded: Bounded, fails_after: int
) -> None:
    error = NoSpace("The disk is full.", "Make room.")
    written = 0

    def write(data: bytes | memoryview) -> None:
        nonlocal written
        written += len(data)
        if written > fails_after:
            raise error

    def encode() -> None:
        with codec("shutil.copyfileobj(source, sink)").encoding(write) as encoder:
            for _time in range(20):
                encoder.write(memoryview(noise))
            encoder.finish()

    with pytest.raises(BackupError) as caught:
        bounded(encode)
    assert caught.value is error


def test_an_error_in_writing_the_last_bytes_comes_out_at_the_end(codec: Callable[[str], Codec], bounded: Bounded) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(data: bytes | memoryview) -> None:
        raise error

    def encode() -> None:
        # All is read before a byte is said, so that every write of ours has succeeded.
        with codec("everything = source.read(); sink.write(everything)").encoding(write) as encoder:
            encoder.write(memoryview(b"short"))
            encoder.finish()

    with pytest.raises(NoSpace) as caught:
        bounded(encode)
    assert caught.value is error


@pytest.mark.parametrize(
    "ignores", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN); "], ids=["that ends", "that ignores SIGTERM"]
)
@pytest.mark.parametrize("fails", [False, True], ids=["leaves", "fails"])
def test_a_program_is_ended_when_its_writer_leaves(
    codec: Callable[[str], Codec],
    bounded: Bounded,
    monkeypatch: pytest.MonkeyPatch,
    ignores: str,
    fails: bool,
) -> None:
    monkeypatch.setattr(_process, "KILL_AFTER_SECONDS", 0.05)
    told = threading.Event()
    pids: list[int] = []

    def write(data: bytes | memoryview) -> None:
        pids.append(int(bytes(data)))
        told.set()

    def leave() -> None:
        # As much as is read at once. After it the program says nothing, and does not look for the end of its input.
        said = f"(b'%d' % os.getpid()).ljust({CHUNK_BYTES})"
        code = f"{ignores}import time; sink.write({said}); time.sleep(1000)"
        with codec(code).encoding(write) as encoder:
            encoder.write(memoryview(b"some"))
            assert told.wait(60)
            if fails:
                raise Left

    with pytest.raises(Left) if fails else contextlib.nullcontext():
        bounded(leave)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_leaving_without_an_end_ends_a_program_that_waits_for_more(
    codec: Callable[[str], Codec], noise: bytes, bounded: Bounded
) -> None:
    def leave() -> None:
        with codec("shutil.copyfileobj(source, sink)").encoding(lambda data: None) as encoder:
            encoder.write(memoryview(noise))

    bounded(leave)  # that nothing is left is seen by the fixture


def test_a_program_that_reads_no_more_does_not_hold_up_the_error_in_writing(
    codec: Callable[[str], Codec], noise: bytes, bounded: Bounded
) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(data: bytes | memoryview) -> None:
        raise error

    def encode() -> None:
        with codec("import time; sink.write(bytes(2_000_000)); time.sleep(1000)").encoding(write) as encoder:
            encoder.write(memoryview(noise))  # more than the pipe holds
            encoder.finish()

    with pytest.raises(NoSpace) as caught:
        bounded(encode)
    assert caught.value is error


def test_a_signal_that_ends_the_program_at_its_end_is_an_error(
    codec: Callable[[str], Codec], encode: Encode, bounded: Bounded
) -> None:
    code = "shutil.copyfileobj(source, sink); os.kill(os.getpid(), signal.SIGTERM)"
    with pytest.raises(ProgramFailed) as caught:
        bounded(lambda: encode(codec(code), b"some"))
    assert caught.value.details["exit_status"] == -signal.SIGTERM


@pytest.mark.parametrize(
    ("status", "error"), [(1, ContentInvalid), (31, ProgramFailed), (104, ProgramFailed), (127, ProgramFailed)]
)
def test_only_status_1_of_a_decoder_speaks_of_the_stream(
    runner: ModuleRunner, python: Python, bounded: Bounded, status: int, error: type[BackupError]
) -> None:
    program = ProgramCodec("a program", runner, python(f"{COPIES}source.read(); sys.exit({status})"))

    def decode() -> None:
        with ProgramDecoding(program).decoding(lambda data: None) as decoder:
            decoder.write(memoryview(b"some"))
            decoder.finish()

    with pytest.raises(BackupError) as caught:
        bounded(decode)
    assert isinstance(caught.value, error)
