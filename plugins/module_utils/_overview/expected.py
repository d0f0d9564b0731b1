"""Judges every database of a host's sources, including those that never had a backup.

Uses the results that the entry point assert_fresh recorded: those of db_backup in check mode for each source, and those of
backup_facts for each directory. A hostile host may return any values, which must not hide other hosts.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import (
    FAILING,
    SAFE,
    STATES,
    UNKNOWN,
    Judgement,
    Limits,
    Problem,
    Values,
    judge,
    last_good_of,
    limits_from,
    never_backed_up,
)
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line

ASKED = "_backup_asked"  # the variable of a host that has a value for each source
_INVENTORY = "backup_inventory"

_GROUP = ("origin", "engine", "instance", "kind", "database", "partial_arguments")
_MASKED = re.compile(r"\*{8}|VALUE_SPECIFIED_IN_NO_LOG_PARAMETER")
_NOT_REACHED = "Unreachable, or failed before its backups were listed. See the host's last task."


@dataclass(frozen=True)
class Expected:
    """A database that a host should back up. Without a name it stands for databases that could not be judged."""

    name: str
    source: str
    judgement: Judgement
    age_seconds: int | None = None
    has_backup: bool = False


def expected_on(variables: Values, now: datetime) -> list[Expected]:
    """Return each database of a host's sources with its judgement."""
    try:
        return list(_expected(variables, now))
    except ArgumentInvalid as error:
        return [_unknown("", str(error))]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return [_unknown("", "Its results can't be read.")]


def counts_of(hosts: t.Mapping[str, list[Expected]]) -> dict[str, int]:
    """Return how many databases are in each state. A source or a host that can't be judged counts as one."""
    found = Counter(one.judgement.state for expected in hosts.values() for one in expected)
    return {state: found[state] for state in STATES}


def not_fresh(expected: t.Iterable[Expected]) -> list[str]:
    """Return the names of the databases that are not safe, with their states."""
    return [f"{one.name or 'all'} ({one.judgement.state})" for one in expected if one.judgement.state != SAFE]


def _unknown(title: str, reason: str) -> Expected:
    return Expected("", title, Judgement(UNKNOWN, (Problem("unknown", one_line(reason)),)))


def _expected(variables: Values, now: datetime) -> t.Iterator[Expected]:
    if ASKED not in variables:
        yield _unknown("", _NOT_REACHED)
        return
    results = (variables.get(_INVENTORY) or {}).get("results") or []
    listings = {result["_backup_place"]: result for result in results if isinstance(result, dict)}
    for source in variables[ASKED]:
        yield from _of_source(source, listings.get(source["directory"]), now)


def _of_source(source: Values, listing: Values | None, now: datetime) -> t.Iterator[Expected]:
    asked, title = source["asked"], source["title"]
    records = asked.get("backups") or []
    if asked.get("failed") and not records:
        yield _unknown(title, f"Its databases could not be listed: {asked.get('msg')}")
    elif listing is None:
        yield _unknown(title, _NOT_REACHED)
    elif "ansible_facts" not in listing:
        yield _unknown(title, f"Its backups could not be listed: {listing.get('msg')}")
    else:
        limits = limits_from(source["max_age"], int(source["shrink_warning"]))
        groups = listing["ansible_facts"]["database_backups"]["databases"]
        for record in records:
            yield _of_record(record, groups, limits, now)


def _of_record(record: Values, groups: t.Sequence[Values], limits: Limits, now: datetime) -> Expected:
    group = _group_of(record, groups)
    judgement = never_backed_up() if group is None else judge(group, last_good_of(group, now), limits, now)
    if record["outcome"] == "failed":
        judgement = _with_failure(judgement, record)
    named = record if group is None else group
    return Expected(
        _name_of(named),
        str(named.get("source") or record.get("source") or ""),
        judgement,
        None if group is None else group["age_seconds"],
        group is not None and group["newest_good"] is not None,
    )


def _with_failure(judgement: Judgement, record: Values) -> Judgement:
    """Add the problem that a database can't be backed up now. It replaces the failure of the last run."""
    now = Problem("failed", one_line(str(record["msg"])))
    return Judgement(FAILING, (now, *(problem for problem in judgement.problems if problem.what != "failed")))


def _group_of(record: Values, groups: t.Sequence[Values]) -> Values | None:
    """Return the group of a database. If its instance is not known, return the group with the last good backup."""
    found = [group for group in groups if all(_is_same(record[key], group[key], key) for key in _GROUP)]
    return min(found, key=lambda group: (group["age_seconds"] is None, group["age_seconds"]), default=None)


def _is_same(asked: t.Any, known: t.Any, key: str) -> bool:
    """Compare two values. Ansible may have masked a part that looks like a password."""
    if key == "instance" and asked is None:
        return True
    if not isinstance(asked, str) or not _MASKED.search(asked):
        return bool(asked == known)
    return _fits(_MASKED.split(asked), str(known))


def _fits(parts: t.Sequence[str], text: str) -> bool:
    """Return whether a text has these parts in this order, the first at its beginning and the last at its end.

    Uses no regular expression: a hostile host could choose one that never ends.
    """
    first, *inner, last = parts
    position, end = len(first), len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last)):
        return False
    for part in inner:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return position <= end


def _name_of(values: Values) -> str:
    name = str(values.get("database") or values.get("kind") or "?")
    return f"{name} (partial)" if values.get("partial") else name
