"""The report of a prune, and its outcome."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._collector import collector_paused
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, DeleteFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group, display_time
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Diff, Outcome, diff_of
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_plan import Leftover, Plan
from ansible_collections.lastgood.database.plugins.module_utils._retention import Ruling
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store

_FAILURES_IN_MESSAGE = 3  # the result has all of them


@dataclass
class Report:
    """The deletions that were made, or in check mode would be."""

    plan: Plan
    deleted: list[Ruling] = field(default_factory=list)
    swept: list[Leftover] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ended_by: BackupError | None = None  # why the run ended early
    unread: BackupError | None = None  # why a last good backup could not be read

    def outcome(self, store: Store) -> Outcome:
        return Outcome(
            self._values(),
            [*store.warnings, *self.warnings],
            self._failure(),
            brief={"kept": [], "passed_over": []},
            diff=lambda: self._diff(store.location),
        )

    def _failure(self) -> BackupError | None:
        """Return the error of the run, None if all was deleted."""
        if self.ended_by is not None:
            return self.ended_by
        if not self.failures:
            return self.unread
        problems = list(self.failures.values())[:_FAILURES_IN_MESSAGE]
        return DeleteFailed(
            f"Files that could not be deleted: {len(self.failures)}. {' '.join(problems)}",
            "The others were; see deleted and not_deleted. The next run tries again.",
        )

    @collector_paused()
    def _values(self) -> dict[str, t.Any]:
        decision = self.plan.decision
        return {
            "changed": bool(self.deleted or self.swept),
            "deleted": _records(self.deleted),
            "kept": _records(decision.kept),
            "passed_over": _records(decision.passed_over),
            "absent": self.plan.absent,
            "swept": [leftover.filename for leftover in self.swept],
            "not_deleted": [{"filename": name, "msg": msg} for name, msg in self.failures.items()],
            "freed_bytes": sum(ruling.backup.size_bytes for ruling in self.deleted)
            + sum(leftover.size_bytes for leftover in self.swept),
        }

    def _diff(self, directory: str) -> Diff:
        """Return every file of the plan, before and after, each with its reason."""
        decision = self.plan.decision
        before = {ruling.backup.filename: ", ".join(ruling.reasons) for ruling in decision.rulings()}
        before.update((leftover.filename, leftover.reason) for leftover in self.plan.leftovers)
        deleted = {ruling.backup.filename for ruling in self.deleted} | {leftover.filename for leftover in self.swept}
        lines = [(name, f"{name}  ({reason})") for name, reason in sorted(before.items())]
        return diff_of(directory, [line for _name, line in lines], [line for name, line in lines if name not in deleted])


def _records(rulings: t.Iterable[Ruling]) -> list[dict[str, t.Any]]:
    groups: dict[Group, dict[str, t.Any]] = {}  # few groups have many thousand backups
    records = []
    for backup, reasons in rulings:
        facts = groups.get(backup.group)
        if facts is None:
            facts = groups[backup.group] = backup.group.facts()
        records.append(
            {
                "filename": backup.filename,
                **facts,
                "state": backup.state,
                "pinned": backup.pinned,
                "created_at": display_time(backup.created_at),
                "size_bytes": backup.size_bytes,
                "reasons": list(reasons),
            }
        )
    return records
