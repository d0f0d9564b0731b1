"""Plan a dump: which databases need a new backup, and which have a fresh one."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Target
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group, is_future
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import label_for, parse
from ansible_collections.lastgood.database.plugins.module_utils._metadata.pending import seconds_behind
from ansible_collections.lastgood.database.plugins.module_utils._parameters import duration_in_words
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore


@dataclass(frozen=True)
class Step:
    """The plan for one database: dump it, unless its backup is ``fresh``."""

    target: Target
    group: Group
    newest: Backup | None
    fresh: bool
    reason: str
    clock_behind: int = 0  # seconds


def make_plan(
    targets: t.Iterable[Target],
    catalog: Catalog,
    origin: str,
    interval: timedelta | None,
    now: datetime,
    files: set[str],
    differs: t.Callable[[Backup], str | None] = lambda newest: None,
) -> list[Step]:
    """Return the step for each database. ``files`` are those in the store, as listed for this run.

    ``differs`` returns why even a fresh backup can't stand for a new one, such as other recipients, None if it can.
    """
    groups = {_group(origin, target): target for target in targets}
    newest = catalog.newest_good(groups, now, files)
    return [_step(target, group, newest.get(group), interval, now, differs) for group, target in groups.items()]


def _group(origin: str, target: Target) -> Group:
    return Group(origin, target.engine, target.instance, target.kind, target.database, target.partial)


def _step(
    target: Target,
    group: Group,
    newest: Backup | None,
    interval: timedelta | None,
    now: datetime,
    differs: t.Callable[[Backup], str | None],
) -> Step:
    if newest is None:
        return Step(target, group, None, False, "there is no good backup of it yet")
    age, difference = timedelta(seconds=newest.age_seconds(now)), differs(newest)
    if interval is not None and age < interval and difference is None:
        reason = f"the last one is {duration_in_words(age)} old, and the interval is {duration_in_words(interval)}"
        return Step(target, group, newest, True, reason)
    behind = seconds_behind(newest.created_at, now)
    return Step(target, group, newest, False, difference or f"the last one is {duration_in_words(age)} old", behind)


def warnings_of_a_clock(store: ReadableStore, targets: t.Iterable[Target], now: datetime, files: set[str]) -> list[str]:
    """Warn of backups with a time in the future: once that time has come, each counts as the newest."""
    labels = {label_for(target.kind, target.database) for target in targets}
    ahead = (name for name in map(parse, files) if name is not None and name.label in labels)
    return sorted(
        f"{store.path(name.filename)} has a time in the future. From that time on it counts as the newest backup: "
        "see that the clock is right, and delete it by its name (backup_prune)."
        for name in ahead
        if is_future(name.stamp, now)
    )
