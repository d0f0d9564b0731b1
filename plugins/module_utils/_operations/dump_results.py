"""The results of a dump: one for each database, and the outcome of the run."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, Interrupted, SeveralFailed, summary_of
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.shrinkage import Shrinkage
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Diff, Outcome, diff_of

# The keys that a failed task reports of a database that did not fail: enough to prune its group and to show it in a table.
_BRIEF = (*Group._fields, "partial_arguments", "source", "filename", "size_bytes", "age_seconds", "outcome")


@dataclass(frozen=True)
class Result:
    """The result for one database. ``backup`` is the one that holds its content now, if any."""

    outcome: t.Literal["created", "unchanged", "fresh", "failed"]
    facts: t.Mapping[str, t.Any]
    backup: Backup | None = None
    error: BackupError | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()
    clock_behind: int = 0  # seconds
    shrunk: Shrinkage | None = None

    @property
    def title(self) -> str:
        """The name of the database in messages."""
        return str(self.facts["database"] or self.facts["kind"])

    def record(self, now: datetime) -> dict[str, t.Any]:
        """Return the result as the module reports it: the backup's record, or what is known without one."""
        known = self.backup.record(now) if self.backup is not None else dict(self.facts)
        run = {"outcome": self.outcome, "reason": self.reason, "clock_behind": self.clock_behind}
        shrunk = {"shrunk": None if self.shrunk is None else self.shrunk.as_result()}
        return {**known, **run, **shrunk, **_failure_facts(self.error)}


def _failure_facts(error: BackupError | None) -> dict[str, t.Any]:
    return {} if error is None else {"msg": str(error), "remedy": error.remedy, "error": error.as_result()}


def outcome_of(results: t.Sequence[Result], directory: str, now: datetime, warnings: t.Sequence[str]) -> Outcome:
    """Return the outcome of the run. A failed task reports the databases that did not fail in brief."""
    records = [result.record(now) for result in results]
    brief = [
        record if record["outcome"] == "failed" else {key: record[key] for key in _BRIEF if key in record} for record in records
    ]
    return Outcome(
        {"changed": any(result.outcome == "created" for result in results), "backups": records},
        warnings,
        _failure(results),
        {"backups": brief},
        lambda: _diff(results, directory),
    )


def _failure(results: t.Sequence[Result]) -> BackupError | None:
    """Return the error of the run: Interrupted, the error of its only database, or SeveralFailed."""
    failed = [(result.title, result.error) for result in results if result.error is not None]
    if not failed:
        return None
    for _title, error in failed:
        if isinstance(error, Interrupted):
            return error
    if len(results) == 1:
        return failed[0][1]
    return SeveralFailed(
        f"{len(failed)} of {len(results)} databases were not backed up. "
        + summary_of([(title, str(error)) for title, error in failed]),
        "The others were; see backups." if len(failed) < len(results) else "See backups.",
        failed[0][1],
    )


def _diff(results: t.Sequence[Result], directory: str) -> Diff:
    """Return the payload of each database, before and after."""
    kept = [result.backup.name.filename for result in results if result.outcome != "created" and result.backup]
    made = [
        result.backup.name.filename if result.backup else f"a new backup of {result.title}, since {result.reason}"
        for result in results
        if result.outcome == "created"
    ]
    return diff_of(directory, kept, [*kept, *made])
