"""Decide which backups to delete by their names, or by their groups, without retention rules."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    LastGoodRefused,
    PinnedRefused,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order, candidates
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import parse
from ansible_collections.lastgood.database.plugins.module_utils._retention import PINNED, Decision, Entry, Ruling


@dataclass(frozen=True)
class Named:
    """Delete only the backups with these file names."""

    names: tuple[str, ...]
    allow_last: bool = False

    def __post_init__(self) -> None:
        for name in self.names:
            if parse(name) is None:
                raise ArgumentInvalid(
                    f"names has {name!r}, which is not the plain file name of a backup.",
                    "Give file names as backup_facts lists them, without a directory; a manifest is deleted with its backup.",
                )


@dataclass(frozen=True)
class WholeGroups:
    """Delete every backup of the request's groups, the last good ones too. Pinned ones stay."""


def decide_by_name(backups: t.Iterable[Entry], named: Named, now: datetime) -> Decision:
    """Delete the named backups, and retain the others of the same groups. Raises LastGoodRefused and PinnedRefused."""
    names = set(named.names)
    groups: dict[Group, list[Entry]] = collections.defaultdict(list)
    for backup in backups:
        groups[backup.group].append(backup)
    decision = Decision()
    for group, members in groups.items():
        if names.isdisjoint(backup.filename for backup in members):
            continue
        _refuse_pinned(members, names)
        if not named.allow_last:
            good = _protected(members, now)
            _refuse_last_good(good, names)
            stays = [backup for backup in good if backup.filename not in names]
            decision.last_good.update((group, backup) for backup in stays[:1])
        for backup in members:
            if backup.filename in names:
                decision.deleted.append(Ruling(backup, ("it is named",)))
            else:
                decision.kept.append(Ruling(backup, ("it is not named",)))
    decision.sort()
    return decision


def decide_whole_groups(backups: t.Iterable[Entry], groups: frozenset[Group]) -> Decision:
    """Delete every backup of the groups that is not pinned, and retain those of other groups with the same database names."""
    decision = Decision()
    for backup in backups:
        if backup.group in groups and backup.pinned:
            decision.passed_over.append(Ruling(backup, PINNED))
        elif backup.group in groups:
            decision.deleted.append(Ruling(backup, ("all backups of its group are deleted",)))
        else:
            decision.kept.append(Ruling(backup, ("it is of another group",)))
    decision.sort()
    return decision


def _protected(members: list[Entry], now: datetime) -> list[Entry]:
    """Return the backups of which one must be retained, the newest first: candidates, else good backups from the future."""
    good = [backup for backup in members if backup.state == "good"]
    return candidates(good, now) or sorted(good, key=age_order, reverse=True)


def _refuse_pinned(members: list[Entry], names: set[str]) -> None:
    pinned = sorted(backup.filename for backup in members if backup.pinned and backup.filename in names)
    if pinned:
        raise PinnedRefused(
            f"Pinned backups are never deleted: {', '.join(pinned)}.",
            "Nothing was deleted. To delete them, unpin them first (backup_label with pinned=false).",
            filenames=pinned,
        )


def _refuse_last_good(good: list[Entry], names: set[str]) -> None:
    """Raise LastGoodRefused if all good backups of a group are named."""
    if good and names.issuperset(backup.filename for backup in good):
        raise LastGoodRefused(
            f"{good[0].filename} is the last good backup of its database.",
            "Nothing was deleted. Make a new one first, or set allow_delete_last to delete it.",
            filename=good[0].filename,
        )
