"""Decides which backups are retained and which are deleted: backups in, decisions with reasons out. Changes nothing.

In each group, the candidates are the good backups that are not from the future, newest first. Each rule retains the first one of
each period that has one, until its count is used up; if some of it is left, also the oldest candidate, so that a short history is
retained whole. A candidate that any rule retains stays. The newest candidate, which is the last good backup, stays in any case.

Suspect backups never count as good, and stay with one exception: if more than three that are newer than the last good one
failed for the same reason, as happens if the database itself can't be restored, the same rules are applied to them separately,
and the newest three are always retained. Otherwise such a database would fill the disk.

A pinned backup stays whatever its state, and the rules ignore it: it uses up no rule's count, and no corrupt backup is deleted
because of it. It can still be the last good backup.

Rules count back from the last good backup's time alone: neither a wrong clock nor a long silence deletes anything.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import operator
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import (
    Backup,
    Group,
    State,
    display_time,
    is_future,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import age_order, candidates, newer_candidate
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import cause_of

# A corrupt backup stays this long, so that somebody can examine what went wrong.
CORRUPT_STAYS = timedelta(days=1)

# This many suspect backups of one cause stay whatever the rules say: fewer do not prove that the cause repeats.
SUSPECT_STAY = 3

# A group is abandoned, by a renamed host or a major upgrade, if its newest backup is this much older than the newest of all.
ABANDONED_AFTER = timedelta(days=30)

_PERIODS: dict[str, t.Callable[[datetime], t.Hashable]] = {
    # With the offset from UTC, which distinguishes the hours before and after a clock is set back.
    "hourly": lambda time: (time.date(), time.hour, time.utcoffset()),
    "daily": lambda time: time.date(),
    "weekly": lambda time: time.isocalendar()[:2],
    "monthly": lambda time: (time.year, time.month),
    "yearly": lambda time: time.year,
}

PINNED = ("it is pinned",)
_KEPT_BY_NONE = ("no rule keeps it",)
_SUSPECT = ("it is suspect: a verification of its structure, or a restore, failed",)
_REPEATED = ("it is suspect for the same reason as newer ones, and no rule keeps it",)


@dataclass(frozen=True)
class Rules:
    """Counts of backups to retain in each group: -1 is no limit, 0 is none. Hours, days and so on are those of ``timezone``."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None
    timezone: tzinfo = timezone.utc

    def __post_init__(self) -> None:
        if not (self.within or any(getattr(self, rule) for rule in ("last", *_PERIODS))):
            raise ArgumentInvalid(
                "No rule says which backups to keep.",
                "Set one of keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly and keep_within to "
                "something other than 0, or give the names of the backups to delete.",
            )


class Entry(t.NamedTuple):
    """The properties of a backup that decide whether it is retained: less than a Backup has, since there are many thousand."""

    group: Group
    filename: str
    state: State
    created_at: datetime
    confirmed_at: datetime
    size_bytes: int
    cause: str = ""  # why a verification failed
    pinned: bool = False

    @classmethod
    def of(cls, backup: Backup) -> Entry:
        verification = backup.manifest.verification
        cause = "" if verification is None else cause_of(verification.detail)
        name, times = backup.name.filename, (backup.created_at, backup.confirmed_at)
        return cls(backup.group, name, backup.state, *times, backup.size_bytes, cause, backup.pinned)


class Ruling(t.NamedTuple):
    """A backup, and the reasons why it is retained, deleted or passed over."""

    backup: Entry
    reasons: tuple[str, ...]


@dataclass
class Decision:
    """The backups that rules retain, those that are deleted, and those that are passed over; the oldest first.

    By group, ``last_good`` is the last good backup, and ``newest_suspect`` the newest suspect one if older ones are deleted.
    """

    kept: list[Ruling] = field(default_factory=list)
    deleted: list[Ruling] = field(default_factory=list)
    passed_over: list[Ruling] = field(default_factory=list)
    last_good: dict[Group, Entry] = field(default_factory=dict)
    newest_suspect: dict[Group, Entry] = field(default_factory=dict)

    def rulings(self) -> list[Ruling]:
        return [*self.kept, *self.deleted, *self.passed_over]

    def sort(self) -> None:
        for rulings in (self.kept, self.deleted, self.passed_over):
            rulings.sort(key=operator.attrgetter("backup.created_at", "backup.filename"))


def decide(backups: t.Iterable[Entry], rules: Rules, now: datetime, selected: t.Container[Group] | None = None) -> Decision:
    """Decide on every backup, each group separately. Passes over groups that are not ``selected``, if given."""
    decision = Decision()
    pinned: list[Entry] = []
    groups: dict[Group, list[Entry]] = collections.defaultdict(list)
    suspects: dict[Group, list[Entry]] = collections.defaultdict(list)
    for backup in backups:
        if backup.pinned:
            pinned.append(backup)
        elif (reason := _why_not_decided(backup, now)) is not None:
            decision.passed_over.append(Ruling(backup, (reason,)))
        elif backup.state == "suspect":
            suspects[backup.group].append(backup)
        else:
            groups[backup.group].append(backup)
    good = {group: candidates(members, now) for group, members in groups.items()}
    touched = {group: _touched_at(members, good[group], now) for group, members in groups.items()}
    newest = max(touched.values(), default=now)
    for group, members in groups.items():
        if selected is not None and group not in selected:
            reason = "it is of another host, server, cluster or file than those in groups"
            decision.passed_over += [Ruling(backup, (reason,)) for backup in members]
        elif newest - touched[group] > ABANDONED_AFTER:
            since = display_time(touched[group])
            reason = f"no run has added to its group or confirmed it since {since}, and other groups have newer backups"
            decision.passed_over += [Ruling(backup, (reason,)) for backup in members]
        else:
            _decide_on_group(group, members, good[group], rules, now, decision)
    suspects_touched = {group: _touched_at(members, [max(members, key=age_order)], now) for group, members in suspects.items()}
    newest = max((*touched.values(), *suspects_touched.values()), default=now)
    for group, members in suspects.items():
        is_decided = (selected is None or group in selected) and newest - suspects_touched[group] <= ABANDONED_AFTER
        _decide_on_suspects(group, members, good.get(group, []), rules if is_decided else None, decision)
    _pass_over_pinned(pinned, now, decision)
    decision.sort()
    return decision


def _pass_over_pinned(pinned: list[Entry], now: datetime, decision: Decision) -> None:
    """Pass over pinned backups. The newest good one is the last good backup if the group has none that is newer."""
    decision.passed_over += [Ruling(backup, PINNED) for backup in pinned]
    for backup in pinned:
        newest = newer_candidate(decision.last_good.get(backup.group), backup, now)
        if newest is not None:
            decision.last_good[backup.group] = newest


def _why_not_decided(backup: Entry, now: datetime) -> str | None:
    """Return why a backup stays whatever the rules say, None if they decide."""
    if is_future(backup.created_at, now):
        return f"its time, {display_time(backup.created_at)}, is more than an hour in the future"
    if backup.state == "unverified":
        return "it is unverified: it has no usable manifest"
    return None


def _touched_at(members: list[Entry], anchors: list[Entry], now: datetime) -> datetime:
    """Return when a run last added to a group, or confirmed what is in it.

    If the group has an anchor, only the newest one and newer backups count, since any other may be deleted.
    """
    since = age_order(anchors[0]) if anchors else None
    staying = [one for one in members if since is None or age_order(one) >= since]
    return max(one.created_at if is_future(one.confirmed_at, now) else one.confirmed_at for one in staying)


def _decide_on_group(
    group: Group, members: list[Entry], good: list[Entry], rules: Rules, now: datetime, decision: Decision
) -> None:
    """Decide on a group. ``good`` has its candidates, the newest first."""
    for backup in members:
        if backup.state == "corrupt":
            _decide_on_corrupt(backup, good, now, decision)
    if not good:
        return
    decision.last_good[group] = good[0]
    kept = _reasons_to_keep(good, rules)
    decision.kept += [Ruling(good[position], tuple(reasons)) for position, reasons in kept.items()]
    decision.deleted += [Ruling(backup, _KEPT_BY_NONE) for position, backup in enumerate(good) if position not in kept]


def _decide_on_suspects(group: Group, members: list[Entry], good: list[Entry], rules: Rules | None, decision: Decision) -> None:
    """Decide on the suspect backups of a group. Without rules all of them stay."""
    members = sorted(members, key=age_order, reverse=True)
    repeated = [
        backup for backup in members if backup.cause == members[0].cause and (not good or age_order(backup) > age_order(good[0]))
    ]
    deleted: set[str] = set()
    if rules is not None:
        kept = _reasons_to_keep(repeated, rules) if repeated else {}
        deleted = {one.filename for place, one in enumerate(repeated) if place >= SUSPECT_STAY and place not in kept}
    if deleted:
        decision.newest_suspect[group] = repeated[0]
    decision.deleted += [Ruling(one, _REPEATED) for one in members if one.filename in deleted]
    decision.passed_over += [Ruling(one, _SUSPECT) for one in members if one.filename not in deleted]


def _decide_on_corrupt(backup: Entry, good: list[Entry], now: datetime, decision: Decision) -> None:
    if now - backup.created_at <= CORRUPT_STAYS:
        decision.passed_over.append(Ruling(backup, ("it is corrupt, but not older than a day",)))
    elif not good or age_order(good[0]) < age_order(backup):
        decision.passed_over.append(Ruling(backup, ("it is corrupt, but there is no newer good one",)))
    else:
        decision.deleted.append(Ruling(backup, ("it is corrupt, older than a day, and there is a newer good one",)))


def _reasons_to_keep(backups: list[Entry], rules: Rules) -> dict[int, list[str]]:
    """Return the position of each retained backup, and the rules that retain it. The newest backup comes first."""
    reasons: dict[int, list[str]] = collections.defaultdict(list, {0: ["newest"]})
    for position, reason in _kept_by("last", rules.last, range(len(backups))):
        reasons[position].append(reason)
    for rule, period_of in _PERIODS.items():
        times = (_local(backup.created_at, rules.timezone) for backup in backups)  # lazily: a rule may need only the first few
        for position, reason in _kept_by(rule, getattr(rules, rule), map(period_of, times)):
            reasons[position].append(reason)
    if rules.within:
        newest = backups[0].created_at
        for position, backup in enumerate(backups):
            if newest - backup.created_at < rules.within:
                reasons[position].append("within")
    return reasons


def _kept_by(rule: str, count: int, periods: t.Iterable[t.Hashable]) -> t.Iterator[tuple[int, str]]:
    """Yield the position of each candidate that a rule retains, and why. A count below zero is never used up."""
    seen: set[t.Hashable] = set()
    position, skipped = -1, False
    for position, period in enumerate(periods):
        if count == 0:
            return
        skipped = period in seen
        if not skipped:
            seen.add(period)
            count -= 1
            yield position, rule
    if skipped and count != 0:
        yield position, f"oldest {rule}"


def _local(time: datetime, zone: tzinfo) -> datetime:
    try:
        return time.astimezone(zone)
    except OverflowError:  # on the calendar's first or last day
        return time
