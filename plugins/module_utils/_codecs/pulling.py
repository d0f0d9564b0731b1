"""Encoders and decoders by a library that reads from one file object and writes to another. It runs in a thread of its own."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Encoder, Write
from ansible_collections.lastgood.database.plugins.module_utils._errors import ProgramFailed
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, pipe, write_all


class Input:
    """The file object that the library reads from. If the work was cancelled, its end raises an error."""

    def __init__(self, file: t.BinaryIO, is_cancelled: threading.Event) -> None:
        self._file = file
        self._is_cancelled = is_cancelled

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if not data and self._is_cancelled.is_set():
            raise OSError("cancelled")
        return data


class Output:
    """The file object that the library writes to. It retains the writer's error, of which the library only passes on the text."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            self._write(data)
        except BaseException as error:
            self.failure = error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


Transfer = t.Callable[[Input, Output], None]


class PullingEncoder:
    """Passes its input through a pipe to the library, which writes to ``output``."""

    def __init__(self, transfer: Transfer, output: Write, tool: str) -> None:
        self._tool = tool
        self._is_cancelled = threading.Event()
        self._failure: BaseException | None = None
        self._reading, feeding = pipe()
        self._feeding: int | None = feeding
        self._thread = threading.Thread(target=self._work, args=(transfer, Output(output)), name=tool, daemon=True)
        self._thread.start()

    def write(self, chunk: memoryview) -> None:
        if self._feeding is None:
            raise AssertionError("a stream that was ended takes no more")
        try:
            write_all(self._feeding, chunk)
        except BrokenPipeError as error:
            self.finish()  # raises the reason, if any
            raise ProgramFailed(f"{self._tool} stopped before the end of its input.", "Install it anew.") from error

    def finish(self) -> None:
        """End the input, and wait for the rest of the output. Raises the error of the library or of the writer."""
        self._end()
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        """Stop the work unless it has ended. The library then does not finish the output."""
        self._is_cancelled.set()
        self._end()

    def _end(self) -> None:
        if self._feeding is not None:
            os.close(self._feeding)
            self._feeding = None
        self._thread.join()

    def _work(self, transfer: Transfer, output: Output) -> None:
        try:
            with open(self._reading, "rb", buffering=CHUNK_BYTES) as file:
                transfer(Input(file, self._is_cancelled), output)
        except BaseException as error:  # finish() raises it in the caller's thread
            self._failure = output.failure or error


@dataclass(frozen=True)
class PullingCodec:
    """Makes encoders or decoders, each with a new call of the library.

    ``transfer`` reads and writes until the input ends, and raises a BackupError for an error of the library.
    """

    tool: str
    transfer: Transfer

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        encoder = PullingEncoder(self.transfer, write, self.tool)
        try:
            yield encoder
        finally:
            encoder.cancel()
