# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Send good backups to an SFTP server, each whole under its name there, or not at all.

plan      what the server lacks is sent, unless it is deleted there; what it has with the same digest is there already, with
          bookkeeping that may be older
          check mode stops here
send      payload    to a partial, from where one of an earlier run agrees with ours on; digested on the way
          verify     its size, or its digest by reading it back
          commit     the manifest in place, then one rename, which refuses to replace
refresh   a newer confirmed_at goes into the manifest there; a verdict stays with the copy that it was made on
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import itertools
import threading
import time
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    BackupMissing,
    ConnectionFailed,
    DirectoryMissing,
    Interrupted,
    NameConflict,
    PayloadCorrupt,
    ReadBackDiffers,
    SeveralFailed,
    StoreError,
    StoreFailed,
    host_errors,
    summary_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._lane import lane
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Clock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order, is_candidate
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    Manifest,
    from_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name, upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import (
    Selection,
    missing_from,
    newest_of_each,
    selector_for,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound, sha256_of
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules, Stored, decide
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import LocalStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import SftpStore

Verify = t.Literal["size", "sha256"]

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class UploadRequest:
    """Which backups are sent from where to where.

    ``connect`` makes one more store of the same directory on the server. ``bandwidth_limit`` is bytes a second over all
    connections, None for no limit. ``retention`` are the rules by which backups are deleted on the server, None where they are
    not known. ``is_stopped`` tells whether the run was told to end.
    """

    source: LocalStore
    selection: Selection
    connect: t.Callable[[], SftpStore]
    verify: Verify = "size"
    connections: int = 2
    bandwidth_limit: int | None = None
    create_directory: bool = False
    retention: Rules | None = None
    is_stopped: t.Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Parcel:
    """A backup to send. ``replaces`` is whether what has its name there fails its own manifest, and goes first."""

    backup: Backup
    replaces: bool = False


@dataclass
class Plan:
    """What is to be done, in the order of age."""

    parcels: list[Parcel] = field(default_factory=list)
    bare: list[Backup] = field(default_factory=list)  # whose copy has no manifest that is of use
    stale: list[tuple[Backup, Manifest]] = field(default_factory=list)
    up_to_date: list[str] = field(default_factory=list)
    not_sent: list[tuple[str, str]] = field(default_factory=list)
    failures: dict[str, BackupError] = field(default_factory=dict)
    makes_directory: bool = False


@dataclass
class Report:
    """What was done, or in check mode what would be."""

    location: str
    plan: Plan
    uploaded: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    failures: dict[str, BackupError] = field(default_factory=dict)
    ended_by: BackupError | None = None  # what kept the run from its end, in the middle of it
    bytes: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def failure(self) -> BackupError | None:
        """What to end with, None where all that could be sent was."""
        if self.ended_by is not None:
            return self.ended_by
        failed = dict(sorted(self.failures.items()))
        if not failed:
            return None
        first = next((error for error in failed.values() if isinstance(error, Interrupted)), next(iter(failed.values())))
        return SeveralFailed(
            f"Backups that were not sent to {self.location}: {len(failed)}. "
            + summary_of([(name, str(error)) for name, error in failed.items()]),
            "The local backups are safe; run it again, and what was begun goes on.",
            first,
        )

    def values(self) -> dict[str, t.Any]:
        """Return the report as the module returns it."""
        return {
            "changed": bool(self.plan.makes_directory or self.uploaded or self.mended),
            "uploaded": self.uploaded,
            "resumed": self.resumed,
            "up_to_date": self.plan.up_to_date,
            "refreshed": sorted([*self.mended, *self.refreshed]),
            "not_sent": [{"filename": name, "reason": reason} for name, reason in self.plan.not_sent],
            "failed_uploads": [{"filename": name, "error": error.as_result()} for name, error in self.failures.items()],
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
        }

    def diff(self) -> dict[str, str]:
        """Return what is on the server of these backups, before and after, as Ansible's diff."""
        bare = {backup.name.filename for backup in self.plan.bare}
        before = [f"{name}  (without a manifest)" if name in bare else name for name in self.plan.up_to_date]
        after = [
            f"{name}  (without a manifest)" if name in bare.difference(self.mended) else name for name in self.plan.up_to_date
        ]
        return {
            "before_header": self.location,
            "after_header": self.location,
            "before": _lines(before),
            "after": _lines([*(["./"] if self.plan.makes_directory else []), *after, *self.uploaded]),
        }


def _lines(names: list[str]) -> str:
    return "".join(f"{name}\n" for name in sorted(names))


def upload(request: UploadRequest, clock: Clock, *, check_mode: bool) -> Report:
    """Send what the server lacks. In check mode nothing is written, and the report is of the plan."""
    began = time.monotonic()
    chosen = _chosen(request, clock(), check_mode)
    with contextlib.closing(request.connect()) as remote:
        is_there = remote.exists()
        if not is_there and not request.create_directory:
            raise DirectoryMissing(f"The directory {remote.location} does not exist.", "Make it, or set create_directory.")
        if not is_there and not check_mode:
            remote.ensure()
        plan = _plan(request, chosen, remote, clock())
        plan.makes_directory = not is_there
        report = Report(remote.location, plan, failures=dict(plan.failures))
        if check_mode:
            report.uploaded = [parcel.backup.name.filename for parcel in plan.parcels]
            report.mended = [backup.name.filename for backup in plan.bare]
            report.refreshed = [backup.name.filename for backup, _manifest in plan.stale]
        else:
            try:
                _mend_manifests(remote, report)
                _send_all(request, remote, report)
            except BackupError as error:
                report.ended_by = error if not request.is_stopped() else _interrupted()
        report.warnings = (*report.warnings, *remote.warnings)
    report.seconds = time.monotonic() - began
    return report


# --- The plan --------------------------------------------------------------------------------------


def _chosen(request: UploadRequest, now: datetime, check_mode: bool) -> list[Backup]:
    """Return the backups that are meant, the oldest first. Raises BackupMissing for one that is not there.

    ``newest`` counts the good ones; of the others, those among the newest are told of.
    """
    source, selection = request.source, request.selection
    # In check mode, what is not there may have been predicted a moment ago.
    if not source.exists() and not check_mode:
        raise DirectoryMissing(f"The directory {source.location} does not exist.", "Correct directory, or make a backup first.")
    found = list(Catalog(source).select(selection))
    if (missing := missing_from(found, selection)) and not check_mode:
        raise BackupMissing(
            f"{source.location} has no backup of these names or databases: {', '.join(missing)}.",
            "See with backup_facts what there is. Nothing was sent.",
            missing=missing,
        )
    if selection.newest is not None:
        good = [backup for backup in found if is_candidate(backup, now)]
        others = [backup for backup in newest_of_each(found, selection.newest, now) if backup.state != "good"]
        found = newest_of_each(good, selection.newest, now) + others
    return sorted(found, key=age_order)


def _plan(request: UploadRequest, chosen: list[Backup], remote: SftpStore, now: datetime) -> Plan:
    catalog = Catalog(remote)
    files = catalog.files() if chosen else set()
    names = tuple(backup.name.filename for backup in chosen)
    there = {backup.name.filename: backup for backup in catalog.select(Selection(names=names), files)}
    missing = [backup for backup in chosen if backup.state == "good" and backup.name.filename not in there]
    unwanted = _unwanted(request, missing, catalog, files, now)
    plan = Plan()
    for backup in chosen:
        name = backup.name.filename
        if name in unwanted:
            plan.not_sent.append((name, unwanted[name]))
            continue
        try:
            _plan_one(plan, remote, backup, there.get(name))
        except StoreFailed as error:
            plan.failures[name] = error
    return plan


def _unwanted(request: UploadRequest, missing: list[Backup], catalog: Catalog, files: set[str], now: datetime) -> dict[str, str]:
    """Return which backups the server lacks because they are deleted there, with the reason: they would be sent each night.

    What is named is sent in any case.
    """
    if request.selection.names is not None or not missing:
        return {}
    if request.retention is not None:
        databases = tuple({name for backup in missing if (name := selector_for(backup.name.kind, backup.database)) is not None})
        stored = map(Stored.of, itertools.chain(catalog.select(Selection(databases=databases), files), missing))
        deleted = {judged.backup.filename for judged in decide(stored, request.retention, now).deleted}
        return {
            backup.name.filename: "retention deletes it on the server" for backup in missing if backup.name.filename in deleted
        }
    newest = catalog.newest_good({backup.group for backup in missing}, now, files)
    return {
        backup.name.filename: "the server has a newer one: this one was deleted there, or never sent; name it to send it"
        for backup in missing
        if backup.group in newest
        and age_order(backup) < age_order(newest[backup.group])
        and upload_name(backup.name.filename, str(backup.manifest.payload_sha256)) not in files  # an earlier run's
    }


def _plan_one(plan: Plan, remote: SftpStore, backup: Backup, copy: Backup | None) -> None:
    name, digest = backup.name.filename, backup.manifest.payload_sha256
    if backup.state != "good":
        plan.not_sent.append((name, f"it is {backup.state}"))
    elif copy is None:
        plan.parcels.append(Parcel(backup))
    elif copy.state == "corrupt":
        plan.parcels.append(Parcel(backup, replaces=True))
    elif copy.manifest.payload_sha256 not in (None, digest):
        plan.failures[name] = _conflict(copy.path)
    elif copy.state != "unverified":
        plan.up_to_date.append(name)
        if copy.confirmed_at < backup.confirmed_at:
            plan.stale.append((backup, copy.manifest._replace(confirmed_at=backup.confirmed_at)))
    elif is_sound(remote, copy._replace(manifest=backup.manifest)):
        plan.up_to_date.append(name)
        plan.bare.append(backup)
    else:
        plan.failures[name] = _conflict(copy.path)


def _for_a_copy(backup: Backup) -> Manifest:
    """Return the manifest for a copy elsewhere: a verdict is of the copy that was looked at."""
    return backup.manifest._replace(verification=None)


def _conflict(path: str) -> NameConflict:
    return NameConflict(
        f"{path} is there already, and is another backup.",
        "See whether two hosts use one directory: each needs its own. Nothing was replaced.",
    )


def _mend_manifests(remote: SftpStore, report: Report) -> None:
    """Give copies a manifest that lost theirs, then renew those that say an older time."""
    for backup in report.plan.bare:
        name = backup.name.filename
        try:
            remote.replace(manifest_name(name), _for_a_copy(backup).to_bytes())
        except StoreError as error:
            report.failures[name] = error
        else:
            report.mended.append(name)
    for backup, manifest in report.plan.stale:
        name = backup.name.filename
        try:
            remote.replace(manifest_name(name), manifest.to_bytes())
        except StoreError as error:
            # The copy is as good as before. An account that may replace nothing is refused each time.
            report.warnings = (f"The times of the copies' confirmation are as they were: {error.problem}",)
            return
        report.refreshed.append(name)


# --- Sending ---------------------------------------------------------------------------------------


class _Sent(t.NamedTuple):
    """How much of a payload went over the network, and whether an earlier run had begun."""

    bytes: int
    resumed: bool


def _send_all(request: UploadRequest, first: SftpStore, report: Report) -> None:
    """Send over several connections, the first of which is there already. One that fails lets the others go on."""
    if not report.plan.parcels:
        return
    count = min(request.connections, len(report.plan.parcels))
    dispatch = _Dispatch(request, report)
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(contextlib.closing(request.connect())) for _number in range(count - 1)]
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(dispatch.work, store) for store in (first, *others)]
            for future in futures:
                future.result()
    dispatch.finish()


def _interrupted() -> Interrupted:
    return Interrupted("The run was ended before all of it was sent.", "Run it again: it goes on from there.")


class _Dispatch:
    """Hands out parcels to connections, each in a thread of its own, and notes in the report what becomes of them."""

    def __init__(self, request: UploadRequest, report: Report) -> None:
        self._request = request
        self._report = report
        self._throttle = _Throttle(request.bandwidth_limit, request.is_stopped)
        self._rest = iter(report.plan.parcels)
        self._guard = threading.Lock()

    def work(self, store: SftpStore) -> None:
        """Send over one connection until nothing is left, or the run was told to end."""
        while not self._request.is_stopped():
            with self._guard:
                parcel = next(self._rest, None)
            if parcel is None:
                return
            name = parcel.backup.name.filename
            try:
                with host_errors():
                    sent = _Sending(self._request, store, parcel, self._throttle).send()
            except BackupError as error:
                with self._guard:
                    self._report.failures[name] = _interrupted() if self._request.is_stopped() else error
                if isinstance(error, ConnectionFailed):
                    store.close()  # the next parcel opens it anew
            else:
                with self._guard:
                    self._report.uploaded.append(name)
                    self._report.bytes += sent.bytes
                    self._report.resumed += [name] if sent.resumed else []

    def finish(self) -> None:
        """Put the report in order, once all threads have ended."""
        report = self._report
        report.failures.update((parcel.backup.name.filename, _interrupted()) for parcel in self._rest)
        report.uploaded.sort()
        report.resumed.sort()


class _Sending:
    """One backup on its way."""

    def __init__(self, request: UploadRequest, store: SftpStore, parcel: Parcel, throttle: _Throttle) -> None:
        manifest = parcel.backup.manifest
        self._request = request
        self._store = store
        self._backup = parcel.backup
        self._replaces = parcel.replaces
        self._throttle = throttle
        self._name = parcel.backup.name.filename
        self._partial = upload_name(self._name, str(manifest.payload_sha256))
        self._digest = hashlib.sha256()

    def send(self) -> _Sent:
        offset = self._agreed_bytes()
        with contextlib.closing(self._content_from(offset)) as content:
            sent = self._store.write_from(self._partial, offset, content)
        self._check_source()
        self._verify()
        self._commit()
        return _Sent(sent, resumed=offset > 0)

    def _agreed_bytes(self) -> int:
        """Return how much of an earlier run's partial is as our payload is. It is read: what lies there is not trusted."""
        facts = self._store.facts(self._partial)
        if facts is None or facts.size_bytes > self._backup.size_bytes:
            if self._store.taken(self._partial):  # an account may be one that deletes nothing
                self._store.remove(self._partial)
            return 0
        agreed = 0
        ours = _Window(self._request.source.chunks(self._name))
        with contextlib.closing(ours), contextlib.closing(self._store.chunks(self._partial)) as theirs:
            for chunk in theirs:
                if bytes(chunk) != ours.take(len(chunk)):
                    break  # from here on it is written over
                agreed += len(chunk)
        return agreed

    def _content_from(self, offset: int) -> t.Generator[memoryview, None, None]:
        """Yield the payload from ``offset`` on. All of it is digested."""
        place = 0
        chunks = self._request.source.chunks(self._name)
        with contextlib.closing(chunks), lane(self._digest.update) as digesting:
            for chunk in chunks:
                if self._request.is_stopped():
                    raise _interrupted()
                digesting.give(chunk)  # while it is sent
                rest = chunk[max(0, offset - place) :]
                place += len(chunk)
                if rest:
                    self._throttle.take(len(rest))
                    yield rest
                digesting.settle()

    def _check_source(self) -> None:
        if self._digest.hexdigest() != self._backup.manifest.payload_sha256:
            left = self._discard()
            raise PayloadCorrupt(
                f"{self._backup.path} is not what its manifest says any more, and was not sent.{left}",
                "Verify it (backup_verify), and make a new backup.",
            )

    def _verify(self) -> None:
        """See that the server has what was sent."""
        facts = self._store.facts(self._partial)
        if facts is None or facts.size_bytes != self._backup.size_bytes:
            told = "nothing" if facts is None else f"{facts.size_bytes} bytes"
            raise self._differs(f"the server has {told} of {self._backup.size_bytes} bytes")
        if self._request.verify == "sha256" and sha256_of(self._store, self._partial) != self._digest.hexdigest():
            raise self._differs("it reads otherwise than it was sent")

    def _differs(self, reason: str) -> ReadBackDiffers:
        left = self._discard()
        return ReadBackDiffers(
            f"{self._store.path(self._name)} did not arrive whole: {reason}.{left}", "Look at the server's disk, and run again."
        )

    def _discard(self) -> str:
        """Delete what was sent, and return what there is to say of it."""
        try:
            self._store.remove(self._partial)
        except (StoreError, ConnectionFailed) as error:
            return f" {self._store.path(self._partial)} is left: {error.problem}"
        return ""

    def _commit(self) -> None:
        store, sidecar = self._store, manifest_name(self._name)
        if self._replaces:  # payload first: without one a manifest is nothing
            store.remove(self._name)
            store.remove(sidecar)
        there = store.read(sidecar, LARGEST_MANIFEST + 1)
        if there is None:
            there = _for_a_copy(self._backup).to_bytes()
            store.add(sidecar, there)
        elif from_bytes(there).payload_sha256 != self._backup.manifest.payload_sha256:
            raise _conflict(store.path(self._name))
        if store.taken(self._name):
            raise _conflict(store.path(self._name))
        store.publish(self._partial, self._name, self._backup.size_bytes)
        if store.read(sidecar, LARGEST_MANIFEST + 1) != there:  # which something may have collected meanwhile
            raise ReadBackDiffers(
                f"{store.path(sidecar)} is missing or differs, after {self._name} was sent.",
                "See what moves, collects or deletes files on the server, and run again.",
            )


class _Window:
    """Takes pieces of any size from a stream of chunks."""

    def __init__(self, chunks: t.Generator[memoryview, None, None]) -> None:
        self._chunks = chunks
        self._rest = b""

    def take(self, count: int) -> bytes:
        while len(self._rest) < count and (chunk := next(self._chunks, None)) is not None:
            self._rest += bytes(chunk)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def close(self) -> None:
        self._chunks.close()


class _Throttle:
    """Lets so many bytes a second through, over all who ask."""

    def __init__(self, bytes_per_second: int | None, is_stopped: t.Callable[[], bool]) -> None:
        self._rate = bytes_per_second
        self._is_stopped = is_stopped
        self._guard = threading.Lock()
        self._next = time.monotonic()

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may go, or the run is stopped."""
        if self._rate is None:
            return
        with self._guard:
            begins = max(self._next, time.monotonic())
            self._next = begins + count / self._rate
        while (seconds := begins - time.monotonic()) > 0 and not self._is_stopped():
            time.sleep(min(seconds, _POLL_SECONDS))
