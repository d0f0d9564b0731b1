"""The status file of a directory of backups: the outcome of each database's last run, and the progress of its dumps.

``.lastgood.status.json`` beside the backups, version 1, JSON, sorted keys. It is bookkeeping: no decision
about a backup depends on it. Functions return a new status; ``to_bytes`` limits its size.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._errors import RunDied, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import PRODUCER, format_time, parse_time
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import parse, parse_partial
from ansible_collections.lastgood.database.plugins.module_utils._text import bounded

STATUS_NAME = ".lastgood.status.json"
STATUS_VERSION = 1
LARGEST_STATUS = 4 * 1024 * 1024  # bytes; a database takes about 600

SUCCESSES = ("created", "unchanged", "fresh")
_OUTCOMES = (*SUCCESSES, "failed", "interrupted", "died")
_RUN_OUTCOMES = ("running", "succeeded", "failed", "interrupted", "died")

_GROUPS_AT_MOST = 4000
_RUNS_AT_MOST = 32
_UPLOADS_AT_MOST = 4000
_LONGEST_MESSAGE = 500  # characters
_LONGEST_NAME = 4200  # characters; a path has at most 4,096
_BEGINNING = datetime(1970, 1, 1, tzinfo=timezone.utc)


class StatusUnusable(StoreFailed):
    """The file is not a status that this version can read."""

    def __init__(self, reason: str, *, is_newer: bool = False) -> None:
        remedy = (
            "Use one version of the collection for a directory." if is_newer else "The next run of db_backup makes a new one."
        )
        super().__init__(f"{STATUS_NAME} is not used, since {reason}.", remedy)
        self.is_newer = is_newer


class Attempt(t.NamedTuple):
    """The outcome of a run for a database. ``code`` and ``msg`` are those of a failure.

    ``partial`` is the file that a run was writing when it died, if it had recorded that.
    """

    outcome: str
    began_at: datetime
    ended_at: datetime | None = None
    seconds: float | None = None
    content_bytes: int | None = None
    payload_bytes: int | None = None
    code: str | None = None
    msg: str | None = None
    partial: str | None = None


class Failure(t.NamedTuple):
    """The last failure since the last success."""

    at: datetime
    code: str
    msg: str


class Task(t.NamedTuple):
    """A database that a run has yet to finish. If ``began_at`` is None, its dump has not begun.

    ``partial`` is the file that is being written; the run holds its lock.
    """

    run: str
    began_at: datetime | None = None
    read_bytes: int = 0
    expected_bytes: int | None = None
    partial: str | None = None


class GroupStatus(t.NamedTuple):
    """The status of a group. ``address`` is its server's, from the options; ``source`` is what the server reports of itself."""

    source: str | None = None
    address: str | None = None
    last_run: Attempt | None = None
    last_failure: Failure | None = None
    task: Task | None = None
    uploaded_at: datetime | None = None
    verified_at: datetime | None = None
    drilled_at: datetime | None = None


class Run(t.NamedTuple):
    """A run of db_backup. ``updated_at`` is when it last wrote the status."""

    name: str
    began_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    outcome: str = "running"
    failed: int = 0


@dataclass(frozen=True)
class Status:
    """The content of the file, or the part of it that a run changes.

    ``runs`` are in the order in which they began, even if the clock was set back. ``uploads`` has the time when each file was
    sent, by its name.
    """

    groups: t.Mapping[Group, GroupStatus] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    uploads: t.Mapping[str, datetime] = field(default_factory=dict)

    def run(self, name: str) -> Run | None:
        return {run.name: run for run in self.runs}.get(name)


EMPTY = Status()


# --- Changes --------------------------------------------------------------------------------------


def merged(status: Status, change: Status) -> Status:
    """Return the status after a run's change. Everything else remains.

    A success clears the last failure, and a result ends the task of the same run. An entry without an instance is deleted
    as soon as the same server has one with it.
    """
    groups = dict(status.groups)
    for group, news in change.groups.items():
        for other in [other for other in groups if _is_superseded(other, groups[other], group, news)]:
            del groups[other]
        groups[group] = _merged_group(groups.get(group, GroupStatus()), news)
    runs = {run.name: run for run in (*status.runs, *change.runs)}
    return Status(groups, tuple(runs.values()), {**status.uploads, **change.uploads})


def _merged_group(known: GroupStatus, news: GroupStatus) -> GroupStatus:
    failure, task = known.last_failure, news.task or known.task
    if news.last_run is not None:
        task = news.task
        failure = None if news.last_run.outcome in ("created", "unchanged") else news.last_failure or failure
    updated = known._replace(**{name: value for name, value in news._asdict().items() if value is not None})
    return updated._replace(last_failure=failure, task=task)


def _is_superseded(other: Group, known: GroupStatus, group: Group, news: GroupStatus) -> bool:
    """Return whether ``group`` replaces ``other``, whose instance is not known: the same database, or the whole server."""
    if other == group or other.instance is not None or known.address != news.address:
        return False
    if (other.origin, other.engine) != (group.origin, group.engine):
        return False
    return is_whole_source(other) or (group.instance is not None and other == group._replace(instance=None))


def is_whole_source(group: Group) -> bool:
    """Return whether an entry stands for a server of which no database is known."""
    return group.kind == "database" and group.database is None


def without_dropped(status: Status, is_dropped: t.Callable[[Group, GroupStatus], bool]) -> Status:
    """Return the status after databases were dropped from their server. Those that have a backup remain, without address."""
    groups = {}
    for group, known in status.groups.items():
        if not is_dropped(group, known):
            groups[group] = known
        elif known.last_run is not None and known.last_run.outcome in SUCCESSES:
            groups[group] = known._replace(address=None, task=None)
    return replace(status, groups=groups)


def with_dead_runs(status: Status, is_dead: t.Callable[[Run, t.Sequence[str]], bool]) -> Status:
    """Return the status in which dead runs have the outcome died. ``is_dead`` gets a run and the partials that it was writing."""
    groups, runs = dict(status.groups), list(status.runs)
    for position, run in enumerate(runs):
        tasks = {group: known.task for group, known in groups.items() if known.task is not None and known.task.run == run.name}
        if run.outcome == "running" and is_dead(run, [task.partial for task in tasks.values() if task.partial is not None]):
            groups.update({group: _died(groups[group], task, run) for group, task in tasks.items()})
            runs[position] = run._replace(outcome="died", failed=run.failed + len(tasks))
    return replace(status, groups=groups, runs=tuple(runs))


def _died(known: GroupStatus, task: Task, run: Run) -> GroupStatus:
    error = RunDied(
        f"The run died after {format_time(run.updated_at)}: it was killed, or the host went down.",
        "Search the host's log for that time, and run it again.",
    )
    return known._replace(
        task=None,
        last_run=Attempt("died", task.began_at or run.began_at, code=error.code, msg=str(error), partial=task.partial),
        last_failure=Failure(run.updated_at, error.code, str(error)),
    )


# --- Bytes ----------------------------------------------------------------------------------------


def to_bytes(status: Status) -> bytes:
    """Return the file's content: the most recent entries, as many as fit into LARGEST_STATUS."""
    groups = sorted(status.groups.items(), key=lambda item: _recency(item[1]), reverse=True)[:_GROUPS_AT_MOST]
    uploads = sorted(status.uploads.items(), key=lambda item: (item[1], item[0]), reverse=True)[:_UPLOADS_AT_MOST]
    runs = status.runs[-_RUNS_AT_MOST:]
    while True:
        values = {
            "status_version": STATUS_VERSION,
            "producer": PRODUCER,
            "runs": [_plain(run._asdict()) for run in runs],
            "databases": [_plain({**_group_values(group), **known._asdict()}) for group, known in groups],
            "uploads": _plain(dict(uploads)),
        }
        data = json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        if len(data) <= LARGEST_STATUS or not (groups or uploads):
            return data
        groups, uploads = groups[: len(groups) // 2], uploads[: len(uploads) // 2]


def _recency(known: GroupStatus) -> tuple[bool, datetime]:
    """Return the key that sorts entries by their last event; those with a task of a run come after all others."""
    times = [known.last_run.began_at if known.last_run else None, known.uploaded_at, known.verified_at, known.drilled_at]
    return known.task is not None, max((time for time in times if time is not None), default=_BEGINNING)


def _group_values(group: Group) -> dict[str, t.Any]:
    return {**group._asdict(), "partial": list(group.partial)}


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def from_bytes(data: bytes) -> Status:
    """Parse the file, and skip invalid entries. Raises StatusUnusable if it is no status, or of a newer version."""
    if len(data) > LARGEST_STATUS:
        raise StatusUnusable(f"it has more than {LARGEST_STATUS} bytes")
    try:
        values = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise StatusUnusable("it is not JSON") from error
    version = values.get("status_version") if isinstance(values, dict) else None
    if version.__class__ is not int or version < 1:
        raise StatusUnusable("it is JSON of another kind")
    if version > STATUS_VERSION:
        raise StatusUnusable(f"its version is {version}, and {STATUS_VERSION} is the latest known", is_newer=True)
    entries = [_read_group(item) for item in _list(values.get("databases"))[:_GROUPS_AT_MOST]]
    runs = [_read_run(item) for item in _list(values.get("runs"))[-_RUNS_AT_MOST:]]
    uploads = values.get("uploads")
    times = {name: _time(text) for name, text in uploads.items()} if isinstance(uploads, dict) else {}
    return Status(
        dict(entry for entry in entries if entry is not None),
        tuple(run for run in runs if run is not None),
        {name: time for name, time in times.items() if time is not None and parse(name) is not None},
    )


def _read_group(value: t.Any) -> tuple[Group, GroupStatus] | None:
    value = _dict(value)
    origin, engine, kind, database = (_name(value.get(key)) for key in ("origin", "engine", "kind", "database"))
    partial = [_name(text) for text in _list(value.get("partial"))]
    if origin is None or engine is None or kind not in ("database", "globals") or None in partial:
        return None
    group = Group(
        origin, engine, _name(value.get("instance")), kind, database, tuple(text for text in partial if text is not None)
    )
    return group, GroupStatus(
        _name(value.get("source")),
        _name(value.get("address")),
        _read_attempt(_dict(value.get("last_run"))),
        _read_failure(_dict(value.get("last_failure"))),
        _read_task(_dict(value.get("task"))),
        *(_time(value.get(key)) for key in ("uploaded_at", "verified_at", "drilled_at")),
    )


def _read_attempt(value: dict[str, t.Any]) -> Attempt | None:
    outcome, began_at = value.get("outcome"), _time(value.get("began_at"))
    if outcome not in _OUTCOMES or began_at is None:
        return None
    return Attempt(
        str(outcome),
        began_at,
        _time(value.get("ended_at")),
        _seconds(value.get("seconds")),
        _count(value.get("content_bytes")),
        _count(value.get("payload_bytes")),
        _name(value.get("code")),
        _message(value.get("msg")),
        _partial(value.get("partial")),
    )


def _read_failure(value: dict[str, t.Any]) -> Failure | None:
    at, code, msg = _time(value.get("at")), _name(value.get("code")), _message(value.get("msg"))
    return None if at is None or code is None or msg is None else Failure(at, code, msg)


def _read_task(value: dict[str, t.Any]) -> Task | None:
    run = _name(value.get("run"))
    if run is None:
        return None
    read_bytes, expected_bytes = _count(value.get("read_bytes")), _count(value.get("expected_bytes"))
    return Task(run, _time(value.get("began_at")), read_bytes or 0, expected_bytes, _partial(value.get("partial")))


def _partial(value: t.Any) -> str | None:
    """Return the name if it is that of a partial, else None. Partials are opened, and another name may be a device's."""
    name = _name(value)
    return None if name is None or parse_partial(name) is None else name


def _read_run(value: t.Any) -> Run | None:
    value = _dict(value)
    name, began_at, updated_at = _name(value.get("name")), _time(value.get("began_at")), _time(value.get("updated_at"))
    outcome = value.get("outcome")
    if name is None or began_at is None or updated_at is None or outcome not in _RUN_OUTCOMES:
        return None
    return Run(name, began_at, updated_at, _time(value.get("ended_at")), str(outcome), _count(value.get("failed")) or 0)


def _list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else []


def _dict(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _name(value: t.Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME else None


def _message(value: t.Any) -> str | None:
    return bounded(value, _LONGEST_MESSAGE) if isinstance(value, str) else None


def _time(value: t.Any) -> datetime | None:
    return parse_time(value) if isinstance(value, str) else None


def _count(value: t.Any) -> int | None:
    return value if value.__class__ is int and 0 <= value < 2**63 else None


def _seconds(value: t.Any) -> float | None:
    return float(value) if value.__class__ in (int, float) and 0 <= value < 2**31 else None
