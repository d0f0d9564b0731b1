"""A library that pulls its input, when all goes well and when it does not."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Codec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.pulling import Input, Output, PullingCodec
from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace, ProgramFailed

pytestmark = pytest.mark.usefixtures("nothing_left")

Bounded = Callable[[Callable[[], Any]], Any]
Encode = Callable[[Codec, bytes], bytes]


class Broken(Exception):
    """The library's own error."""


def copy(source: Input, sink: Output) -> None:
    while data := source.read(8192):
        sink.write(data)
    sink.flush()


def test_what_the_library_writes_is_written(content: bytes, encode: Encode, bounded: Bounded) -> None:
    assert bounded(lambda: encode(PullingCodec("library 1", copy), content)) == content


@pytest.mark.parametrize("read", [0, 100_000, 10_000_000], ids=["at once", "in the middle", "at the end"])
def test_a_library_that_fails_is_an_error(noise: bytes, encode: Encode, bounded: Bounded, read: int) -> None:
    def fail(source: Input, sink: Output) -> None:
        source.read(read)
        raise Broken

    with pytest.raises(Broken):
        bounded(lambda: encode(PullingCodec("library 1", fail), noise))


def test_a_library_that_stops_before_the_end_is_an_error(noise: bytes, encode: Encode, bounded: Bounded) -> None:
    def stop(source: Input, sink: Output) -> None:
        source.read(100_000)

    with pytest.raises(ProgramFailed, match="library 1 stopped before the end"):
        bounded(lambda: encode(PullingCodec("library 1", stop), noise))


def test_an_error_of_the_writer_comes_out_though_the_library_turns_it_into_its_own(noise: bytes, bounded: Bounded) -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def turn(source: Input, sink: Output) -> None:
        try:
            copy(source, sink)
        except NoSpace:
            raise Broken from None

    def write(data: bytes | memoryview) -> None:
        raise error

    def encode_it() -> None:
        with PullingCodec("library 1", turn).encoding(write) as encoder:
            encoder.write(memoryview(noise))
            encoder.finish()

    with pytest.raises(NoSpace) as caught:
        bounded(encode_it)
    assert caught.value is error


def test_leaving_in_the_middle_is_no_end_for_the_library(noise: bytes) -> None:
    ends = []

    def note(source: Input, sink: Output) -> None:
        copy(source, sink)
        ends.append("an end")

    with pytest.raises(KeyError), PullingCodec("library 1", note).encoding(lambda data: None) as encoder:
        encoder.write(memoryview(noise))
        raise KeyError
    assert ends == []


def test_the_writer_waits_for_a_library_that_is_slow(noise: bytes) -> None:
    go_on, written = threading.Event(), 0

    def wait(source: Input, sink: Output) -> None:
        go_on.wait()
        copy(source, sink)

    def feed() -> None:
        nonlocal written
        with PullingCodec("library 1", wait).encoding(lambda data: None) as encoder:
            encoder.write(memoryview(noise))
            written = len(noise)
            encoder.finish()

    thread = threading.Thread(target=feed)
    thread.start()
    time.sleep(0.2)
    assert written == 0
    go_on.set()
    thread.join()
    assert written == len(noise)
