"""Decrypts age: by the Python library pyrage if it supports the identity's kind, else by the program age.

An identity that does not open a payload says nothing about whether the payload is whole. A payload is broken only if an
identity opened it, or if it does not begin with a header of age.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._codecs.age.keys import id_of, keys_of
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Decoder, Decoding, Encoder, Identity, Write
from ansible_collections.lastgood.database.plugins.module_utils._codecs.program import ProgramCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.pulling import Input, Output, PullingCodec
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    IdentityWrong,
    KeyUnreadable,
    ProgramFailed,
    ProgramMissing,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, secret_file
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

_PIECE_BYTES = CHUNK_BYTES // 4
_DAMAGED = "Take another backup, or another copy of this one."
# Messages of the program age and of pyrage, which exist in English only. Other messages are no verdict on the payload.
_WRONG_IDENTITY = ("no identity matched", "No matching keys found")
_BROKEN_HEADER = (
    "failed to read header",  # age: the header is cut, or missing
    "bad header MAC",
    "failed to read nonce",
    "unexpected EOF",
    "failed to decrypt and authenticate payload chunk",
    "Header is invalid",  # pyrage
    "Header MAC is invalid",
    "Incomplete header",
    "Unknown age format",
    "failed to fill whole buffer",
)


def age_decoding(identity: Identity, runner: Runner) -> Decoding:
    """Return the best way to decrypt that the host has. Raises ProgramMissing, and errors of the identity."""
    return _decoding(keys_of(identity), identity, runner)


def age_opened_by(identity: Identity, beginning: bytes, runner: Runner) -> tuple[str, ...]:
    """Return the ids of the identity's keys that open the payload with this beginning."""
    return tuple(id_of(key, runner) for key in keys_of(identity) if _opens(key, identity, beginning, runner))


def _opens(key: bytes, identity: Identity, beginning: bytes, runner: Runner) -> bool:
    with _decoding((key,), identity, runner).decoding(lambda piece: None) as decoder:
        try:
            decoder.write(memoryview(beginning))
            decoder.finish()
        except _Cut:
            return True
        except (IdentityWrong, ContentInvalid):
            return False
    return True


class _Cut(ContentInvalid):
    """The identity opened the payload, which is broken after its header."""


def _decoding(keys: tuple[bytes, ...], identity: Identity, runner: Runner) -> Decoding:
    decoding = _pyrage(keys, identity) or _program(keys, identity, runner)
    if decoding is None:
        raise ProgramMissing(
            "A backup that is encrypted with age is read by the program age or by the Python library pyrage, and this host has "
            "neither that can use the identity.",
            "Install the package age (Debian, Ubuntu, Fedora and Alpine call it so), or pyrage with pip.",
        )
    return decoding


def _pyrage(keys: tuple[bytes, ...], identity: Identity) -> Decoding | None:
    try:
        import pyrage
    except ImportError:
        return None
    if not hasattr(pyrage, "decrypt_io"):  # versions before 1.2 have no streams
        return None
    try:
        opened = [_pyrage_key(pyrage, key) for key in keys]
    except pyrage.IdentityError:  # such as a key of a plugin, which the program age may support
        return None

    def decrypt(source: Input, sink: Output) -> None:
        try:
            pyrage.decrypt_io(source, sink, opened)
        except pyrage.DecryptError as error:
            raise _judged(str(error), identity) from error
        except OSError as error:
            raise _cut(str(error)) from error

    return _Collecting(PullingCodec("pyrage", decrypt))


def _pyrage_key(pyrage: t.Any, key: bytes) -> t.Any:
    if key.lstrip().startswith(b"-----BEGIN "):
        return pyrage.ssh.Identity.from_buffer(key)
    return pyrage.x25519.Identity.from_str(key.decode().strip())


@dataclass(frozen=True)
class _Collecting:
    """Collects pyrage's output, which comes in pieces of 8 KiB, and passes it on in larger ones."""

    codec: PullingCodec

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        pending = bytearray()

        def pass_on() -> None:
            piece = bytes(pending)
            pending.clear()
            write(piece)

        def take(piece: bytes | memoryview) -> None:
            pending.extend(piece)
            if len(pending) >= _PIECE_BYTES:
                pass_on()

        with self.codec.encoding(take) as stream:
            yield _Finishing(stream, pass_on)


@dataclass(frozen=True)
class _Finishing:
    """Passes on the last piece when the library has checked the end."""

    stream: Encoder
    pass_on: t.Callable[[], None]

    def write(self, chunk: memoryview) -> None:
        self.stream.write(chunk)

    def finish(self) -> None:
        self.stream.finish()
        self.pass_on()


def _program(keys: tuple[bytes, ...], identity: Identity, runner: Runner) -> Decoding | None:
    program = runner.find_program("age")
    return None if program is None else _ProgramDecoding(program, runner, identity, b"".join(keys))


@dataclass(frozen=True)
class _ProgramDecoding:
    """Makes decoders that run the program, which reads the keys from a descriptor."""

    program: str
    runner: Runner
    identity: Identity
    keys: bytes = field(repr=False)

    @contextlib.contextmanager
    def decoding(self, write: Write) -> t.Iterator[Decoder]:
        released = False

        def take(piece: bytes | memoryview) -> None:
            nonlocal released
            released = True
            write(piece)

        with secret_file(self.keys) as keys:
            arguments = (self.program, "--decrypt", "--identity", f"/dev/fd/{keys}")
            with ProgramCodec("age", self.runner, arguments, (keys,)).encoding(take) as stream:
                yield _JudgedStream(stream, self.identity, lambda: released)


@dataclass(frozen=True)
class _JudgedStream:
    """Distinguishes a wrong identity from a broken payload by age's message: its exit status is 1 for both."""

    stream: Encoder
    identity: Identity
    has_released: t.Callable[[], bool]

    def write(self, chunk: memoryview) -> None:
        with self._judged():
            self.stream.write(chunk)

    def finish(self) -> None:
        with self._judged():
            self.stream.finish()

    @contextlib.contextmanager
    def _judged(self) -> t.Iterator[None]:
        try:
            yield
        except ProgramFailed as error:
            if error.details.get("exit_status") != 1:  # such as a lack of memory
                raise
            if self.has_released():
                raise _cut(error.problem) from error
            raise _judged(error.problem, self.identity) from error


def _cut(words: str) -> _Cut:
    return _Cut(f"The encrypted stream is broken: {words}", _DAMAGED)


def _judged(words: str, identity: Identity) -> BackupError:
    """Return the error for a payload of which nothing was decrypted."""
    if any(each in words for each in _WRONG_IDENTITY):
        return IdentityWrong(
            f"{identity.name} does not open it: it is encrypted for others.", "Give the identity of one of its recipients."
        )
    if any(each in words for each in _BROKEN_HEADER):
        kind = _Cut if "payload chunk" in words else ContentInvalid
        return kind(f"The encrypted stream is broken: {words}", _DAMAGED)
    return KeyUnreadable(f"{identity.name} can't be used: {words}", "Give a file that age-keygen wrote, or a private key of SSH.")
