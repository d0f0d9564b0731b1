"""Determines the last good backup of a group. This file is the only definition; all other code uses it.

A candidate is a backup whose state is ``good`` and whose time is at most an hour ahead of the clock. The last good backup is
the newest candidate: by ``created_at``, and among those of one time by file name.

The functions read nothing, and their result does not depend on the order of the backups. All backups of one call are of one
group, unless a function says that it separates groups.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group, State, is_future


class Dated(t.Protocol):
    """The relevant properties of a backup."""

    @property
    def filename(self) -> str:
        """The name of its payload."""

    @property
    def state(self) -> State:
        """Whether it is good, and if not, why."""

    @property
    def created_at(self) -> datetime:
        """When its dump began."""


class Grouped(Dated, t.Protocol):
    """A backup with its group."""

    @property
    def group(self) -> Group:
        """Backups that can stand for each other share it."""


AnyDated = t.TypeVar("AnyDated", bound=Dated)
AnyGrouped = t.TypeVar("AnyGrouped", bound=Grouped)


def age_order(backup: Dated) -> tuple[datetime, str]:
    """Return the key that sorts backups by age, the oldest first."""
    return backup.created_at, backup.filename


def is_candidate(backup: Dated, now: datetime) -> bool:
    """Return whether a backup is the last good one as long as its group has no newer candidate."""
    return backup.state == "good" and not is_future(backup.created_at, now)


def candidates(backups: t.Iterable[AnyDated], now: datetime) -> list[AnyDated]:
    """Return all candidates, the newest first: the first one is the last good backup."""
    return sorted((backup for backup in backups if is_candidate(backup, now)), key=age_order, reverse=True)


def last_good(backups: t.Iterable[AnyDated], now: datetime) -> AnyDated | None:
    """Return the last good backup, None if no backup is good."""
    newest = None
    for backup in backups:
        newest = newer_candidate(newest, backup, now)
    return newest


def newer_candidate(newest: AnyDated | None, backup: AnyDated, now: datetime) -> AnyDated | None:
    """Return the last good backup after one more was read. ``newest`` is the last good one of those before."""
    # Compare the age first: most backups are older, and then their state does not have to be computed.
    if newest is not None and age_order(backup) <= age_order(newest):
        return newest
    return backup if is_candidate(backup, now) else newest


def last_good_of_each(backups: t.Iterable[AnyGrouped], now: datetime) -> dict[Group, AnyGrouped]:
    """Return the last good backup of each group that has one."""
    found: dict[Group, AnyGrouped] = {}
    for backup in backups:
        newest = newer_candidate(found.get(backup.group), backup, now)
        if newest is not None:
            found[backup.group] = newest
    return found


def why_not_candidate(backup: Backup, now: datetime) -> str | None:
    """Return why a backup can't be restored as the last good one of its database, None if it can."""
    if backup.unread is not None:
        return f"its manifest can't be read: {backup.unread.problem.rstrip('.')}"
    if is_future(backup.created_at, now):
        return "its time is more than an hour in the future"
    if backup.state == "good":
        return "partial" if backup.group.partial else None
    return backup.state
