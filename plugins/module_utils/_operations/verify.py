"""Verify whether each backup is good, and record the verdict in the manifest of the copy that was read.

checksum    one pass over the payload: its size and digest, and those of its content
structure   in the same pass, the database's own programs read the content; a backup without a manifest gets one
restore     the backup is restored to a private place, and its tables and rows are counted

Only a wrong size or digest makes a backup corrupt. If the host lacks something that the verification needs, the verdict is
inconclusive, and the state of the backup does not change.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import Examiners
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, Interrupted, NothingFound
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Level
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import (
    Selection,
    missing_error,
    missing_from,
    newest_of_each,
    passed_over,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.status_notes import note_verifications
from ansible_collections.lastgood.database.plugins.module_utils._operations.verdicts import Finding, Report, VerifiedBackup
from ansible_collections.lastgood.database.plugins.module_utils._operations.verifier import Verifier
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify_errors import Deleted, StoreLost
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify_record import record_finding
from ansible_collections.lastgood.database.plugins.module_utils._progress import Task
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


@dataclass(frozen=True)
class VerifyRequest:
    """The backups to verify, and the level.

    ``options`` has the options of each engine, by its name. ``identity`` opens encrypted backups.
    """

    store: Store
    selection: Selection
    level: Level
    options: t.Mapping[str, t.Any]
    identity: Identity | None = None


def verify(request: VerifyRequest, context: Context) -> Outcome:
    """Verify each backup, the oldest first, and record the verdicts. Check mode records nothing."""
    report = Report()
    _verify_all(request, context, report)
    if not context.check_mode:
        passed = [one.after for one in report.verified if one.finding.verdict == "passed"]
        report.notes += note_verifications(request.store, passed, context.clock(), is_drill=request.level == "restore")
    return report.outcome(request.store)


def _verify_all(request: VerifyRequest, context: Context, report: Report) -> None:
    """Add the finding for each backup to the report, until all are verified or an error ends the run."""
    backups = sorted(_selected(request, context.clock(), report), key=age_order)
    with context.progress.task("verification", sum(backup.size_bytes for backup in backups)) as task:
        _verify_each(request, context, backups, task, report)


def _verify_each(request: VerifyRequest, context: Context, backups: list[Backup], task: Task, report: Report) -> None:
    runner, clock = context.runner, context.clock
    verifier = Verifier(request.store, request.level, runner, Examiners(request.options, runner, clock), task, request.identity)
    done_bytes = 0
    for number, backup in enumerate(backups, 1):
        verifier.begin(done_bytes, f"{backup.title} ({number} of {len(backups)})")
        done_bytes += backup.size_bytes
        began = time.monotonic()
        try:
            backup = verifier.read_again(backup)
            finding = verifier.judge(backup)
        except Deleted:
            report.note_deleted(backup, is_named=request.selection.names is not None)
            continue
        except Interrupted as error:
            report.ended_by = error
            break
        except StoreLost as lost:
            report.verified.append(VerifiedBackup(backup, backup, Finding(request.level, "inconclusive", str(lost.error))))
            report.ended_by = lost.error
            break
        seconds = time.monotonic() - began
        try:
            verified = record_finding(request.store, backup, finding, clock(), check_mode=context.check_mode)
        except Deleted:
            report.note_deleted(backup, is_named=request.selection.names is not None)
            continue
        except BackupError as error:
            verified = VerifiedBackup(backup, backup, finding)
            report.ended_by = error
        report.verified.append(dataclasses.replace(verified, seconds=seconds))
        if report.ended_by is not None:
            break
    report.notes += verifier.notes


def _selected(request: VerifyRequest, now: datetime, report: Report) -> list[Backup]:
    """Return the selected backups. Raises BackupMissing for a name or a database without a backup, which can't pass."""
    selection, location = request.selection, request.store.location
    found = list(Catalog(request.store).select(selection))
    missing = missing_from(found, selection)
    if missing:
        raise missing_error(missing, location, "List the backups with backup_facts. Nothing was verified.")
    if selection.newest is not None:
        chosen = newest_of_each(found, selection.newest, now)
        report.notes += [f"Newer, and passed over: {words}." for words in passed_over(found, chosen, now)]
        found = chosen
    if not found:
        raise NothingFound(f"{location} has no backup.", "Make one with db_backup, or correct directory.")
    return found
