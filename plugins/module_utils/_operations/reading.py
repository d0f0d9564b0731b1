"""Read a payload from end to end, once: compute both digests, and pass the content to a sink.

payload ─chunks→ payload digest → decoder → content digest → sink
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import sys
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Decoder, Decoding, Write
from ansible_collections.lastgood.database.plugins.module_utils._digests import Digest
from ansible_collections.lastgood.database.plugins.module_utils._engines.content import ContentDigest
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid, Interrupted, PayloadCorrupt
from ansible_collections.lastgood.database.plugins.module_utils._lane import Lane, lane
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import NO_MANIFEST, Manifest
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore


@dataclass(frozen=True)
class Reading:
    """The result of reading a payload.

    If the content could not be read to its end, ``error`` says why, and the content's digest is None.
    """

    payload_bytes: int
    payload_sha256: str
    content_bytes: int
    content_digest: Digest | None = None
    error: ContentInvalid | None = None

    def payload_is(self, manifest: Manifest) -> bool:
        """Return whether the payload is the one that the manifest was written for."""
        return (self.payload_bytes, self.payload_sha256) == (manifest.payload_bytes, manifest.payload_sha256)

    def content_is(self, manifest: Manifest) -> bool:
        """Return whether the content is the one that the manifest was written for. Ignores values that the manifest lacks."""
        if self.error is not None:
            return False
        return manifest.has_content_bytes(self.content_bytes) and self._agrees(manifest.content_digest)

    def _agrees(self, expected: Digest | None) -> bool:
        """Return whether the content's digest is the expected one, or can't be compared: the host lacks its algorithm or key."""
        found = self.content_digest
        if expected is None or (found is not None and found.algorithm != expected.algorithm):
            return True
        return found == expected


def read_payload(
    store: ReadableStore,
    filename: str,
    decoding: Decoding,
    digest: ContentDigest,
    sink: Write = lambda data: None,
    is_stopped: t.Callable[[], bool] = lambda: False,
    expected: Manifest = NO_MANIFEST,
    advance: t.Callable[[int], object] = lambda count: None,
) -> Reading:
    """Read a payload, and return the result. An error of the sink ends the reading.

    Calls ``advance`` with the bytes of each piece of the payload.

    Reads a broken stream to its end too, since the payload's digest is known only there. Reads no more of a payload or content
    than the ``expected`` manifest's size.
    """
    payload = hashlib.sha256()
    most = sys.maxsize if expected.payload_bytes is None else expected.payload_bytes
    reading = _reading(payload.update, digest.update, sink, expected.content_bytes)
    with contextlib.closing(store.chunks(filename)) as chunks, reading as reader, decoding.decoding(reader.take) as decoder:
        for chunk in chunks:
            _check_stopped(is_stopped)
            reader.feed(decoder, chunk)
            advance(len(chunk))
            if reader.payload_bytes > most:
                break
        is_whole = reader.finish(decoder)
    content_digest = reader.judge(digest) if is_whole else None
    return Reading(reader.payload_bytes, payload.hexdigest(), reader.content_bytes, content_digest, reader.error)


def read_payload_alone(
    store: ReadableStore,
    filename: str,
    is_stopped: t.Callable[[], bool],
    expected: Manifest,
    advance: t.Callable[[int], object] = lambda count: None,
) -> Reading:
    """Read a payload that the host can't decode. The reading has the payload's size and digest, and no content.

    Reads no further than the payload's ``expected`` size.
    """
    payload, payload_bytes = hashlib.sha256(), 0
    most = sys.maxsize if expected.payload_bytes is None else expected.payload_bytes
    with contextlib.closing(store.chunks(filename)) as chunks:
        for chunk in chunks:
            _check_stopped(is_stopped)
            payload.update(chunk)
            payload_bytes += len(chunk)
            advance(len(chunk))
            if payload_bytes > most:
                break
    return Reading(payload_bytes, payload.hexdigest(), 0)


def _check_stopped(is_stopped: t.Callable[[], bool]) -> None:
    if is_stopped():
        raise Interrupted("The run was ended in the middle of reading a backup.", "Run it again.")


_Work = t.Callable[[memoryview], object]


@contextlib.contextmanager
def _reading(payload: _Work, content: _Work, sink: _Work, most: int | None) -> t.Iterator[_Reader]:
    """Open a lane for each kind of work."""
    with lane(payload) as payload_lane, lane(content) as content_lane, lane(sink) as sink_lane:
        yield _Reader(payload_lane, content_lane, sink_lane, most)


class _Reader:
    """Counts what was read. While one piece is decoded, those before it are digested and passed on."""

    def __init__(self, payload: Lane[memoryview], content: Lane[memoryview], sink: Lane[memoryview], most: int | None) -> None:
        """``most`` is the content's size in bytes, None if it is not known."""
        self.payload_bytes = 0
        self.content_bytes = 0
        self.error: ContentInvalid | None = None
        self._payload = payload
        self._content = content
        self._sink = sink
        self._most = sys.maxsize if most is None else most

    def feed(self, decoder: Decoder, chunk: memoryview) -> None:
        self._payload.give(chunk)
        self.payload_bytes += len(chunk)
        if self.error is None:
            try:
                decoder.write(chunk)
            except ContentInvalid as error:
                self.error = error
        self._payload.settle()  # the next chunk reuses the memory

    def take(self, piece: bytes | memoryview) -> None:
        """Take in the next output of the decoder."""
        view = memoryview(piece)
        self.content_bytes += len(view)
        if self.content_bytes > self._most:
            raise PayloadCorrupt(
                f"It unpacks to more than the {self._most} bytes that its manifest says.", "Take another backup."
            )
        self._content.give(view)
        self._sink.give(view)
        if not isinstance(piece, bytes):
            self._settle()  # its memory is reused too

    def finish(self, decoder: Decoder) -> bool:
        """End the reading, and return whether the stream was complete."""
        try:
            if self.error is None:
                decoder.finish()
            self._settle()
        except ContentInvalid as error:
            self.error = error
        return self.error is None

    def judge(self, digest: ContentDigest) -> Digest | None:
        """Return the digest of the content, None if the content is not whole."""
        try:
            return digest.finish()
        except ContentInvalid as error:
            self.error = ContentInvalid(
                "What is inside does not begin or does not end as a dump of its kind does.", "Take another backup."
            )
            self.error.__cause__ = error
            return None

    def _settle(self) -> None:
        self._content.settle()
        self._sink.settle()
