"""Decrypts OpenPGP, by the program gpg. Only gpg's status lines say whether the integrity of the message was proven."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    BEGINNING_BYTES,
    Decoder,
    Decoding,
    Encoder,
    Identity,
    Write,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.home import find_gpg, gpg_home
from ansible_collections.lastgood.database.plugins.module_utils._codecs.gpg.opening import (
    open_payload,
    read_statuses,
    without_secrets,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, IdentityWrong, ProgramFailed
from ansible_collections.lastgood.database.plugins.module_utils._io import secret_file
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_STATUS_ERRORS = (1, 2)  # gpg's exit statuses for a bad message; others, and signals, are errors of the host


def gpg_decoding(identity: Identity, runner: Runner) -> Decoding:
    """Return the way to decrypt with gpg. Raises ProgramMissing."""
    return _GpgDecoding(identity, find_gpg(runner, "A backup that is encrypted with gpg"), runner)


def gpg_opened_by(identity: Identity, beginning: bytes, runner: Runner) -> tuple[str, ...]:
    """Return the fingerprints of the identity's keys that open the payload with this beginning."""
    try:
        return open_payload(identity, beginning, runner).fingerprints
    except (IdentityWrong, ContentInvalid):
        return ()


@dataclass(frozen=True)
class _GpgDecoding:
    """Makes decoders, each with a new run of gpg."""

    identity: Identity
    program: str
    runner: Runner

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        with contextlib.ExitStack() as stack:
            yield _GpgDecoder(self, write, stack)

    @contextlib.contextmanager
    def stream(self, beginning: bytes, write: Write) -> t.Iterator[Decoder]:
        """Decrypt by the session key, which gpg reads from a descriptor. This run of gpg has no private key."""
        opened = open_payload(self.identity, beginning, self.runner)
        with contextlib.ExitStack() as stack:
            home = stack.enter_context(gpg_home(self.runner, self.program))
            key = stack.enter_context(secret_file(f"{opened.session_key}\n".encode()))
            os.lseek(key, 0, os.SEEK_SET)
            status = stack.enter_context(secret_file(b""))
            options = ("--no-keyring", "--no-autostart", "--status-fd", str(status), "--override-session-key-fd", str(key))
            arguments = home.command(*options, "--output", "-", "--decrypt")
            codec = ProgramCodec("gpg", self.runner, arguments, (key, status), without_secrets)
            yield _StatusStream(stack.enter_context(codec.encoding(write)), status)


class _GpgDecoder:
    """Collects the payload's beginning, finds the session key in it, and then decrypts all of the payload."""

    def __init__(self, decoding: _GpgDecoding, write: Write, stack: contextlib.ExitStack) -> None:
        self._decoding = decoding
        self._write = write
        self._stack = stack
        self._beginning = bytearray()
        self._stream: Decoder | None = None

    def write(self, chunk: memoryview) -> None:
        if self._stream is not None:
            self._stream.write(chunk)
            return
        self._beginning += chunk
        if len(self._beginning) >= BEGINNING_BYTES:
            self._begin()

    def finish(self) -> None:
        stream = self._stream or self._begin()
        stream.finish()

    def _begin(self) -> Decoder:
        beginning = bytes(self._beginning)
        self._stream = self._stack.enter_context(self._decoding.stream(beginning[:BEGINNING_BYTES], self._write))
        self._stream.write(memoryview(beginning))
        return self._stream


@dataclass(frozen=True)
class _StatusStream:
    """Requires the proof of integrity: gpg ends with exit status 0 for some messages that it did not decrypt."""

    stream: Encoder
    status: int

    def write(self, chunk: memoryview) -> None:
        with self._judged():
            self.stream.write(chunk)

    def finish(self) -> None:
        with self._judged():
            self.stream.finish()
        statuses = read_statuses(self.status)
        if not (statuses.has("DECRYPTION_OKAY") and statuses.has("GOODMDC")):
            raise _broken("gpg did not prove its integrity")

    @contextlib.contextmanager
    def _judged(self) -> t.Iterator[None]:
        try:
            yield
        except ProgramFailed as error:
            if error.details.get("exit_status") not in _STATUS_ERRORS:
                raise
            raise _broken(error.problem) from error


def _broken(words: str) -> ContentInvalid:
    return ContentInvalid(f"The encrypted stream is broken: {words}", "Take another backup, or another copy of this one.")
