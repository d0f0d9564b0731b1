"""Delete the backups that no rule retains, or those that are selected by name or group.

plan     which backups to delete and which to retain, with reasons; which files dead runs left
         check mode stops here, and so does a run that has nothing to delete
again    under the lock: the same plan from a fresh listing, since other runs may have added, deleted or verified backups
apply    delete each payload before its manifest, so that a killed run leaves nothing that looks like a backup
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionFailed,
    Interrupted,
    LastGoodRefused,
    StoreError,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._operations.named_deletion import Named, WholeGroups
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_plan import Plan, Planner
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_reading import Reader
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_results import Report
from ansible_collections.lastgood.database.plugins.module_utils._retention import Decision, Rules, Ruling
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


@dataclass(frozen=True)
class PruneRequest:
    """The backups to delete from a store: those that no rule retains, those with given names, or all of given groups.

    Only backups of ``groups`` are deleted; None means any group. With ``reads_newest``, the last good backup of a group is read
    before any other backup of the group is deleted.
    """

    store: Store
    choice: Rules | Named | WholeGroups
    databases: tuple[str, ...] | None = None
    groups: frozenset[Group] | None = None
    reads_newest: bool = True


def prune(request: PruneRequest, context: Context) -> Outcome:
    """Delete the backups that the request selects. Check mode writes nothing, and returns the plan."""
    return _prune(request, context).outcome(request.store)


def _prune(request: PruneRequest, context: Context) -> Report:
    store, clock, check_mode = request.store, context.clock, context.check_mode
    by_rules = isinstance(request.choice, Rules)
    planner = Planner(store, request.choice, request.databases, request.groups)
    reader = Reader(store, reads_newest=request.reads_newest, by_rules=by_rules)
    while True:
        plan = planner.plan(clock(), reader.sound)
        if reader.read_corrupt(plan.decision):
            continue  # backups that proved sound count as good again
        # In check mode, a backup that an earlier task would have made does not exist.
        groups = None if check_mode and by_rules else request.groups
        warnings = [
            *planner.warnings_of_unmatched(plan.decision, groups),
            *plan.warnings,
            *reader.warnings,
        ]
        if not plan.has_work:
            if reader.sound and not check_mode:
                with store.lock():
                    warnings += reader.record_sound(clock)
            return Report(plan, warnings=warnings)
        store.check()
        blocked = reader.blocked_groups(plan.decision)
        if blocked and isinstance(request.choice, Named):
            raise LastGoodRefused(" ".join(blocked.values()), "Make a new one first, or set allow_delete_last.")
        warnings += blocked.values()
        if check_mode:
            plan.decision = reader.without_doubtful(_without_groups(plan.decision, blocked))
            return Report(plan, plan.decision.deleted, plan.leftovers, warnings=warnings, unread=reader.unread)
        with store.lock():
            again = planner.plan(clock(), reader.sound)
            again.decision = _without_groups(again.decision, {**_lost_groups(again.decision, plan.decision), **blocked})
            if reader.has_read_all(again.decision):
                again.decision = reader.without_doubtful(again.decision)
                report = _apply(store, again, warnings, context.is_stopped)
                report.unread = reader.unread
                report.warnings += [*reader.record_corrupt(clock), *reader.record_sound(clock)]
                return report
        # Another run added a newer backup: read it too, but without the lock, since other runs wait for that.


def _lost_groups(decision: Decision, earlier: Decision) -> dict[Group, str]:
    """Return the groups whose last good backup was lost since the earlier plan, with the reason to delete nothing in them."""
    good = {ruling.backup.filename for ruling in decision.rulings() if ruling.backup.state == "good"}
    lost = {group: backup.filename for group, backup in earlier.last_good.items() if backup.filename not in good}
    return {group: f"{filename} is no longer good, or was deleted by another run" for group, filename in lost.items()}


def _without_groups(decision: Decision, blocked: dict[Group, str]) -> Decision:
    """Pass over all backups of some groups. ``blocked`` has the reason for each."""
    retained = [ruling for ruling in decision.deleted if ruling.backup.group in blocked]
    return replace(
        decision,
        deleted=[ruling for ruling in decision.deleted if ruling.backup.group not in blocked],
        passed_over=[*decision.passed_over, *(Ruling(ruling.backup, (blocked[ruling.backup.group],)) for ruling in retained)],
    )


def _apply(store: Store, plan: Plan, warnings: list[str], is_stopped: t.Callable[[], bool]) -> Report:
    """Delete what is planned. A file that can't be deleted does not stop the others."""
    report = Report(plan, warnings=warnings)

    def check() -> None:
        if is_stopped():
            raise Interrupted("The run was ended before all was deleted.", "What was deleted is in deleted; run it again.")

    try:
        for ruling in plan.decision.deleted:
            check()
            _delete(store, ruling, report)
        for leftover in plan.leftovers:
            check()
            if _remove(store, leftover.filename, report):
                report.swept.append(leftover)
    except (Interrupted, ConnectionFailed) as error:
        report.ended_by = error
    return report


def _delete(store: Store, ruling: Ruling, report: Report) -> None:
    filename = ruling.backup.filename
    if _remove(store, filename, report):
        report.deleted.append(ruling)
    if filename not in report.failures:
        _remove(store, manifest_name(filename), report)


def _remove(store: Store, name: str, report: Report) -> bool:
    """Delete a file, and return whether it existed. Notes a failure in the report."""
    try:
        return store.remove(name)
    except StoreError as error:
        report.failures[name] = error.problem
        return False
