"""The manifest beside a payload: its origin, and the digests by which it is verified. Version 1, JSON, sorted keys."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import re
import typing as t
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._digests import BLAKE3, SHA256, Digest

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
    created_at: datetime | None = None
    finished_at: datetime | None = None
    confirmed_at: datetime | None = None
    payload_bytes: int | None = None
    payload_sha256: str | None = None
    content_bytes: int | None = None
    content_sha256: str | None = None
    content_blake3: str | None = None
    verification: Verification | None = None

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
        if self.content_blake3 is not None:
            return Digest(BLAKE3, self.content_blake3)
        return None if self.content_sha256 is None else Digest(SHA256, self.content_sha256)

    def with_content(self, size: int, digest: Digest | None) -> Manifest:
        """Return the manifest with a content's size and digest."""
        values = {} if digest is None else {digest.algorithm: digest.value}
        return self._replace(content_bytes=size, content_sha256=values.get(SHA256), content_blake3=values.get(BLAKE3))

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


def _to_json(value: t.Any) -> t.Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Verification):
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


_NUMBER = re.compile(r"[0-9]+")
# Python's own parser accepts more forms, and more with every version.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OTHERS: dict[str, type] = {  # not text, in JSON
    **dict.fromkeys(("major_mismatch", "encrypted", "partial", "pinned"), bool),
    **dict.fromkeys(("manifest_version", "payload_bytes", "content_bytes"), int),
    "partial_arguments": list,
    "labels": dict,
    "verification": dict,
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
        ("partial_arguments", _texts),
        ("labels", _labels),
        ("verification", _verification),
    )
)
