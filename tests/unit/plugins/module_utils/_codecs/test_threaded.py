# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import zlib

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import InlineCodec, PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.threaded import ThreadedEncoder, threaded
from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES


def feed(encoding: ThreadedEncoder, content: bytes) -> None:
    """Fill buffers as a reader does, each to its end but the last."""
    rest = memoryview(content)
    while rest:
        buffer = encoding.buffer()[: len(rest)]
        buffer[:] = rest[: len(buffer)]
        encoding.write(buffer)
        rest = rest[len(buffer) :]


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "encode"]


def test_all_comes_out_in_the_order_in_which_it_went_in(content: bytes) -> None:
    written = bytearray()
    codec = InlineCodec("zlib", lambda: zlib.compressobj(1))
    with codec.encoding(written.extend) as encoder, threaded(encoder) as encoding:
        feed(encoding, content)
        encoding.finish()
    assert zlib.decompress(written) == content


def test_the_next_buffer_can_be_filled_while_one_is_encoded() -> None:
    filled = threading.Event()
    written: list[int] = []

    def write(data: bytes | memoryview) -> None:
        assert filled.wait(60), "the next buffer was not to be had"
        written.append(len(data))

    with PlainCodec().encoding(write) as encoder, threaded(encoder) as encoding:
        feed(encoding, b"all")
        feed(encoding, b"of it")
        filled.set()
        encoding.finish()
    assert written == [3, 5]


def test_no_more_is_taken_in_than_there_are_buffers() -> None:
    go_on = threading.Event()
    taken: list[int] = []

    def write(data: bytes | memoryview) -> None:
        assert go_on.wait(60), "nobody let it go on"

    def read(encoding: ThreadedEncoder) -> None:
        for number in range(20):
            feed(encoding, b"x")
            taken.append(number)

    with PlainCodec().encoding(write) as encoder, threaded(encoder) as encoding:
        reader = threading.Thread(target=read, args=(encoding,))
        reader.start()
        reader.join(0.5)
        held_back = len(taken)
        go_on.set()
        reader.join()
        encoding.finish()
    assert held_back < 20 == len(taken)


def test_an_error_in_writing_reaches_who_waits_for_a_buffer() -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(data: bytes | memoryview) -> None:
        raise error

    with pytest.raises(NoSpace) as caught, PlainCodec().encoding(write) as encoder, threaded(encoder) as encoding:
        feed(encoding, bytes(20 * CHUNK_BYTES))
    assert caught.value is error
    assert not running()


def test_an_error_in_writing_the_last_bytes_reaches_who_finishes() -> None:
    error = NoSpace("The disk is full.", "Make room.")

    def write(data: bytes | memoryview) -> None:
        raise error

    with pytest.raises(NoSpace) as caught, PlainCodec().encoding(write) as encoder, threaded(encoder) as encoding:
        feed(encoding, b"x")
        encoding.finish()
    assert caught.value is error


def test_no_end_is_written_and_no_thread_left_when_the_reader_fails(noise: bytes) -> None:
    whole, part = bytearray(), bytearray()
    codec = InlineCodec("zlib", lambda: zlib.compressobj(1))
    with codec.encoding(whole.extend) as encoder, threaded(encoder) as encoding:
        feed(encoding, noise)
        encoding.finish()
    with pytest.raises(KeyError), codec.encoding(part.extend) as encoder, threaded(encoder) as encoding:
        feed(encoding, noise)
        raise KeyError
    assert len(part) < len(whole)
    assert not running()
