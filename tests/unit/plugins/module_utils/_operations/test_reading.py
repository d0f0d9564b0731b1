"""What reading a payload once finds out."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Write
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding, decoder_for
from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import content_digest_for
from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted, NoSpace, PayloadCorrupt, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._operations import reading
from ansible_collections.lastgood.database.plugins.module_utils._operations.reading import (
    Reading,
    read_payload,
    read_payload_alone,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import manifest_of

NAME = "backup_app_2026-01-31_01-00-00.dump.gz"
CONTENT = b"SQLite format 3\x00" + bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SQLITE = Manifest(engine="sqlite", format="custom", content_sha256=DIGEST)
SHORT = CONTENT[:1000]  # of one piece

each_compression = pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


def manifest_for(payload: bytes) -> Manifest:
    return manifest_of(payload, content_bytes=len(CONTENT), content_sha256=DIGEST)


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-1", "-c"], input=data, capture_output=True, check=True).stdout


def read(store: LocalStore, runner: ModuleRunner, payload: bytes, taken: bytearray | None = None) -> Reading:
    (Path(store.location) / NAME).write_bytes(payload)
    digest = content_digest_for(SQLITE)
    assert digest is not None
    sink = (bytearray() if taken is None else taken).extend
    return read_payload(store, NAME, decoder_for(Encoding("gzip"), runner), digest, sink)


def read_as(store: LocalStore, runner: ModuleRunner, compression: str, content: bytes, sink: Write) -> Reading:
    payload = {"gzip": gzip.compress, "zstd": zstd, "none": bytes}[compression](content)
    (Path(store.location) / NAME).write_bytes(payload)
    digest = content_digest_for(SQLITE)
    assert digest is not None
    return read_payload(store, NAME, decoder_for(Encoding(compression), runner), digest, sink)


def test_a_payload_as_it_was_written_has_both_digests_and_gives_its_content(store: LocalStore, runner: ModuleRunner) -> None:
    payload, taken = gzip.compress(CONTENT), bytearray()
    found = read(store, runner, payload, taken)
    assert taken == CONTENT
    assert (found.content_bytes, found.content_digest, found.error) == (len(CONTENT), Digest("sha256", DIGEST), None)
    assert found.payload_is(manifest_for(payload))
    assert found.content_is(manifest_for(payload))


def test_other_bytes_that_say_the_same_are_another_payload_of_the_same_content(store: LocalStore, runner: ModuleRunner) -> None:
    found = read(store, runner, gzip.compress(CONTENT, 1))
    said = manifest_for(gzip.compress(CONTENT, 9))
    assert not found.payload_is(said)
    assert found.content_is(said)


def test_other_content_is_told_from_the_manifests(store: LocalStore, runner: ModuleRunner) -> None:
    payload = gzip.compress(CONTENT[:-1] + b"x")
    found = read(store, runner, payload)
    assert found.payload_is(manifest_for(payload))
    assert not found.content_is(manifest_for(payload))


def test_a_broken_stream_is_no_content_and_its_payload_is_digested_to_the_end(store: LocalStore, runner: ModuleRunner) -> None:
    payload = gzip.compress(CONTENT)
    for broken in (payload[:-1], b"x" + payload, payload + b"garbage"):
        found = read(store, runner, broken)
        assert found.error is not None
        assert found.payload_sha256 == hashlib.sha256(broken).hexdigest()
        assert found.payload_is(manifest_for(broken))
        assert not found.content_is(manifest_for(broken))
        assert not found.content_is(Manifest())


def test_a_whole_stream_of_something_else_is_no_content(store: LocalStore, runner: ModuleRunner) -> None:
    found = read(store, runner, gzip.compress(b"something else, and quite long"))
    assert found.error is not None
    assert found.content_digest is None


def test_what_a_manifest_does_not_say_can_not_differ(store: LocalStore, runner: ModuleRunner) -> None:
    payload = gzip.compress(CONTENT)
    found = read(store, runner, payload)
    assert found.content_is(manifest_for(payload)._replace(content_bytes=None, content_sha256=None))
    assert not found.content_is(manifest_for(payload)._replace(content_bytes=1, content_sha256=None))
    assert not found.payload_is(manifest_for(payload)._replace(payload_sha256=None))


def test_what_the_sink_raises_ends_the_reading(store: LocalStore, runner: ModuleRunner) -> None:
    (Path(store.location) / NAME).write_bytes(gzip.compress(CONTENT))
    digest = content_digest_for(SQLITE)
    assert digest is not None

    def sink(data: bytes | memoryview) -> None:
        raise NoSpace("The disk is full.", "Make room.")

    with pytest.raises(NoSpace):
        read_payload(store, NAME, decoder_for(Encoding("gzip"), runner), digest, sink)


@each_compression
def test_what_the_sink_raises_for_the_last_piece_is_not_lost(store: LocalStore, runner: ModuleRunner, compression: str) -> None:
    def sink(data: bytes | memoryview) -> None:
        raise NoSpace("The disk is full.", "Make room.")

    with pytest.raises(NoSpace):
        read_as(store, runner, compression, SHORT, sink)


@each_compression
@pytest.mark.parametrize("slow", ["sink", "payload"])
def test_whoever_is_slow_gets_each_byte_in_its_place(
    store: LocalStore, runner: ModuleRunner, compression: str, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = SHORT + os.urandom(3 * CHUNK_BYTES)
    taken = bytearray()

    class Slow:
        """A digest that looks at what it got a little later."""

        def __init__(self) -> None:
            self._digest = hashlib.sha256()

        def update(self, data: bytes | memoryview) -> None:
            time.sleep(0.05 * (slow == "payload"))
            self._digest.update(data)

        def hexdigest(self) -> str:
            return self._digest.hexdigest()

    def sink(data: bytes | memoryview) -> None:
        time.sleep(0.05 * (slow == "sink"))
        taken.extend(data)

    monkeypatch.setattr(reading, "hashlib", types.SimpleNamespace(sha256=Slow))
    found = read_as(store, runner, compression, content, sink)
    assert taken == content
    assert found.payload_sha256 == hashlib.sha256((Path(store.location) / NAME).read_bytes()).hexdigest()
    assert found.content_digest == Digest("sha256", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_of_a_content_that_is_longer_than_it_should_be_no_more_is_unpacked(
    store: LocalStore, runner: ModuleRunner, compression: str
) -> None:
    bomb = CONTENT + bytes(200_000_000)
    payload = gzip.compress(bomb) if compression == "gzip" else zstd(bomb)
    (Path(store.location) / NAME).write_bytes(payload)
    digest, taken = content_digest_for(SQLITE), bytearray()
    assert digest is not None
    decoding = decoder_for(Encoding(compression), runner)
    found = read_payload(store, NAME, decoding, digest, taken.extend, expected=manifest_for(payload))
    assert isinstance(found.error, PayloadCorrupt)  # of a wrong size, that is
    assert len(taken) <= len(CONTENT)
    assert found.payload_is(manifest_for(payload)) and not found.content_is(manifest_for(payload))


def test_of_a_payload_that_is_longer_than_it_should_be_no_more_is_read(store: LocalStore, runner: ModuleRunner) -> None:
    payload = gzip.compress(CONTENT)
    (Path(store.location) / NAME).write_bytes(payload + bytes(50_000_000))
    digest = content_digest_for(SQLITE)
    assert digest is not None
    found = read_payload(store, NAME, decoder_for(Encoding("gzip"), runner), digest, expected=manifest_for(payload))
    assert len(payload) < found.payload_bytes <= len(payload) + CHUNK_BYTES
    assert not found.payload_is(manifest_for(payload))


def test_a_payload_that_is_gone_is_an_error_of_the_store(store: LocalStore, runner: ModuleRunner) -> None:
    digest = content_digest_for(SQLITE)
    assert digest is not None
    with pytest.raises(StoreFailed):
        read_payload(store, NAME, decoder_for(Encoding("gzip"), runner), digest)


def test_a_run_that_is_told_to_stop_reads_no_further(store: LocalStore, runner: ModuleRunner) -> None:
    (Path(store.location) / NAME).write_bytes(gzip.compress(CONTENT))
    digest = content_digest_for(SQLITE)
    assert digest is not None
    with pytest.raises(Interrupted):
        read_payload(store, NAME, decoder_for(Encoding("gzip"), runner), digest, is_stopped=lambda: True)


def test_a_kind_of_dump_that_is_not_known_has_no_digest() -> None:
    assert content_digest_for(Manifest(engine="mysql", format="custom")) is None
    assert content_digest_for(Manifest()) is None


def test_a_digest_of_another_algorithm_can_not_differ(store: LocalStore, runner: ModuleRunner) -> None:
    payload = gzip.compress(CONTENT)
    found = Reading(len(payload), "", len(CONTENT), Digest("sha256", DIGEST))
    assert found.content_is(Manifest(content_blake3="0" * 64))
    assert not found.content_is(Manifest(content_sha256="0" * 64))


class TestPayloadAlone:
    """Without a codec, a payload's own size and digest are known."""

    def test_a_payload_that_no_codec_here_decodes_is_digested(self, store: LocalStore) -> None:
        payload = b"\x28\xb5\x2f\xfd of a compression that this host lacks" * 50_000
        Path(store.location, NAME).write_bytes(payload)
        alone = read_payload_alone(store, NAME, lambda: False, manifest_for(payload))
        assert alone.payload_is(manifest_for(payload))
        assert (alone.content_bytes, alone.error) == (0, None)

    def test_another_payload_is_another_one(self, store: LocalStore) -> None:
        Path(store.location, NAME).write_bytes(b"other")
        assert not read_payload_alone(store, NAME, lambda: False, manifest_for(b"payload")).payload_is(manifest_for(b"payload"))

    def test_no_more_is_read_of_a_payload_that_is_longer_than_its_manifest_says(self, store: LocalStore) -> None:
        Path(store.location, NAME).write_bytes(bytes(20 * CHUNK_BYTES))
        alone = read_payload_alone(store, NAME, lambda: False, manifest_for(b"payload"))
        assert len(b"payload") < alone.payload_bytes <= CHUNK_BYTES

    def test_a_stopped_run_reads_no_further(self, store: LocalStore) -> None:
        Path(store.location, NAME).write_bytes(b"payload")
        with pytest.raises(Interrupted):
            read_payload_alone(store, NAME, lambda: True, manifest_for(b"payload"))


def test_a_content_whose_digest_has_a_key_agrees_without_the_key_if_its_rounded_size_does() -> None:
    found = Reading(1, "0" * 64, 70_000, Digest("blake3", "1" * 64))
    manifest = Manifest(content_bytes=131_072, content_keyed_blake3="0" * 64, content_key="1")
    assert found.content_is(manifest)
    assert not found.content_is(manifest._replace(content_bytes=65_536))
