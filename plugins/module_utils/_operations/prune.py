"""Delete the backups that no rule retains, or those that are named.

plan     which backups are deleted and which stay, with reasons; which files dead runs left
         check mode ends, and so does a run that has nothing to delete
again    under the lock: the same plan from a fresh listing, since other runs may have added, deleted or verified backups
apply    the payload first, then its manifest, so that a run that is killed leaves nothing that looks like a backup
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
from ansible_collections.lastgood.database.plugins.module_utils._operations.named_deletion import GivenUp, Named
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_plan import Plan, Planner
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_reading import Reader
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune_results import Report
from ansible_collections.lastgood.database.plugins.module_utils._retention import Decision, Rules, Ruling
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store


@dataclass(frozen=True)
class PruneRequest:
    """What to delete from a store: the backups that rules do not retain, of all databases or some, or those that are named.

    Only backups of ``groups`` are deleted, of any group where that is None. With ``reads_newest`` the last good backup of a
    group is read before any other of the group is deleted.
    """

    store: Store
    choice: Rules | Named | GivenUp
    databases: tuple[str, ...] | None = None
    groups: frozenset[Group] | None = None
    reads_newest: bool = True


def prune(request: PruneRequest, context: Context) -> Outcome:
    """Delete. Check mode writes nothing, and returns the plan."""
    return _prune(request, context).outcome(request.store)


def _prune(request: PruneRequest, context: Context) -> Report:
    store, clock, check_mode = request.store, context.clock, context.check_mode
    by_rules = isinstance(request.choice, Rules)
    planner = Planner(store, request.choice, request.databases, request.groups)
    reader = Reader(store, reads_newest=request.reads_newest, by_rules=by_rules)
    while True:
        plan = planner.plan(clock(), reader.sound)
        if reader.read_corrupt(plan.decision):
            continue  # those that turned out sound count as good again
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
                    warnings += reader.note_sound(clock)
            return Report(plan, warnings=warnings)
        store.check()
        stays = reader.rotten_groups(plan.decision)
        if stays and isinstance(request.choice, Named):
            raise LastGoodRefused(" ".join(stays.values()), "Make a new one first, or set allow_delete_last.")
        warnings += stays.values()
        if check_mode:
            plan.decision = reader.without_doubtful(_without_groups(plan.decision, stays))
            return Report(plan, plan.decision.deleted, plan.leftovers, warnings=warnings, unread=reader.unread)
        with store.lock():
            again = planner.plan(clock(), reader.sound)
            again.decision = _without_groups(again.decision, {**_lost_groups(again.decision, plan.decision), **stays})
            if reader.has_read_all(again.decision):
                again.decision = reader.without_doubtful(again.decision)
                report = _apply(store, again, warnings, context.is_stopped)
                report.unread = reader.unread
                report.warnings += [*reader.note_rotten(clock), *reader.note_sound(clock)]
                return report
        # Another run added a newer backup: read it as well, without the lock, since others wait for that.


def _lost_groups(decision: Decision, earlier: Decision) -> dict[Group, str]:
    """Return the groups whose last good backup was lost since the earlier plan, with the reason to delete nothing of them."""
    good = {ruling.backup.filename for ruling in decision.rulings() if ruling.backup.state == "good"}
    lost = {group: backup.filename for group, backup in earlier.last_good.items() if backup.filename not in good}
    return {group: f"{filename} was the newest good one a moment ago, and is no longer" for group, filename in lost.items()}


def _without_groups(decision: Decision, stays: dict[Group, str]) -> Decision:
    """Pass over all backups of some groups, for the reason that ``stays`` has for each."""
    spared = [ruling for ruling in decision.deleted if ruling.backup.group in stays]
    return replace(
        decision,
        deleted=[ruling for ruling in decision.deleted if ruling.backup.group not in stays],
        passed_over=[*decision.passed_over, *(Ruling(ruling.backup, (stays[ruling.backup.group],)) for ruling in spared)],
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
