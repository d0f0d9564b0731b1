# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""The manifest beside a payload: what it is, and how it is known to be good. Version 1, JSON, sorted keys."""

from __future__ import annotations

import functools
import json
import re
import typing as t
from datetime import datetime, timezone

MANIFEST_VERSION = 1
PRODUCER = "lastgood.database"
LARGEST_MANIFEST = 64 * 1024  # bytes; ours have about 1,000, and with the longest paths and words some 20,000

Verdict = t.Literal["passed", "failed", "inconclusive"]
Level = t.Literal["checksum", "structure", "restore"]
LEVELS: tuple[Level, ...] = t.get_args(Level)  # the deeper, the later


# The payload is as it was written, but what it unpacks to is not what was dumped: only a look inside takes this verdict back.
CONTENT_DIFFERS = "The size or the digest of its content is not the one in its manifest."


class Verification(t.NamedTuple):
    """What was found when somebody looked at a backup, how deep the look went, and when it was."""

    level: Level
    verdict: Verdict
    verified_at: datetime
    detail: str


def cause_of(detail: str) -> str:
    """Return what is common to the details of verdicts that have one cause: numbers, such as a line's, differ by chance."""
    return _NUMBER.sub("#", detail)


class Manifest(t.NamedTuple):
    """What a sidecar says. Times are in UTC, sizes are bytes, digests are SHA-256 in hexadecimal.

    Any field is None where the file does not say, or says something of another type: a foreign sidecar is read for what
    it has.
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
    verification: Verification | None = None

    @property
    def usable(self) -> bool:
        """Whether a backup can be called good by it: our version, with what tells the payload and its group."""
        return self.manifest_version == MANIFEST_VERSION and None not in (
            self.kind,
            self.origin,
            self.engine,
            self.instance,
            self.created_at,
            self.payload_bytes,
            self.payload_sha256,
        )

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        values = {name: _to_json(value) for name, value in self._asdict().items()}
        return json.dumps(values, sort_keys=True, indent=1).encode() + b"\n"


NO_MANIFEST = Manifest()


def from_bytes(data: bytes) -> Manifest:
    """Read a sidecar for what it has; garbage has nothing, and raises nothing."""
    if len(data) > LARGEST_MANIFEST:
        return NO_MANIFEST
    try:
        text = data.decode()
        ours = _from_ours(text)
        if ours is not None:
            return ours
        values = json.loads(text)
    except (ValueError, RecursionError):
        return NO_MANIFEST
    if not isinstance(values, dict):
        return NO_MANIFEST
    found = [value if (value := values.get(name)).__class__ is kind else None for name, kind in _TYPES]
    for position, read in _READERS:
        found[position] = read(found[position])
    return Manifest._make(found)


def _from_ours(text: str) -> Manifest | None:
    """Read a manifest that is as we write it, in half the time: a listing reads many thousands. None for any other."""
    match = _OURS.fullmatch(text)
    if match is None:
        return None
    found: list[t.Any] = [*match.group(*_OURS_GROUPS)]
    for position, read in _OURS_READERS:
        found[position] = read(found[position])
    return Manifest._make(found)


def format_time(time: datetime) -> str:
    """Return a time as it stands in manifests: ISO 8601, in UTC, to the second."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _to_json(value: t.Any) -> t.Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Verification):
        return {name: _to_json(field) for name, field in value._asdict().items()}
    return value


def _time(text: str | None) -> datetime | None:
    """Return the time that a text of the form 2026-01-31T01:00:00Z is, None for anything else."""
    return None if text is None or _TIME.fullmatch(text) is None else _moment(text)


@functools.lru_cache(maxsize=16)  # created, finished and confirmed are often one and the same
def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return None


def _digest(text: str | None) -> str | None:
    return text if text is not None and _SHA256.fullmatch(text) else None


def _texts(value: list[t.Any] | None) -> tuple[str, ...] | None:
    return tuple(value) if value is not None and all(isinstance(text, str) for text in value) else None


def _verification(value: dict[str, t.Any] | None) -> Verification | None:
    if value is None:
        return None
    level: t.Any = value.get("level")
    verdict: t.Any = value.get("verdict")
    verified_at: t.Any = value.get("verified_at")
    detail: t.Any = value.get("detail")
    time = _time(verified_at) if isinstance(verified_at, str) else None
    if level not in LEVELS or verdict not in t.get_args(Verdict) or time is None:
        return None
    return Verification(level, verdict, time, detail if isinstance(detail, str) else "")


_NUMBER = re.compile(r"[0-9]+")
# Python's own reader takes more forms, and more of them with every version.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FLAGS = ("major_mismatch", "encrypted", "partial")
_COUNTS = ("manifest_version", "payload_bytes", "content_bytes")
_OTHERS: dict[str, type] = {
    **dict.fromkeys(_FLAGS, bool),
    **dict.fromkeys(_COUNTS, int),
    "partial_arguments": list,
    "verification": dict,
}
_TYPES = tuple((name, _OTHERS.get(name, str)) for name in Manifest._fields)
_READERS: tuple[tuple[int, t.Callable[[t.Any], t.Any]], ...] = tuple(
    (Manifest._fields.index(name), read)
    for name, read in (
        ("created_at", _time),
        ("finished_at", _time),
        ("confirmed_at", _time),
        ("payload_sha256", _digest),
        ("content_sha256", _digest),
        ("partial_arguments", _texts),
        ("verification", _verification),
    )
)
_ALWAYS_NULL = ("encryption", "partial_arguments", "verification")  # in most manifests that we have just written


def _pattern(name: str) -> str:
    """Return what a field looks like as we write it; a text only where nothing in it had to be escaped."""
    if name in _ALWAYS_NULL:
        return f"null(?P<{name}>(?!))?"  # a group, since every field is one
    if name in _FLAGS:
        return f"(?P<{name}>true|false)"
    if name in _COUNTS:
        return f"(?P<{name}>0|[1-9][0-9]{{0,17}})"
    if name.endswith("_at"):
        return f'"(?P<{name}>{_TIME.pattern})"'
    if name.endswith("_sha256"):
        return f'"(?P<{name}>[0-9a-f]{{64}})"'
    text = rf'"(?P<{name}>[ !#-\[\]-~]*)"'
    return f"(?:null|{text})" if name == "database" else text


_OURS = re.compile("{\n" + ",\n".join(f' "{name}": {_pattern(name)}' for name in sorted(Manifest._fields)) + "\n}\n")
_OURS_GROUPS = tuple(_OURS.groupindex[name] for name in Manifest._fields)
_OURS_READERS: tuple[tuple[int, t.Callable[[t.Any], t.Any]], ...] = tuple(
    (position, int if name in _COUNTS else "true".__eq__ if name in _FLAGS else _moment)
    for position, name in enumerate(Manifest._fields)
    if name in _COUNTS or name in _FLAGS or name.endswith("_at")
)
