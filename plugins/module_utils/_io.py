"""Bytes to and from open files and pipes."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

CHUNK_BYTES = 1024 * 1024
# pg_dump writes 4 KiB at a time: letting the pipe fill up costs both sides less than waking up for each write.
PIPE_PAUSE_SECONDS = 0.001

_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on
_SHORT_READ_BYTES = CHUNK_BYTES // 8


def pipe() -> tuple[int, int]:
    """Make a pipe as large as the system allows, for fewer reads."""
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, _F_SETPIPE_SZ, CHUNK_BYTES)
    return reading, writing


def read_full(descriptor: int, buffer: memoryview, pause: float = 0.0) -> int:
    """Read until the buffer is full or the stream ends, and return the number of bytes.

    ``pause`` is how long to wait, in seconds, after a read that returned little.
    """
    filled = 0
    while count := os.readv(descriptor, [buffer[filled:]]):
        filled += count
        if filled == len(buffer):
            break
        if pause and count < _SHORT_READ_BYTES:
            time.sleep(pause)
    return filled


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextlib.contextmanager
def secret_file(data: bytes) -> t.Iterator[int]:
    """Write data to a file that exists only in memory, and that only this process's user can open. Yield its descriptor."""
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)  # programs refuse a secret that others may read
        write_all(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


def close_quietly(descriptor: int) -> None:
    """Close a descriptor, and ignore errors: its data is on the disk already, or was discarded."""
    with contextlib.suppress(OSError):
        os.close(descriptor)
