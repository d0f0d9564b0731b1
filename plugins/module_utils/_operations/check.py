"""Check whether the next backup can succeed, and report every problem instead of the first one. Writes nothing to the host.

The engine checks its databases; this file checks the host and the stores. Each check is a function that yields findings. An
error that it raises is a finding too, and the checks after it still run.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding, codec_for
from ansible_collections.lastgood.database.plugins.module_utils._digests import BLAKE3, KEYED_BLAKE3, new_hash
from ansible_collections.lastgood.database.plugins.module_utils._engines.checking import Check, Checker, Finding
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ClockWrong,
    DirectoryExposed,
    DirectoryMissing,
    DirectoryNotWritable,
    Interrupted,
    LibraryMissing,
    NoSpace,
    SeveralFailed,
    SpaceLow,
    StoreFailed,
    host_errors,
    summary_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import last_good_of_each
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import is_backup_file
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.probe import ProbeRequest, probe
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import RemoteStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

# Processors with instructions for SHA do not need BLAKE3.
_PROCESSOR = "/proc/cpuinfo"
_SHA_INSTRUCTIONS = (b"sha_ni", b"sha2")
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class CheckRequest:
    """The databases that a run would back up, where to, and how.

    ``remotes`` make the remote store to which backups are sent: first for its directory, then for each directory above it, to
    try if it does not exist yet. ``controller_time`` is the time on the controller; None leaves the clock unchecked.
    """

    engine: str
    checker: Checker
    store: LocalStore
    origin: str
    encoding: Encoding
    recipients: Recipients | None = None
    remotes: t.Sequence[t.Callable[[], RemoteStore]] = ()
    controller_time: datetime | None = None
    clock_tolerance: timedelta = timedelta(minutes=5)


@dataclass
class _Report:
    """The findings of the checks so far."""

    checks: list[str] = field(default_factory=list)
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    values: dict[str, t.Any] = field(
        default_factory=lambda: {
            "clock_offset_seconds": None,
            "compressor": None,
            "encryptor": None,
            "free_bytes": None,
            "free_bytes_elsewhere": None,
            "newest_bytes": None,
        }
    )

    def take(self, check: Check) -> None:
        """Run a check, and record its findings."""
        name, find = check
        self.checks.append(name)
        try:
            with host_errors():
                for finding in find():
                    self._add(name, finding)
        except Interrupted:
            raise
        except BackupError as error:
            self._add(name, Finding(error))

    def _add(self, name: str, finding: Finding) -> None:
        """Record a finding, unless an earlier check met the same problem, such as a directory that can't be opened."""
        if str(finding.error) not in (str(other.error) for _name, other in self.findings):
            self.findings.append((name, finding))

    def problems(self) -> list[dict[str, t.Any]]:
        """Return the findings as the module returns them: errors first."""
        ordered = sorted(self.findings, key=lambda one: one[1].severity != "error")
        return [
            {
                "check": name,
                "severity": finding.severity,
                "code": finding.error.code,
                "database": finding.database,
                "problem": finding.error.problem,
                "remedy": finding.error.remedy,
            }
            for name, finding in ordered
        ]

    def failure(self) -> BackupError | None:
        errors = [(name, finding.error) for name, finding in self.findings if finding.severity == "error"]
        if len(errors) < 2:
            return errors[0][1] if errors else None
        summary = summary_of([(name, str(error)) for name, error in errors])
        return SeveralFailed(f"The next backup has {len(errors)} problems. {summary}", "See problems.", errors[0][1])


def check(request: CheckRequest, context: Context) -> Outcome:
    """Run all checks. Check mode runs the same ones, but sends no probe to a remote store."""
    report = _Report()
    newest: dict[Group, Backup] = {}
    others: list[Check] = [
        ("compression", lambda: _compression(request, context, report)),
        *([("encryption", lambda: _encryption(request, context, report))] if request.encoding.encrypted else []),
        ("directory", lambda: _directory(request.store)),
        ("files", lambda: _files(request.store)),
        ("space", lambda: _space(request, context, report, newest)),
        ("digest", lambda: _digest(newest)),
        ("clock", lambda: _clock(request, context, report)),
        *([("upload", lambda: _upload(request, context, report))] if request.remotes else []),
    ]
    for one in (*request.checker.checks(), *others):
        if context.is_stopped():
            raise Interrupted("The run was ended before it had checked everything.", "Run it again.")
        report.take(one)
    values = {"changed": False, "checks": report.checks, "problems": report.problems(), **report.values}
    return Outcome({**values, **request.checker.facts()}, report.warnings, report.failure())


# --- The host -----------------------------------------------------------------------------------------------------


def _compression(request: CheckRequest, context: Context, report: _Report) -> t.Iterator[Finding]:
    codec = codec_for(Encoding(request.encoding.compression), "balanced", context.runner)
    report.values["compressor"] = codec.compressor
    if codec.compressor is not None and codec.compressor.startswith("zlib"):
        slow = LibraryMissing(
            "The host has neither the Python library isal nor the program pigz, so that gzip is made by zlib, on one core and "
            "several times as slow.",
            "Install python3-isal or pigz, or isal with pip.",
            library="isal",
        )
        yield Finding(slow, "warning")


def _encryption(request: CheckRequest, context: Context, report: _Report) -> t.Iterable[Finding]:
    """Check that the host can encrypt for the recipients."""
    encoding = Encoding("none", request.encoding.encryption)
    report.values["encryptor"] = codec_for(encoding, "balanced", context.runner, request.recipients).encryptor
    return ()


def _digest(newest: t.Mapping[Group, Backup]) -> t.Iterator[Finding]:
    """Warn if the host lacks BLAKE3 where that costs time or space."""
    if new_hash().name == BLAKE3:
        return
    remedy = "Install python3-blake3, or blake3 with pip."
    digests = [backup.manifest.content_digest for backup in newest.values()]
    if any(digest is not None and digest.algorithm in (BLAKE3, KEYED_BLAKE3) for digest in digests):
        problem = "The last good backups have digests by BLAKE3, and the host lacks the Python library blake3: the next run "
        lost = LibraryMissing(f"{problem}can't compare them, and stores a copy of each database.", remedy, library=BLAKE3)
        yield Finding(lost, "warning")
    elif not _has_sha_instructions():
        problem = "The processor has no instructions for SHA, and the host lacks the Python library blake3: a dump takes about a "
        yield Finding(LibraryMissing(f"{problem}third longer.", remedy, library=BLAKE3), "warning")


def _has_sha_instructions() -> bool:
    try:
        with open(_PROCESSOR, "rb") as file:
            words = file.read(_MEBIBYTE).split()
    except OSError:
        return True  # unknown: report nothing
    return any(name in words for name in _SHA_INSTRUCTIONS)


def _clock(request: CheckRequest, context: Context, report: _Report) -> t.Iterator[Finding]:
    if request.controller_time is None:
        return
    offset = context.clock() - request.controller_time
    report.values["clock_offset_seconds"] = round(offset.total_seconds())
    if abs(offset) > request.clock_tolerance:
        seconds = abs(round(offset.total_seconds()))
        yield Finding(
            ClockWrong(
                f"The host's clock is {seconds} seconds {'ahead of' if offset > timedelta(0) else 'behind'} the controller's. "
                "Names and ages of backups, and what retention deletes, follow the host's clock.",
                "Set the clock, and have it kept right (chrony, systemd-timesyncd).",
            )
        )


# --- The directory --------------------------------------------------------------------------------------------------


def _directory(store: LocalStore) -> t.Iterator[Finding]:
    """Check that the user can use the directory, or make it, and that nobody else can change what is in it."""
    if not store.exists():
        above = _nearest_above(store.location)
        if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
            raise DirectoryNotWritable(
                f"The directory {store.location} does not exist, and the user with id {os.geteuid()} may not make it in {above}.",
                "Make it for that user, with mode 0700, or run as a user who may (become_user).",
            )
        return
    store.check()
    facts = os.stat(store.location, follow_symlinks=False)
    mode = stat.S_IMODE(facts.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        writes = "everybody" if mode & stat.S_IWOTH else "the group"
        exposed = DirectoryExposed(
            f"{store.location} has mode {mode:04o}: {writes} may delete backups, and put others in their place.",
            f"Run: chmod 0700 {store.location}",
        )
        yield Finding(exposed, "error" if mode & stat.S_IWOTH else "warning")
    elif mode & (stat.S_IRWXG | stat.S_IRWXO):
        exposed = DirectoryExposed(
            f"{store.location} has mode {mode:04o}: others may see which databases there are.",
            f"Run: chmod 0700 {store.location}",
        )
        yield Finding(exposed, "warning")
    if os.geteuid() and facts.st_uid not in (0, os.geteuid()):
        exposed = DirectoryExposed(
            f"{store.location} belongs to the user with id {facts.st_uid}, who may delete and replace backups.",
            f"Give it to the user who backs up: chown {os.geteuid()} {store.location}",
        )
        yield Finding(exposed, "warning")


def _nearest_above(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _files(store: LocalStore) -> t.Iterator[Finding]:
    """Check that the user can read the backups, and that they are not world-readable."""
    if not store.exists():
        return
    paths = [store.path(name) for name in sorted(store.names()) if is_backup_file(name)]
    unreadable = [path for path in paths if not os.access(path, os.R_OK, effective_ids=True, follow_symlinks=False)]
    if unreadable:
        problem = f"The user with id {os.geteuid()} can't read {_first(unreadable)}, so that they count for nothing."
        yield Finding(StoreFailed(problem, "Give them to that user (chown), or run as the user whose they are (become_user)."))
    open_to_all = [path for path in paths if os.lstat(path).st_mode & stat.S_IROTH]
    if open_to_all:
        exposed = DirectoryExposed(
            f"Every user of the host may read {_first(open_to_all)}, if the directory's mode lets them in.",
            f"Run: chmod o= {store.location}/backup_*",
        )
        yield Finding(exposed, "warning")


def _first(paths: t.Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more files"


# --- Space ----------------------------------------------------------------------------------------------------------


def _space(request: CheckRequest, context: Context, report: _Report, newest: dict[Group, Backup]) -> t.Iterator[Finding]:
    """Compare the free space with the last sizes. Fills ``newest`` with the last good backups."""
    store = request.store
    if store.exists():
        newest.update(_last_good(request, context))
        free = store.free_bytes()
    else:
        disk = os.statvfs(_nearest_above(store.location))
        free = disk.f_bavail * disk.f_frsize
    copies = [one.copy_bytes for one in request.checker.dumpable()]
    sizes = [backup.size_bytes for backup in newest.values()]
    report.values["free_bytes"], report.values["newest_bytes"] = free, sum(sizes)
    yield from _room(store.location, free, sizes, max(copies, default=0))


def _last_good(request: CheckRequest, context: Context) -> dict[Group, Backup]:
    """Return the last good backups of the databases to dump; if these are not known, all that the host has of the engine."""
    catalog, now = Catalog(request.store), context.clock()
    groups = [
        Group(request.origin, request.engine, one.instance, one.kind, one.database, one.partial)
        for one in request.checker.dumpable()
    ]
    if groups:
        return catalog.newest_good(groups, now)
    return {
        group: backup
        for group, backup in last_good_of_each(catalog.select(EVERYTHING), now).items()
        if (group.origin, group.engine) == (request.origin, request.engine)
    }


def _room(place: str, free: int, sizes: t.Sequence[int], copy_bytes: int) -> t.Iterator[Finding]:
    """Compare the free space with the sizes of the last good backups, and of the largest copy that an engine makes."""
    largest, total = max(sizes, default=0), sum(sizes) + copy_bytes
    at_least = max(largest, copy_bytes)
    if free < at_least:
        yield Finding(
            NoSpace(f"{place} has {_amount(free)} free, and the largest backup needs about {_amount(at_least)}.", _MAKE_ROOM)
        )
    elif free < total:
        low = SpaceLow(f"{place} has {_amount(free)} free, and the next backups need about {_amount(total)}.", _MAKE_ROOM)
        yield Finding(low, "warning")


_MAKE_ROOM = "Make room, retain fewer backups (backup_retention, tasks_from: prune), or use another directory."


def _amount(size: int) -> str:
    return f"{size / _MEBIBYTE:.1f} MiB"


# --- The remote store -----------------------------------------------------------------------------------------------


def _upload(request: CheckRequest, context: Context, report: _Report) -> t.Iterator[Finding]:
    """Try the remote store: its directory, or the nearest existing one above, in which an upload would make it."""
    for make in request.remotes:
        store = make()
        try:
            outcome = probe(ProbeRequest(store), context)
        finally:
            store.close()
        if not isinstance(outcome.failure, DirectoryMissing) or make is request.remotes[-1]:
            break
    report.warnings += outcome.warnings
    if outcome.failure is not None:
        raise outcome.failure
    free = report.values["free_bytes_elsewhere"] = outcome.values["free_bytes"]
    if free is not None:
        yield from _room(store.location, free, [report.values["newest_bytes"] or 0], 0)
