"""Fetches good backups into a folder of the controller. Each gets its name only when it is whole.

plan      select what the folder lacks; read copies that changed since they were last read, and add those with a wrong digest
          check mode stops here
refresh   write newer confirmations, pins and labels into the manifests of copies
fetch     fill a partial that this run holds; continue one that an earlier run left, or begin anew if its digest is wrong
commit    flush, put the manifest in place, then rename once
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    ManifestUnusable,
    NothingFound,
    PayloadCorrupt,
    SeveralFailed,
    StoreError,
    VerificationFailed,
    host_errors,
    summary_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import is_transfer, manifest_name, upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._operations.archive import ArchiveRequest, archive
from ansible_collections.lastgood.database.plugins.module_utils._operations.arrivals import Arrivals
from ansible_collections.lastgood.database.plugins.module_utils._operations.arriving import Arriving, Fetch
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload_plan import (
    Plan,
    PlannedUpload,
    make_plan,
    new_manifest,
    refreshed_manifest,
    select_backups,
)
from ansible_collections.lastgood.database.plugins.module_utils._progress import Task
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

_ABANDONED_SECONDS = 86400.0  # age of a partial that no run will continue
_NOT_GOOD: dict[str, type[BackupError]] = {"corrupt": PayloadCorrupt, "unverified": ManifestUnusable}
_AS_BEFORE = "What the controller has is as it was."


@dataclass(frozen=True)
class DownloadRequest:
    """The backups to fetch, and the folder of the controller that they go to.

    With ``archive`` they go into one file of that format instead. ``fetch``, if given, fills a file from its first byte faster
    than the source's chunks do. With ``rereads``, files whose digest is known are read, too.
    """

    source: ReadableStore
    selection: Selection
    folder: LocalStore
    archive: str | None = None
    fetch: Fetch | None = None
    rereads: bool = False


@dataclass
class _Report:
    """What was fetched, or in check mode would be."""

    location: str
    plan: Plan
    downloaded: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    failures: dict[str, BackupError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    bytes: int = 0

    @property
    def changed(self) -> bool:
        marked = {backup.filename for backup in (*self.plan.without_manifest, *self.plan.relabelled)}
        return bool(self.downloaded or marked.intersection(self.refreshed))

    def failure(self) -> BackupError | None:
        if not self.failures:
            return None
        failed = dict(sorted(self.failures.items()))
        return SeveralFailed(
            f"Backups that were not fetched to {self.location}: {len(failed)}. "
            + summary_of([(name, str(error)) for name, error in failed.items()]),
            "The host's backups are as they were; run it again: it continues what was begun.",
            next(iter(failed.values())),
        )

    def values(self) -> dict[str, t.Any]:
        return {
            "changed": self.changed,
            "dest": self.location,
            "downloaded": sorted(self.downloaded),
            "resumed": sorted(self.resumed),
            "up_to_date": sorted(self.plan.up_to_date),
            "refreshed": sorted(self.refreshed),
            "not_downloaded": _refused(self.plan),
            "failed_downloads": [{"filename": name, "error": error.as_result()} for name, error in sorted(self.failures.items())],
            "bytes": self.bytes,
        }

    def diff(self) -> Diff:
        """Return which of these backups the folder has, before and after."""
        before = set(self.plan.up_to_date)
        return diff_of(self.location, sorted(before), sorted(before.union(self.downloaded)))


def download(request: DownloadRequest, context: Context) -> Outcome:
    """Fetch what the folder lacks. Check mode writes nothing, and returns the plan."""
    began = time.monotonic()
    chosen = select_backups(request.source, request.selection, context.clock(), check_mode=False)
    if not any(backup.state == "good" for backup in chosen):
        raise _nothing(request.source, chosen)
    if not context.check_mode:
        request.folder.ensure()
    outcome = _fetch_all(request, context, chosen) if request.archive is None else _fetch_archive(request, context, chosen)
    return Outcome(
        {**outcome.values, "seconds": round(time.monotonic() - began, 3)},
        [*outcome.warnings, *request.source.warnings, *request.folder.warnings],
        outcome.failure,
        diff=outcome.diff,
    )


def _nothing(source: ReadableStore, chosen: t.Sequence[Backup]) -> NothingFound:
    reasons = ", ".join(f"{backup.filename} is {backup.state}" for backup in chosen[:3])
    problem = (
        f"None of the selected backups in {source.location} is good: {reasons}"
        if chosen
        else (f"{source.location} has no backup that matches the selection")
    )
    return NothingFound(f"{problem}.", f"List the backups with backup_facts. {_AS_BEFORE}")


def _refused(plan: Plan) -> list[dict[str, str]]:
    return [{"filename": name, "reason": reason} for name, reason in plan.not_sent]


def _named_refusals(request: DownloadRequest, chosen: t.Iterable[Backup]) -> dict[str, BackupError]:
    """Return an error for each backup that was asked for by its name, and is not good."""
    named = set(request.selection.names or ())
    return {
        backup.filename: _NOT_GOOD.get(backup.state, VerificationFailed)(
            f"{backup.path} is {backup.state}, and is not fetched.",
            "Leave it out, or see what backup_verify says of it (with the level structure it makes a missing manifest).",
        )
        for backup in chosen
        if backup.state != "good" and backup.filename in named
    }


# --- Files ----------------------------------------------------------------------------------------


def _fetch_all(request: DownloadRequest, context: Context, chosen: list[Backup]) -> Outcome:
    folder, now = request.folder, context.clock()
    plan = make_plan(chosen, folder, None, now, by_name=True)
    report = _Report(folder.location, plan, failures={**plan.failures, **_named_refusals(request, chosen)})
    arrivals = Arrivals(folder)
    _reread(request, chosen, plan, arrivals, report)
    if context.check_mode:
        report.downloaded = [planned.backup.filename for planned in plan.uploads]
        report.refreshed = [backup.filename for backup in _outdated(plan)]
        return Outcome(report.values(), report.warnings, report.failure(), diff=report.diff)
    try:
        _sweep(folder, plan, context)
        _refresh(folder, report)
        _fetch(request, context, report, arrivals)
    finally:
        arrivals.save()
    return Outcome(report.values(), report.warnings, report.failure(), diff=report.diff)


def _reread(request: DownloadRequest, chosen: list[Backup], plan: Plan, arrivals: Arrivals, report: _Report) -> None:
    """Read the copies whose digest is not known. Those whose digest is not their manifest's are planned to be fetched again."""
    for backup in chosen:
        name, sha256 = backup.filename, str(backup.manifest.payload_sha256)
        if name not in plan.up_to_date or (not request.rereads and arrivals.holds(name, sha256)):
            continue
        copy = Catalog(request.folder).find(name)
        if copy is not None and is_sound(request.folder, copy._replace(manifest=backup.manifest)):
            arrivals.note(name, sha256)
            continue
        report.warnings.append(f"{request.folder.path(name)} is not what arrived, and has to be fetched again.")
        plan.up_to_date.remove(name)
        plan.uploads.append(PlannedUpload(backup, new_manifest(backup, copy), replaces=True))


def _outdated(plan: Plan) -> list[Backup]:
    return [*plan.without_manifest, *plan.relabelled, *plan.outdated]


def _refresh(folder: LocalStore, report: _Report) -> None:
    """Write missing manifests of copies, and update older ones."""
    for backup in _outdated(report.plan):
        name = backup.filename
        if name not in report.plan.up_to_date:
            continue
        try:
            with folder.lock():
                copy = Catalog(folder).find(name)
                if copy is not None:  # read again, so that a pin set since the plan is not lost
                    is_bare = copy.state == "unverified"
                    manifest = new_manifest(backup, copy) if is_bare else refreshed_manifest(copy, backup)
                    folder.replace(manifest_name(name), manifest.to_bytes())
        except StoreError as error:
            report.failures[name] = error
        else:
            report.refreshed.append(name)


def _sweep(folder: LocalStore, plan: Plan, context: Context) -> None:
    """Delete the partials of dead runs that are at least a day old, unless this run continues them."""
    wanted = {_partial(planned.backup) for planned in plan.uploads}
    for name in folder.names():
        facts = folder.facts(name) if is_transfer(name) and name not in wanted else None
        if facts is not None and context.clock().timestamp() - facts.modified_seconds > _ABANDONED_SECONDS:
            folder.sweep(name)


def _partial(backup: Backup) -> str:
    return upload_name(backup.filename, str(backup.manifest.payload_sha256))


def _fetch(request: DownloadRequest, context: Context, report: _Report, arrivals: Arrivals) -> None:
    """Fetch each backup. A failure of one does not stop the others, unless the connection was lost."""
    uploads = report.plan.uploads
    if not uploads:
        return
    title = f"{len(uploads)} backups" if len(uploads) > 1 else uploads[0].backup.title
    lost: ConnectionFailed | None = None
    with context.progress.task(title, sum(planned.backup.size_bytes for planned in uploads)) as task:
        for planned in uploads:
            name = planned.backup.filename
            if lost is not None:
                report.failures[name] = lost
                continue
            try:
                with host_errors():
                    _fetch_one(request, planned, task, report)
                    arrivals.note(name, str(planned.backup.manifest.payload_sha256))
            except ConnectionFailed as error:
                report.failures[name] = lost = error
            except BackupError as error:
                report.failures[name] = error


def _fetch_one(request: DownloadRequest, planned: PlannedUpload, task: Task, report: _Report) -> None:
    name = planned.backup.filename
    arriving = Arriving(request.source, request.folder, planned, _partial(planned.backup), request.fetch, task)
    written = arriving.arrive()
    if written is None:
        report.plan.up_to_date.append(name)
        return
    report.downloaded.append(name)
    report.bytes += written.bytes
    report.resumed += [name] if written.resumed else []


# --- One archive ----------------------------------------------------------------------------------


def _fetch_archive(request: DownloadRequest, context: Context, chosen: list[Backup]) -> Outcome:
    """Write those of the selected backups that are good into one archive, directly from the source."""
    names = tuple(backup.filename for backup in chosen if backup.state == "good")
    refused = [{"filename": backup.filename, "reason": f"it is {backup.state}"} for backup in chosen if backup.state != "good"]
    if failed := _named_refusals(request, chosen):
        raise next(iter(failed.values()))
    suffix, folder = str(request.archive), request.folder
    filename = f"backups.{suffix}"
    if not folder.exists():  # in check mode only
        values = {"changed": True, "archive": folder.path(filename), "downloaded": sorted(names), "up_to_date": [], "bytes": 0}
        diff = diff_of(folder.location, (), [filename])
        return Outcome({**values, "dest": folder.location, "not_downloaded": refused}, diff=lambda: diff)
    made = archive(ArchiveRequest(request.source, Selection(names=names), folder, filename, FORMATS[suffix]), context)
    is_new = made.values["changed"]
    return Outcome(
        {
            "changed": is_new,
            "dest": folder.location,
            "archive": made.values["dest"],
            "sha256": made.values["sha256"],
            "downloaded": sorted(names) if is_new else [],
            "up_to_date": [] if is_new else sorted(names),
            "not_downloaded": refused,
            "bytes": made.values["bytes"] if is_new and not context.check_mode else 0,
        },
        [warning for warning in made.warnings if warning not in (*request.source.warnings, *folder.warnings)],
        diff=made.diff,
    )
