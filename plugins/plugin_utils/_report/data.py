"""The data of the report, from the facts that each host returned: hosts, their databases, and all backups.

Pure: takes the registered results and a time, returns frozen values. A hostile host may return any values, which must not hide
other hosts: each host is read separately, and a host that can't be read is unknown.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import (
    FAILED_RUNS,
    NEVER,
    NOT_KNOWN,
    SHRINK_PERCENT,
    STATES,
    Limits,
    Moment,
    judge,
    last_good_of,
    limits_from,
    moment_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded, one_line

Values = t.Mapping[str, t.Any]

REPLACED = "replaced"  # of a database whose backups continue in another group
BACKUP_STATES = ("good", "unverified", "suspect", "corrupt")

_LONGEST_NAME = 300  # characters
_LONGEST_REASON = 600  # characters: what and why, and what to do
_MOST_SIZES = 30
_MOST_KEYS = 20


@dataclass(frozen=True)
class Database:
    """The backups of one group. Without a name it stands for all databases of a host or directory that could not be judged."""

    host: str
    state: str
    reason: str
    name: str
    engine: str
    source: str
    group: tuple[str, ...]
    last_good: Moment
    size_bytes: int | None
    sizes: tuple[int, ...]  # of the contents, the oldest first
    verified: Moment
    drilled: Moment
    uploaded: Moment
    overdue: frozenset[str]
    running_since: Moment


@dataclass(frozen=True)
class Backup:
    """One backup."""

    filename: str
    host: str
    database: str
    state: str
    created: Moment
    size_bytes: int
    verdict: str
    verified: Moment
    uploaded: Moment
    readable_by: tuple[str, ...] = ()  # the ids of the keys that it is encrypted for


@dataclass(frozen=True)
class Host:
    """A host of the play, with the state of its worst database."""

    name: str
    state: str
    reason: str
    databases: int
    last_good: Moment  # the oldest of its databases'


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    made: datetime
    hosts: list[Host]
    databases: list[Database]
    backups: list[Backup]

    def count(self, state: str) -> int:
        return sum(host.state == state for host in self.hosts)


@dataclass(frozen=True)
class _Listing:
    """The databases and backups that one host returned."""

    databases: list[Database]
    backups: list[tuple[str, Backup]]  # with the origin


def report_of(results: t.Mapping[str, t.Any], now: datetime) -> Report:
    """Return the report. ``results`` has what each host of the play registered, None for a host without a result."""
    listings = {host: _listing(host, registered, now) for host, registered in results.items()}
    listed: dict[bool, list[Database]] = {True: [], False: []}  # by whether the host listed them as its own
    backups: list[Backup] = []
    seen: set[tuple[str, ...]] = set()
    # Hosts may share a directory, or have copies of another host's backups: a host's own listing of its backups comes first.
    for own in (True, False):
        for host, listing in listings.items():
            for database in listing.databases:
                owner = _owner(host, database.group[0], listings)
                if (owner == host) is own and (own or (owner, *database.group) not in seen):
                    listed[own].append(replace(database, host=owner))
                    seen.add((owner, *database.group))
            for origin, backup in listing.backups:
                owner = _owner(host, origin, listings)
                if (owner == host) is own and (own or (owner, backup.filename) not in seen):
                    backups.append(replace(backup, host=owner))
                    seen.add((owner, backup.filename))
    # Another host's listing never replaces a host's own: it could hide a failure.
    shown = [*_without_replaced(listed[True], listed[True]), *_without_replaced(listed[False], listed[True] + listed[False])]
    by_host: dict[str, list[Database]] = {host: [] for host in results}
    for database in shown:
        by_host[database.host].append(database)
    return Report(
        made=now,
        hosts=sorted((_host(host, by_host[host]) for host in results), key=_worst_first),
        databases=sorted(shown, key=lambda one: (*_worst_first(one), one.group)),
        backups=sorted(backups, key=lambda one: (one.filename, one.host)),
    )


def _owner(host: str, origin: str, hosts: t.Container[str]) -> str:
    """Return the host to which a backup belongs: its origin if that is in the report, else the host that has it."""
    return origin if origin in hosts else host


def _worst_first(one: Host | Database) -> tuple[t.Any, ...]:
    order = (*STATES, REPLACED)
    return (order.index(one.state), _in_numbers(one.name if isinstance(one, Host) else one.host))


def _in_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts db2 before db10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name[:_LONGEST_NAME])]


# --- A host -----------------------------------------------------------------------------------------------------


def _host(name: str, databases: list[Database]) -> Host:
    counted = [one for one in databases if one.state != REPLACED]
    if not counted:  # other hosts list them as their own
        return Host(name, "failing", "No backup exists.", 0, NEVER)
    worst = min(counted, key=lambda one: STATES.index(one.state))
    reason = f"{worst.name}: {worst.reason}" if worst.name and worst.reason else worst.reason
    times = [one.last_good for one in counted if one.last_good.at is not None]
    return Host(name, worst.state, reason, sum(bool(one.name) for one in counted), min(times, default=NEVER))


def _listing(host: str, registered: t.Any, now: datetime) -> _Listing:
    try:
        return _read(host, registered, now)
    except ArgumentInvalid as error:  # its own variables set an invalid limit
        return _Listing([_nameless(host, "unknown", str(error))], [])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return _Listing([_nameless(host, "unknown", "Its results can't be read.")], [])


def _read(host: str, registered: t.Any, now: datetime) -> _Listing:
    """Read what a host registered: a result for each directory, or one failure for all."""
    if registered is None:
        return _Listing([_nameless(host, "unknown", "Not reached, or failed before its backups were listed.")], [])
    listing = _Listing([], [])
    results = registered.get("results") or [registered]
    if not registered.get("results") and not _is_failure(registered):
        return _Listing([_nameless(host, "unknown", "Its backup_sources are empty.")], [])
    for result in results:
        if _is_failure(result) or "ansible_facts" not in result:
            listing.databases.append(_nameless(host, "unknown", _failure(result)))
        else:
            _add(listing, host, result["ansible_facts"]["database_backups"], _limits(result), now)
    return listing


def _nameless(host: str, state: str, reason: str) -> Database:
    return Database(
        host=host,
        state=state,
        reason=reason,
        name="",
        engine="",
        source="",
        group=(host, "", "", "", "", reason),
        last_good=NOT_KNOWN,
        size_bytes=None,
        sizes=(),
        verified=NOT_KNOWN,
        drilled=NOT_KNOWN,
        uploaded=NOT_KNOWN,
        overdue=frozenset(),
        running_since=NEVER,
    )


def _is_failure(result: Values) -> bool:
    return bool(result.get("failed") or result.get("unreachable"))


def _failure(result: Values) -> str:
    words = _text(result.get("msg") or "Its backups could not be listed.", _LONGEST_REASON)
    return f"Not reached: {words}" if result.get("unreachable") else words


def _limits(result: Values) -> Limits:
    """Return the limits that the host's own variables set. Raises ArgumentInvalid."""
    place = result.get("_backup_place")
    wanted = place if isinstance(place, t.Mapping) else {}
    return limits_from(wanted.get("max_age"), int(wanted.get("shrink_warning", SHRINK_PERCENT)))


def _add(listing: _Listing, host: str, facts: Values, limits: Limits, now: datetime) -> None:
    """Add what backup_facts returned for one directory."""
    last_run = facts.get("last_run")
    outcome = last_run.get("outcome") if last_run else None
    if outcome in FAILED_RUNS and not any(one.get("last_failure") for one in facts["databases"]):
        reason = f"The last run to {_text(facts['directory'])} {FAILED_RUNS[outcome]}."
        listing.databases.append(_nameless(host, "failing", reason))
    records = {one["filename"]: one for one in facts["files"]}
    running = {_group(one): moment_of(one, "began_at") for one in facts.get("running") or []}
    listing.databases.extend(_database(host, one, records, running, limits, now) for one in facts["databases"])
    if not facts["databases"]:
        listing.databases.append(_nameless(host, "failing", f"No backup exists in {_text(facts['directory'])}."))
    listing.backups.extend((_text(one["origin"] or ""), _backup(host, one)) for one in facts["files"])


# --- A database -------------------------------------------------------------------------------------------------


def _database(
    host: str,
    one: Values,
    records: t.Mapping[str, Values],
    running: t.Mapping[tuple[str, ...], Moment],
    limits: Limits,
    now: datetime,
) -> Database:
    last_good = _last_good(one, records, now)
    times = {name: moment_of(one, f"{name}_at") for name in ("verified", "drilled", "uploaded")}
    judgement = judge(one, last_good, limits, now)
    newest = records.get(one["newest_good"] or "", {})
    sizes = tuple(_bytes(size) for size in one.get("sizes") or [])[-_MOST_SIZES:]
    size = newest.get("size_bytes")
    return Database(
        host=host,
        state=judgement.state,
        reason=judgement.reason,
        name=_name(one),
        engine=_text(one["engine"] or ""),
        source=_text(one.get("source") or ""),
        group=_group(one),
        last_good=last_good,
        size_bytes=None if size is None else _bytes(size),
        sizes=sizes,
        **times,
        overdue=judgement.overdue,
        running_since=running.get(_group(one), NEVER),
    )


def _last_good(one: Values, records: t.Mapping[str, Values], now: datetime) -> Moment:
    """Return when the last good backup was confirmed."""
    if one["newest_good"] in records:
        return moment_of(records[one["newest_good"]], "confirmed_at")
    return last_good_of(one, now)


def _without_replaced(databases: list[Database], others: list[Database]) -> list[Database]:
    """Mark the groups whose backups continue in one of the others: the host was renamed, or its server upgraded.

    Both have the same source. Two servers of one host with a database of one name have different sources.
    """
    newest: dict[tuple[str, ...], Database] = {}
    for one in others:
        if one.last_good.at is not None and one.source:
            newest[_continued(one)] = max(newest.get(_continued(one), one), one, key=lambda other: other.last_good)
    return [
        replace(one, state=REPLACED, reason="Its backups continue under another identity of the host or the server.")
        if one.last_good.at is not None and newest.get(_continued(one), one).group != one.group
        else one
        for one in databases
    ]


def _continued(one: Database) -> tuple[str, ...]:
    _origin, engine, _instance, *rest = one.group
    return (one.host, one.source, engine, *rest)


def _group(one: Values) -> tuple[str, ...]:
    identity = tuple(_text(one.get(key) or "") for key in ("origin", "engine", "instance", "kind", "database"))
    return (*identity, *(_text(argument) for argument in one.get("partial_arguments") or []))


# --- A backup ---------------------------------------------------------------------------------------------------


def _backup(host: str, one: Values) -> Backup:
    verification = one["verification"] or {}
    state = one["state"]
    if state not in BACKUP_STATES:
        raise ValueError("no such state")
    return Backup(
        filename=_text(one["filename"]),
        host=host,
        database=_name(one),
        state=state,
        created=moment_of(one, "created_at"),
        size_bytes=_bytes(one["size_bytes"]),
        verdict=_text(verification.get("verdict") or ""),
        verified=moment_of(verification, "verified_at") if verification else NEVER,
        uploaded=moment_of(one, "uploaded_at"),
        readable_by=tuple(_text(key) for key in (one.get("recipients") or [])[:_MOST_KEYS]),
    )


# --- Values -----------------------------------------------------------------------------------------------------


def _name(one: Values) -> str:
    name = _text(one.get("database") or one.get("kind") or "?")
    return f"{name} (partial)" if one.get("partial") else name


def _bytes(value: t.Any) -> int:
    """Return a number of bytes. Raises ValueError for an impossible number, which the page could not show."""
    count = int(value)
    if not 0 <= count < 2**63:
        raise ValueError(value)
    return count


def _text(text: t.Any, most: int = _LONGEST_NAME) -> str:
    """Return a host's text in one line, without control characters."""
    return bounded(one_line(str(text)), most)
