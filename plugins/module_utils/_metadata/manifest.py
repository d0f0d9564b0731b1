"""The manifest beside a payload: its origin, and the digests by which it is verified. Version 1, JSON, sorted keys."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import re
import typing as t
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._digests import (
    BLAKE3,
    HMAC_SHA256,
    KEYED_BLAKE3,
    SHA256,
    Digest,
)

MANIFEST_VERSION = 1
PRODUCER = "lastgood.database"
LARGEST_MANIFEST = 64 * 1024  # bytes; ours have about 1,000, and with the longest paths and words some 20,000

Verdict = t.Literal["passed", "failed", "inconclusive"]
Level = t.Literal["checksum", "structure", "restore"]
LEVELS: tuple[Level, ...] = t.get_args(Level)  # the deepest last

PAYLOAD_DIFFERS = "Its size or its SHA-256 is not the one in its manifest."
# The payload matches its digest, but its content does not: only a verification of the content clears this verdict.
CONTENT_DIFFERS = "The size or the digest of its content is not the one in its manifest."


class Verification(t.NamedTuple):
    """The result of a verification of a backup, its level, and its time."""

    level: Level
    verdict: Verdict
    verified_at: datetime
    detail: str


class Position(t.NamedTuple):
    """The place in a server's binary log that belongs to a dump: exactly the changes that the dump lacks are after it."""

    file: str
    offset: int
    gtid: str | None = None


def cause_of(detail: str) -> str:
    """Return the detail of a verdict without numbers, such as line numbers, so that equal causes are equal."""
    return _NUMBER.sub("#", detail)


class Manifest(t.NamedTuple):
    """The values in a manifest. Times are in UTC, sizes are bytes, digests are in hexadecimal.

    A field is None if the file lacks it, or has a value of another type, as another tool's manifest may have.
    """

    manifest_version: int | None = None
    producer: str | None = None
    kind: str | None = None
    origin: str | None = None
    engine: str | None = None
    server_version: str | None = None
    tool: str | None = None
    major_mismatch: bool | None = None
    instance: str | None = None
    database: str | None = None
    source: str | None = None
    partial: bool | None = None
    partial_arguments: tuple[str, ...] | None = None
    pinned: bool | None = None
    pinned_at: datetime | None = None  # when that last changed: the later of two copies' pins counts
    labels: t.Mapping[str, str] | None = None
    labelled_at: datetime | None = None
    format: str | None = None
    compression: str | None = None
    compressor: str | None = None
    encrypted: bool | None = None
    encryption: str | None = None
    encryptor: str | None = None
    recipients: tuple[str, ...] | None = None  # the ids of public keys, sorted
    created_at: datetime | None = None
    finished_at: datetime | None = None
    confirmed_at: datetime | None = None
    payload_bytes: int | None = None
    payload_sha256: str | None = None
    content_bytes: int | None = None
    content_sha256: str | None = None
    content_blake3: str | None = None
    content_hmac_sha256: str | None = None
    content_keyed_blake3: str | None = None
    content_key: str | None = None  # the id of that digest's key; if it is set, content_bytes is rounded
    verification: Verification | None = None
    position: Position | None = None

    @property
    def usable(self) -> bool:
        """Whether it suffices to call a backup good: it has our version, and identifies the payload and its group."""
        return self.manifest_version == MANIFEST_VERSION and None not in (
            self.kind,
            self.origin,
            self.engine,
            self.instance,
            self.created_at,
            self.payload_bytes,
            self.payload_sha256,
        )

    @property
    def content_digest(self) -> Digest | None:
        """The digest of the content, None if the file lacks it."""
        values = ((algorithm, getattr(self, f"content_{algorithm}")) for algorithm in _ALGORITHMS)
        return next((Digest(algorithm, value) for algorithm, value in values if value is not None), None)

    def with_content(self, size: int, digest: Digest | None, key: str | None = None) -> Manifest:
        """Return the manifest with a content's size and digest, and the id of the digest's key."""
        values: dict[str, t.Any] = {f"content_{algorithm}": None for algorithm in _ALGORITHMS}
        if digest is not None:
            values[f"content_{digest.algorithm}"] = digest.value
        return self._replace(content_bytes=size if key is None else _rounded(size), content_key=key, **values)

    def has_content_bytes(self, size: int) -> bool:
        """Return whether a content of that size matches the manifest."""
        return self.content_bytes in (None, size if self.content_key is None else _rounded(size))

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        values = {name: _to_json(value) for name, value in self._asdict().items()}
        return json.dumps(values, sort_keys=True, indent=1).encode() + b"\n"


NO_MANIFEST = Manifest()


def from_bytes(data: bytes) -> Manifest:
    """Parse a manifest. Invalid data gives one without values, and no error."""
    if len(data) > LARGEST_MANIFEST:
        return NO_MANIFEST
    try:
        values = json.loads(data.decode())
    except (ValueError, RecursionError):
        return NO_MANIFEST
    if not isinstance(values, dict):
        return NO_MANIFEST
    # This runs for many thousand manifests: the loop checks types itself, and calls a function for a few fields only.
    get = values.get
    found = [value if (value := get(name)).__class__ is kind else None for name, kind in _TYPES]
    for position, read in _READERS:
        if (value := found[position]) is not None:
            found[position] = read(value)
    return Manifest._make(found)


def format_time(time: datetime) -> str:
    """Return a time in the manifests' format: ISO 8601, in UTC, to the second."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rounded(size: int) -> int:
    """Return a size rounded up, so that it can't confirm a guess at the content: to at most 6 % more, or a multiple of 64 KiB."""
    step = max(_LEAST_STEP, 1 << max(0, size.bit_length() - _BITS))
    return -(-size // step) * step


def _to_json(value: t.Any) -> t.Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, (Verification, Position)):
        return {name: _to_json(field) for name, field in value._asdict().items()}
    return value


@functools.lru_cache(maxsize=16)  # created, finished and confirmed are often one and the same
def parse_time(text: str) -> datetime | None:
    """Parse a time of the form 2026-01-31T01:00:00Z. Return None for any other text."""
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return None


def _digest(text: str) -> str | None:
    return text if _DIGEST.fullmatch(text) else None


def _texts(value: list[t.Any]) -> tuple[str, ...] | None:
    return tuple(value) if all(isinstance(text, str) for text in value) else None


def _labels(value: dict[str, t.Any]) -> dict[str, str] | None:
    return value if all(isinstance(text, str) for text in value.values()) else None


def _verification(value: dict[str, t.Any]) -> Verification | None:
    level: t.Any = value.get("level")
    verdict: t.Any = value.get("verdict")
    verified_at: t.Any = value.get("verified_at")
    detail: t.Any = value.get("detail")
    time = parse_time(verified_at) if isinstance(verified_at, str) else None
    if level not in LEVELS or verdict not in t.get_args(Verdict) or time is None:
        return None
    return Verification(level, verdict, time, detail if isinstance(detail, str) else "")


def _position(value: dict[str, t.Any]) -> Position | None:
    file: t.Any = value.get("file")
    offset: t.Any = value.get("offset")
    gtid: t.Any = value.get("gtid")
    if file.__class__ is not str or offset.__class__ is not int:
        return None
    return Position(file, offset, gtid if isinstance(gtid, str) else None)


_ALGORITHMS = (BLAKE3, SHA256, KEYED_BLAKE3, HMAC_SHA256)  # as fields, each name after content_
_LEAST_STEP = 64 * 1024  # bytes
_BITS = 5  # of a size that rounding retains
_NUMBER = re.compile(r"[0-9]+")
# Python's own parser accepts more forms, and more with every version.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OTHERS: dict[str, type] = {  # not text, in JSON
    **dict.fromkeys(("major_mismatch", "encrypted", "partial", "pinned"), bool),
    **dict.fromkeys(("manifest_version", "payload_bytes", "content_bytes"), int),
    "partial_arguments": list,
    "recipients": list,
    "labels": dict,
    "verification": dict,
    "position": dict,
}
_TYPES = tuple((name, _OTHERS.get(name, str)) for name in Manifest._fields)
_READERS: tuple[tuple[int, t.Callable[[t.Any], t.Any]], ...] = tuple(
    (Manifest._fields.index(name), read)
    for name, read in (
        ("created_at", parse_time),
        ("finished_at", parse_time),
        ("confirmed_at", parse_time),
        ("pinned_at", parse_time),
        ("labelled_at", parse_time),
        ("payload_sha256", _digest),
        ("content_sha256", _digest),
        ("content_blake3", _digest),
        ("content_hmac_sha256", _digest),
        ("content_keyed_blake3", _digest),
        ("recipients", _texts),
        ("partial_arguments", _texts),
        ("labels", _labels),
        ("verification", _verification),
        ("position", _position),
    )
)
