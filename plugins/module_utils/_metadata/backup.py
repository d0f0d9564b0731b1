"""One backup: a payload in a store, with what its name, its file and its manifest say."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    NO_MANIFEST,
    Manifest,
    Verification,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import BackupName, label_for, manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts

Clock = t.Callable[[], datetime]  # the time, in UTC
State = t.Literal["good", "unverified", "suspect", "corrupt"]
STATES: tuple[State, ...] = t.get_args(State)

# A clock may be a little ahead. A time that is further ahead is wrong.
_FUTURE_TOLERANCE = timedelta(hours=1)

_UNKNOWN_ARGUMENTS = ("unknown",)

# The stamp in a name is the second of the backup, or the next one that no other backup has.
_EARLIEST_STAMP = timedelta(seconds=-1)
_LATEST_STAMP = timedelta(hours=1)


class Group(t.NamedTuple):
    """The properties that backups share if they can stand for each other. Retention, idempotence and "latest" never mix groups.

    ``partial`` has the arguments by which a dump leaves a part of the database out. A whole dump has none.
    """

    origin: str | None
    engine: str | None
    instance: str | None
    kind: str
    database: str | None
    partial: tuple[str, ...] = ()

    def facts(self) -> dict[str, t.Any]:
        """Return the group as modules report it."""
        return {**self._asdict(), "partial": bool(self.partial), "partial_arguments": list(self.partial)}


class Backup(t.NamedTuple):
    """A payload in a store.

    ``corrupt`` is set after a reading that found another digest than the manifest's. ``unread`` is the error of a manifest that
    could not be read: its content is unknown, which differs from a manifest that does not exist.
    """

    name: BackupName
    path: str
    facts: FileFacts
    manifest: Manifest
    corrupt: bool = False
    unread: StoreFailed | None = None

    @property
    def filename(self) -> str:
        return self.name.filename

    @property
    def size_bytes(self) -> int:
        return self.facts.size_bytes

    @property
    def modified_at(self) -> datetime:
        return self.facts.modified_at

    @property
    def state(self) -> State:
        manifest = self.manifest
        if self.corrupt:
            return "corrupt"
        if not manifest.usable or not self._manifest_fits:
            return "unverified"
        if manifest.payload_bytes != self.size_bytes:
            return "corrupt"
        verification = manifest.verification
        if verification is not None and verification.verdict == "failed":
            return "corrupt" if verification.level == "checksum" else "suspect"
        return "good"

    @property
    def group(self) -> Group:
        manifest = self.manifest
        return Group(manifest.origin, manifest.engine, manifest.instance, self.name.kind, self.database, self._partial)

    @property
    def _partial(self) -> tuple[str, ...]:
        """The arguments that leave a part out. Without them, ``partial`` in a manifest still marks a backup that is not whole."""
        arguments = self.manifest.partial_arguments or ()
        return arguments or _UNKNOWN_ARGUMENTS if self.manifest.partial else ()

    @property
    def title(self) -> str:
        """The database's name, or else the kind of backup, for people."""
        return self.database or self.name.kind

    @property
    def database(self) -> str | None:
        """The database's name; from the manifest only if the file name lacks it or has only its beginning."""
        if self.name.kind == "globals":
            return None
        return self.name.database or self.manifest.database

    @property
    def created_at(self) -> datetime:
        """The moment before the dump's snapshot; without it in a manifest, the stamp in the name."""
        return self.manifest.created_at or self.name.stamp

    @property
    def confirmed_at(self) -> datetime:
        """When the content was last known to be the database's, by the manifest."""
        created_at = self.created_at
        return max(self.manifest.confirmed_at or created_at, created_at)

    @property
    def pinned(self) -> bool:
        """Whether no prune may delete it, whatever its state. An unusable manifest can pin too."""
        return bool(self.manifest.pinned)

    @property
    def _manifest_fits(self) -> bool:
        """Whether the manifest can be this payload's, and was not swapped with another backup's."""
        manifest = self.manifest
        if manifest.kind != self.name.kind:
            return False
        if not self.name.label:
            return True
        if not _EARLIEST_STAMP < self.name.stamp - self.created_at <= _LATEST_STAMP:
            return False
        if self.name.kind == "globals":
            return True
        return manifest.database is not None and label_for("database", manifest.database) == self.name.label

    def last_confirmed_at(self, now: datetime) -> datetime:
        """Return when the content was last known to be the database's. The backup's age counts from this time.

        A confirmation from the future does not count: it would keep the backup young until then.
        """
        return self.created_at if is_future(self.confirmed_at, now) else self.confirmed_at

    def age_seconds(self, now: datetime) -> int:
        """Return the seconds since the content was last known to be the database's; never negative."""
        return max(0, int((now - self.last_confirmed_at(now)).total_seconds()))

    def record(self, now: datetime) -> dict[str, t.Any]:
        """Return the backup as modules report it."""
        manifest = self.manifest
        return {
            "filename": self.name.filename,
            "path": self.path,
            "manifest": None if manifest is NO_MANIFEST and self.unread is None else manifest_name(self.name.filename),
            **self.group.facts(),
            "source": manifest.source,
            "format": manifest.format,
            "compression": self.name.compression,
            "encrypted": self.name.encrypted,
            "recipients": None if manifest.recipients is None else list(manifest.recipients),
            "state": self.state,
            "pinned": self.pinned,
            "labels": dict(manifest.labels or {}),
            **time_facts("created_at", self.created_at),
            **time_facts("modified_at", self.modified_at),
            **time_facts("confirmed_at", self.confirmed_at),
            "size_kb": f"{self.size_bytes / 1024:.1f}",
            "size_bytes": self.size_bytes,
            "age_seconds": self.age_seconds(now),
            "payload_sha256": manifest.payload_sha256,
            "position": None if manifest.position is None else manifest.position._asdict(),
            "verification": _display_verification(manifest.verification),
            "problem": None if self.unread is None else self.unread.problem,
        }


def is_future(time: datetime, now: datetime) -> bool:
    """Return whether a time is more than an hour ahead of the clock."""
    return time > now + _FUTURE_TOLERANCE


def time_facts(key: str, time: datetime | None) -> dict[str, t.Any]:
    """Return a time as modules report it: as text in UTC, and as seconds since 1970."""
    if time is None:
        return {key: None, f"{key}_epoch": None}
    return {key: display_time(time), f"{key}_epoch": int(time.timestamp())}


def _display_verification(verification: Verification | None) -> dict[str, t.Any] | None:
    if verification is None:
        return None
    return {**verification._asdict(), "verified_at": display_time(verification.verified_at)}


def display_time(time: datetime) -> str:
    """Return a time as modules report it, in UTC."""
    return time.replace(tzinfo=None).isoformat(" ", "seconds")  # strftime would shorten a year before 1000
