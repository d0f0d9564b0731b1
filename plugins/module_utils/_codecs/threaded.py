"""Encodes in a thread of its own, while the caller reads and digests the next bytes."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import queue
import threading
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Encoder
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES

# The output for this much fits into memory that the allocator reuses; larger output takes new pages from the kernel each time.
_BUFFER_BYTES = CHUNK_BYTES // 4
_BUFFERS = 4  # one is filled and one is encoded; the others absorb a short delay of a disk or a server


class ThreadedEncoder:
    """Lends buffers to fill, and encodes each in the order in which they come back."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        for _number in range(_BUFFERS):
            self._free.put(bytearray(_BUFFER_BYTES))
        self._thread.start()

    def buffer(self) -> memoryview:
        """Wait for a free buffer, and return it. Raises the encoder's error."""
        buffer = self._free.get()
        if self._failure is not None:
            raise self._failure
        return memoryview(buffer)

    def write(self, chunk: memoryview) -> None:
        """Take in the filled part of the buffer lent last."""
        self._filled.put(chunk)

    def finish(self) -> None:
        """Encode to the end. Raises the encoder's error."""
        self.join()
        if self._failure is not None:
            raise self._failure
        self._encoder.finish()

    def join(self) -> None:
        """Wait until all filled buffers are encoded."""
        self._filled.put(None)
        self._thread.join()

    def _encode(self) -> None:
        try:
            while (chunk := self._filled.get()) is not None:
                self._encoder.write(chunk)
                self._free.put(t.cast(bytearray, chunk.obj))
        except BaseException as error:  # raised in the caller's thread
            self._failure = error
            self._free.put(bytearray())  # the caller may be waiting for one


@contextlib.contextmanager
def threaded(encoder: Encoder) -> t.Iterator[ThreadedEncoder]:
    """Encode in a thread, which ends with the context."""
    encoding = ThreadedEncoder(encoder)
    try:
        yield encoding
    finally:
        encoding.join()
