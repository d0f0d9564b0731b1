"""Send good backups to a remote store, each whole under its name, or not at all.

plan      send what the server lacks, unless it was deleted there; a copy with the same digest may need a newer manifest
          check mode stops here
refresh   a copy that lost its manifest gets one; a newer confirmed_at, pin or label goes into the manifest of a copy
send      see ``Store.put``; a verdict stays with the copy that it was made on
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DirectoryMissing,
    Interrupted,
    SeveralFailed,
    StoreError,
    summary_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    LARGEST_MANIFEST,
    from_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name, upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.status_notes import note_uploads
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload_dispatch import (
    Dispatch,
    Sent,
    Throttle,
    interrupted,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload_plan import (
    Plan,
    PlannedUpload,
    make_plan,
    new_manifest,
    refreshed_manifest,
    select_backups,
)
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import (
    NewPayload,
    ReadableStore,
    Sidecar,
    Store,
    Written,
)

Verify = t.Literal["size", "sha256"]


@dataclass(frozen=True)
class UploadRequest:
    """The backups to send, the source and the destination.

    ``connect`` opens one more store of the same directory on the server. ``bandwidth_limit`` is bytes a second over all
    connections, None for no limit. ``retention`` are the rules by which backups are deleted on the server, None where they are
    not known.
    """

    source: ReadableStore
    selection: Selection
    connect: t.Callable[[], Store]
    verify: Verify = "size"
    connections: int = 2
    bandwidth_limit: int | None = None
    retention: Rules | None = None


@dataclass
class Report:
    """The uploads that were made, or in check mode would be."""

    location: str
    plan: Plan
    sent: Sent = field(default_factory=Sent)
    mended: list[str] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    ended_by: BackupError | None = None  # the error that stopped the run midway
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def outcome(self) -> Outcome:
        return Outcome(self._values(), self.warnings, self._failure(), diff=self._diff)

    def _failure(self) -> BackupError | None:
        """Return the error of the run, None if all uploads succeeded."""
        if self.ended_by is not None:
            return self.ended_by
        failed = dict(sorted(self.sent.failures.items()))
        if not failed:
            return None
        first = next((error for error in failed.values() if isinstance(error, Interrupted)), next(iter(failed.values())))
        return SeveralFailed(
            f"Backups that were not sent to {self.location}: {len(failed)}. "
            + summary_of([(name, str(error)) for name, error in failed.items()]),
            "The local backups are safe; run it again: it continues what was begun.",
            first,
        )

    def _values(self) -> dict[str, t.Any]:
        return {
            "changed": bool(self.plan.makes_directory or self.sent.uploaded or self.mended or self.relabelled),
            "uploaded": self.sent.uploaded,
            "resumed": self.sent.resumed,
            "up_to_date": self.plan.up_to_date,
            "refreshed": sorted([*self.mended, *self.relabelled, *self.refreshed]),
            "not_sent": [{"filename": name, "reason": reason} for name, reason in self.plan.not_sent],
            "failed_uploads": [{"filename": name, "error": error.as_result()} for name, error in self.sent.failures.items()],
            "bytes": self.sent.bytes,
            "seconds": round(self.seconds, 3),
        }

    def _diff(self) -> Diff:
        """Return which of these backups are on the server, before and after."""
        lacking = {backup.name.filename: "  (without a manifest)" for backup in self.plan.without_manifest}
        lacking.update((backup.name.filename, "  (an older pin or labels)") for backup in self.plan.relabelled)
        written = {*self.mended, *self.relabelled}
        before = [name + lacking.get(name, "") for name in self.plan.up_to_date]
        after = [name if name in written else name + lacking.get(name, "") for name in self.plan.up_to_date]
        directory = ["./"] if self.plan.makes_directory else []
        return diff_of(self.location, sorted(before), sorted([*directory, *after, *self.sent.uploaded]))


def upload(request: UploadRequest, context: Context) -> Outcome:
    """Send what the server lacks. Check mode writes nothing, and returns the plan."""
    began = time.monotonic()
    clock, check_mode = context.clock, context.check_mode
    chosen = select_backups(request.source, request.selection, clock(), check_mode)
    with contextlib.closing(request.connect()) as remote:
        exists = remote.exists()
        if not exists and not remote.creates_directory:
            raise DirectoryMissing(f"The directory {remote.location} does not exist.", "Make it, or set create_directory.")
        if not exists and not check_mode:
            remote.ensure()
        by_name = request.selection.names is not None
        plan = make_plan(chosen, remote, request.retention, clock(), by_name=by_name)
        plan.makes_directory = not exists
        report = Report(remote.location, plan, Sent(failures=dict(plan.failures)))
        if check_mode:
            report.sent.uploaded = [upload.backup.name.filename for upload in plan.uploads]
            report.mended = [backup.name.filename for backup in plan.without_manifest]
            report.relabelled = [backup.name.filename for backup in plan.relabelled]
            report.refreshed = [backup.name.filename for backup in plan.outdated]
        else:
            try:
                _refresh_manifests(remote, report)
                _send(request, context, remote, report)
            except BackupError as error:
                report.ended_by = error if not context.is_stopped() else interrupted()
            present = [] if by_name else plan.up_to_date
            report.warnings += note_uploads(request.source, chosen, report.sent.uploaded, present, clock())
        report.warnings += [*request.source.warnings, *remote.warnings]
    report.seconds = time.monotonic() - began
    return report.outcome()


def _refresh_manifests(remote: Store, report: Report) -> None:
    """Write missing manifests of copies, then update those with an older pin or labels, then those with an older confirmation."""
    for backup in report.plan.without_manifest:
        name = backup.name.filename
        try:
            manifest = new_manifest(backup, Catalog(remote).find(name))
            remote.replace(manifest_name(name), manifest.to_bytes())
        except StoreError as error:
            report.sent.failures[name] = error
        else:
            report.mended.append(name)
    for backup in report.plan.relabelled:
        name = backup.name.filename
        try:
            _refresh(remote, backup)
        except StoreError as error:
            report.sent.failures[name] = error
        else:
            report.relabelled.append(name)
    for backup in report.plan.outdated:
        name = backup.name.filename
        try:
            _refresh(remote, backup)
        except StoreError as error:
            # The copy is still good. An account that may replace nothing is refused each time.
            report.warnings.append(f"The times of the copies' confirmation are as they were: {error.problem}")
            return
        report.refreshed.append(name)


def _refresh(remote: Store, backup: Backup) -> None:
    """Update the manifest of a copy. Read it anew: a pin that it got since the plan must not be lost."""
    name = backup.name.filename
    copy = Catalog(remote).find(name)
    if copy is not None and copy.manifest.payload_sha256 == backup.manifest.payload_sha256:
        remote.replace(manifest_name(name), refreshed_manifest(copy, backup).to_bytes())


def _send(request: UploadRequest, context: Context, first: Store, report: Report) -> None:
    throttle = Throttle(request.bandwidth_limit, context.is_stopped)
    uploads = report.plan.uploads
    if not uploads:
        return
    title = f"{len(uploads)} backups" if len(uploads) > 1 else uploads[0].backup.title
    with context.progress.task(title, sum(upload.backup.size_bytes for upload in uploads)) as task:

        def take(count: int) -> None:
            throttle.take(count)
            task.advance(count)

        def send(store: Store, upload: PlannedUpload) -> Written:
            written = store.put(_payload(request.source, upload), take, reads_back=request.verify == "sha256")
            task.advance(upload.backup.size_bytes - written.bytes)  # what an earlier run had sent
            return written

        Dispatch(uploads, send, context.is_stopped, report.sent).run(first, request.connect, request.connections)


def _payload(source: ReadableStore, upload: PlannedUpload) -> NewPayload:
    backup = upload.backup
    name, sha256 = backup.name.filename, str(backup.manifest.payload_sha256)
    return NewPayload(
        name,
        upload_name(name, sha256),
        backup.size_bytes,
        sha256,
        source=backup.path,
        chunks=lambda: source.chunks(name),
        sidecar=Sidecar(
            manifest_name(name),
            upload.manifest.to_bytes(),
            LARGEST_MANIFEST + 1,
            lambda data: from_bytes(data).payload_sha256 == sha256,
        ),
        replaces=upload.replaces,
    )
