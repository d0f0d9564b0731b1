"""Encoders and decoders by a program, which reads from our pipe. We read its standard output."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Decoder, Encoder, Write
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, ProgramFailed
from ansible_collections.lastgood.database.plugins.module_utils._io import (
    CHUNK_BYTES,
    PIPE_PAUSE_SECONDS,
    pipe,
    read_full,
    write_all,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, RunningProgram


class ProgramEncoder:
    """Writes to the program, while a thread passes on the program's output."""

    def __init__(self, running: RunningProgram, feeding: int, output: Write) -> None:
        self._running = running
        self._feeding = feeding
        self._fed = False
        self._output = output
        self._failure: BaseException | None = None
        self._drain = threading.Thread(target=self._drain_output, name="drain", daemon=True)
        self._drain.start()

    def write(self, chunk: memoryview) -> None:
        try:
            write_all(self._feeding, chunk)
        except BrokenPipeError as error:
            self.finish()  # raises the reason, if any
            raise ProgramFailed(
                f"{self._running.command.program} stopped reading before the end of its input.", "Run it by hand and see."
            ) from error

    def finish(self) -> None:
        self.close()
        self._drain.join()
        if self._failure is not None:
            raise self._failure
        self._running.wait()

    def close(self) -> None:
        """End the program's input."""
        if not self._fed:
            self._fed = True
            os.close(self._feeding)

    def join(self) -> None:
        """Wait until all output is passed on."""
        self._drain.join()

    def _drain_output(self) -> None:
        try:
            descriptor = self._running.output()
            if descriptor is None:
                return
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while count := read_full(descriptor, buffer, PIPE_PAUSE_SECONDS):
                self._output(buffer[:count])
        except BaseException as error:  # finish() raises it in the caller's thread
            self._failure = error
            self._running.stop()


@dataclass(frozen=True)
class ProgramCodec:
    """Makes encoders, each with a new run of the program. The path of its input is appended to ``arguments``.

    ``descriptors`` stay open for the program. ``reportable`` selects the part of its error output that may be reported.
    """

    tool: str
    runner: Runner
    arguments: tuple[str, ...]
    descriptors: tuple[int, ...] = ()
    reportable: t.Callable[[str], str] = str

    @contextlib.contextmanager
    def encoding(self, write: Write) -> t.Iterator[Encoder]:
        reading, feeding = pipe()
        command = Command(
            (*self.arguments, f"/dev/fd/{reading}"),
            descriptors=(*self.descriptors, reading),
            reportable=self.reportable,
        )
        with RunningProgram(self.runner, command, owned=[reading], take_output=True) as running:
            encoder = ProgramEncoder(running, feeding, write)
            try:
                yield encoder
            finally:
                encoder.close()
                running.stop()
                encoder.join()


@dataclass(frozen=True)
class ProgramDecoder:
    """Treats exit status 1 as a broken stream, and any other as a failure of the host."""

    program: Encoder

    def write(self, chunk: memoryview) -> None:
        with self._judged():
            self.program.write(chunk)

    def finish(self) -> None:
        with self._judged():
            self.program.finish()

    @contextlib.contextmanager
    def _judged(self) -> t.Iterator[None]:
        try:
            yield
        except ProgramFailed as error:
            if error.details.get("exit_status") != 1:  # such as a lack of memory or a library
                raise
            raise ContentInvalid(
                f"The compressed stream is broken: {error.problem}", "Take another backup, or another copy of this one."
            ) from error


@dataclass(frozen=True)
class ProgramDecoding:
    """Makes decoders, each with a new run of the program."""

    codec: ProgramCodec

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        with self.codec.encoding(write) as program:
            yield ProgramDecoder(program)
