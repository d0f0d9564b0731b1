"""An encoding names its compression and its encryption, and has the codec that makes and reads it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import (
    LEVELS,
    Codec,
    Encoder,
    Identity,
    Level,
    Recipients,
    Write,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import (
    ENCODINGS,
    Encoding,
    codec_for,
    decoder_for,
)
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainEncoder
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS, ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    IdentityMissing,
    LibraryMissing,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "none": b"some"}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_each_compression_has_its_codec(
    runner: ModuleRunner, encode: Callable[[Codec, bytes], bytes], compression: str, level: Level
) -> None:
    codec = codec_for(Encoding(compression), level, runner)
    assert encode(codec.compression, b"some content").startswith(MAGIC[compression])
    assert (codec.compressor == "none") == (compression == "none")
    assert codec.encoding == Encoding(compression)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_a_codec_makes_its_encoding_reads(runner: ModuleRunner, compression: str) -> None:
    payload, content = bytearray(), bytearray()
    codec = codec_for(Encoding(compression), "fast", runner)
    with codec.encode(payload.extend) as encoder:
        encoder.write(memoryview(b"some content"))
        encoder.finish()
    with decoder_for(codec.encoding, runner).decoding(content.extend) as decoder:
        decoder.write(memoryview(payload))
        decoder.finish()
    assert content == b"some content"


@pytest.mark.parametrize(
    ("encoding", "suffix"),
    [
        (Encoding("none"), ""),
        (Encoding("gzip"), ".gz"),
        (Encoding("zstd"), ".zst"),
        (Encoding("none", "age"), ".age"),
        (Encoding("gzip", "age"), ".gz.age"),
        (Encoding("zstd", "gpg"), ".zst.gpg"),
    ],
)
def test_a_suffix_is_that_of_the_compression_and_then_that_of_the_encryption(encoding: Encoding, suffix: str) -> None:
    assert encoding.suffix == suffix
    assert encoding.encrypted == suffix.endswith((".age", ".gpg"))


def test_each_encoding_has_a_suffix_of_its_own() -> None:
    assert len({encoding.suffix for encoding in ENCODINGS}) == len(ENCODINGS) == len(COMPRESSIONS) * (1 + len(ENCRYPTIONS))


def test_a_registered_name_is_that_of_its_face() -> None:
    assert [compression.name for compression in COMPRESSIONS.values()] == list(COMPRESSIONS)
    assert [encryption.name for encryption in ENCRYPTIONS.values()] == list(ENCRYPTIONS)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match=r"compression is lz4.*gzip, zstd, none"):
        Encoding("lz4")


def test_an_unknown_encryption_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match=r"encryption is rot13.*age, gpg"):
        Encoding("gzip", "rot13")


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_nothing_is_encrypted_without_a_recipient_nor_read_without_an_identity(runner: ModuleRunner, encryption: str) -> None:
    with pytest.raises(ArgumentInvalid, match="no recipient"):
        codec_for(Encoding("gzip", encryption), "fast", runner)
    with pytest.raises(IdentityMissing, match=rf"encrypted \({encryption}\)"):
        decoder_for(Encoding("gzip", encryption), runner)


class Reversal:
    """Reverses the bits of each byte, both ways, which stands for an encryption."""

    tool, recipients = "reversal 1", ("somebody",)

    @contextlib.contextmanager
    def encoding(self, write: Write) -> Iterator[Encoder]:
        yield PlainEncoder(lambda data: write(bytes(255 - byte for byte in data)))

    decoding = encoding


class ReversalEncryption:
    """The face of that encryption."""

    name: ClassVar[str] = "age"
    suffix: ClassVar[str] = ".age"

    def codec(self, recipients: Recipients, runner: Runner) -> Reversal:
        return Reversal()

    def decoding(self, identity: Identity, runner: Runner) -> Reversal:
        return Reversal()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_content_is_first_compressed_and_then_encrypted(
    runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setitem(ENCRYPTIONS, "age", ReversalEncryption())
    encoding, payload, content = Encoding(compression, "age"), bytearray(), bytearray()
    codec = codec_for(encoding, "fast", runner, Recipients(("somebody",)))
    assert (codec.encryptor, codec.recipients) == ("reversal 1", ("somebody",))
    with codec.encode(payload.extend) as encoder:
        encoder.write(memoryview(b"some content"))
        encoder.finish()
    assert bytes(255 - byte for byte in payload).startswith(MAGIC[compression])
    with decoder_for(encoding, runner, Identity("secret")).decoding(content.extend) as decoder:
        decoder.write(memoryview(payload))
        decoder.finish()
    assert content == b"some content"


def test_the_secrets_of_an_identity_do_not_show() -> None:
    assert "s3cret" not in repr(Identity(text="s3cret", passphrase="s3cret"))


def test_a_program_that_is_killed_says_nothing_of_the_stream(
    runner: ModuleRunner,
    without_library: Callable[[str], None],
    without_programs: None,
    shell_program: Callable[..., str],
    text: bytes,
) -> None:
    without_library("compression")
    without_library("zstandard")
    shell_program("zstd", "kill -9 $$")
    with pytest.raises(ProgramFailed), decoder_for(Encoding("zstd"), runner).decoding(lambda piece: None) as decoder:
        decoder.write(memoryview(text))
        decoder.finish()


def test_a_host_that_can_not_read_zstandard_is_told_what_to_install(
    runner: ModuleRunner, without_library: Callable[[str], None], without_programs: None
) -> None:
    without_library("compression")
    without_library("zstandard")
    with pytest.raises(LibraryMissing, match="package zstd"):
        decoder_for(Encoding("zstd"), runner)
