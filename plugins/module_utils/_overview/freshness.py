"""Judges whether the backups of a database are fresh: neither too old, nor failing, nor shrunk, nor missing.

Its functions depend only on the facts of backup_facts, limits and a time. The tables, the report and the assertion use them.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ansible_collections.lastgood.database.plugins.module_utils._metadata.shrinkage import shrinkage_of
from ansible_collections.lastgood.database.plugins.module_utils._parameters import duration_in_words, duration_of
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded, one_line

Values = t.Mapping[str, t.Any]

FAILING, LATE, UNKNOWN, SAFE = STATES = ("failing", "late", "unknown", "safe")  # the worst first

AGES = ("backup", "verified", "drilled", "uploaded")
OLDEST_BACKUP = "26h"  # the default: a day, and two hours for a run that begins or ends later
SHRINK_PERCENT = 50
FAILED_RUNS = {"failed": "failed", "interrupted": "was interrupted", "died": "died"}

_LONGEST_REASON = 600  # characters: what and why, and what to do
_REMEDIES = {
    "backup": "Find out why no run backed it up, and run the playbook lastgood.database.backup.",
    "verified": "Run the role's entry point verify.",
    "drilled": "Run the playbook lastgood.database.drill.",
    "uploaded": "Find out why backup_upload did not send it, and check that backup_sftp is set.",
    "shrunk": "See whether the database lost data; if it shrank on purpose, set shrink_warning lower for a while.",
}
_NAMES = {
    "backup": "The last good backup",
    "verified": "The last verification",
    "drilled": "The last drill",
    "uploaded": "The last upload",
}


class Moment(t.NamedTuple):
    """The last time of an event: a time, NEVER or NOT_KNOWN."""

    at: datetime | None = None
    is_known: bool = True


NEVER, NOT_KNOWN = Moment(), Moment(is_known=False)


@dataclass(frozen=True)
class Limits:
    """The limit for each of AGES, and the percentage of the usual size below which a backup is too small; 0 is no limit."""

    ages: t.Mapping[str, timedelta]
    shrink_percent: int = SHRINK_PERCENT


class Problem(t.NamedTuple):
    """A problem: ``what`` is failed, never, shrunk, or one of AGES. ``text`` has the cause and the remedy."""

    what: str
    text: str


@dataclass(frozen=True)
class Judgement:
    """The state of a database, and its problems, the worst first."""

    state: str
    problems: tuple[Problem, ...] = ()

    @property
    def overdue(self) -> frozenset[str]:
        return frozenset(problem.what for problem in self.problems if problem.what in AGES)

    @property
    def reason(self) -> str:
        return bounded(" ".join(problem.text for problem in self.problems), _LONGEST_REASON)


def limits_from(ages: Values | None, shrink_percent: int = SHRINK_PERCENT) -> Limits:
    """Return the limits that a user set, with OLDEST_BACKUP as default for the backup. Raises ArgumentInvalid."""
    texts = {"backup": OLDEST_BACKUP, **{name: text for name, text in (ages or {}).items() if text is not None}}
    return Limits(
        {name: duration_of(f"backup_max_age.{name}", str(texts[name])) for name in AGES if name in texts}, shrink_percent
    )


def moment_of(values: Values, key: str) -> Moment:
    """Return a time of the facts."""
    if key not in values:
        return NOT_KNOWN
    text = values[key]
    return NEVER if text is None else Moment(datetime.fromisoformat(text).replace(tzinfo=timezone.utc))


def last_good_of(group: Values, now: datetime) -> Moment:
    """Return when the last good backup of a group was confirmed, from its age on the host."""
    return NEVER if group["newest_good"] is None else Moment(now - timedelta(seconds=int(group["age_seconds"])))


def judge(group: Values, last_good: Moment, limits: Limits, now: datetime) -> Judgement:
    """Judge a database by the facts of its group, and by the time when its last good backup was confirmed."""
    problems = [*_failures(group), *_missing(group), *_shrunk(group, limits)]
    late = list(_late(group, last_good, limits, now))
    state = FAILING if problems else LATE if late else SAFE
    return Judgement(state, (*problems, *late))


def never_backed_up() -> Judgement:
    """Judge a database without any backup or run."""
    return Judgement(FAILING, (Problem("never", f"It was never backed up. {_REMEDIES['backup']}"),))


def _failures(group: Values) -> t.Iterator[Problem]:
    failure, last_run = group.get("last_failure"), group.get("last_run")
    if failure:
        yield Problem("failed", one_line(f"{failure['code']}: {failure['msg']}"))
    elif last_run and last_run["outcome"] in FAILED_RUNS:
        yield Problem("failed", f"The last run {FAILED_RUNS[last_run['outcome']]}. Run it again.")


def _missing(group: Values) -> t.Iterator[Problem]:
    if group["newest_good"] is None:
        yield Problem("never", f"No good backup exists. {_REMEDIES['backup']}")


def _shrunk(group: Values, limits: Limits) -> t.Iterator[Problem]:
    shrinkage = shrinkage_of([int(size) for size in group.get("sizes") or []], limits.shrink_percent)
    if shrinkage is not None:
        sizes = f"{shrinkage.size} bytes of content, {shrinkage.percent} % of the usual {shrinkage.usual}"
        yield Problem("shrunk", f"The last good backup has {sizes}. {_REMEDIES['shrunk']}")


def _late(group: Values, last_good: Moment, limits: Limits, now: datetime) -> t.Iterator[Problem]:
    for name, most in limits.ages.items():
        moment = last_good if name == "backup" else moment_of(group, f"{name}_at")
        if moment.at is None:
            if moment.is_known and name != "backup":  # _missing reports a missing backup
                yield Problem(name, f"It was never {name}. {_REMEDIES[name]}")
        elif now - moment.at > most:
            age = duration_in_words(now - moment.at)
            yield Problem(name, f"{_NAMES[name]} was {age} ago, the limit is {duration_in_words(most)}. {_REMEDIES[name]}")
