"""The facts about runs that backup_facts returns, from the directory's status and its backups.

A backup overrides the status: a run that was killed before its last write to the status may have stored one.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import heapq
import typing as t
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._errors import RunDied, StoreError
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, time_facts
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import parse_partial
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    EMPTY,
    Attempt,
    Failure,
    GroupStatus,
    Run,
    Status,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status_file import read_status
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import ReadableStore

_SIZES = 30


class GroupFacts:
    """The last sizes and verifications of a group, from the backups that were added."""

    def __init__(self) -> None:
        self._sizes: list[tuple[datetime, str, int]] = []  # a heap: the oldest first
        self._verified_at: datetime | None = None
        self._drilled_at: datetime | None = None

    def add(self, backup: Backup) -> None:
        age = backup.created_at, backup.filename
        if (len(self._sizes) < _SIZES or age > self._sizes[0]) and backup.state == "good":
            item = (*age, size_of(backup))
            if len(self._sizes) < _SIZES:
                heapq.heappush(self._sizes, item)
            else:
                heapq.heapreplace(self._sizes, item)
        verification = backup.manifest.verification
        if verification is not None and verification.verdict == "passed":
            self._verified_at = _later(self._verified_at, verification.verified_at)
            if verification.level == "restore":
                self._drilled_at = _later(self._drilled_at, verification.verified_at)

    def record(self, known: GroupStatus, runs: t.Iterable[Run], newest_good: Backup | None) -> dict[str, t.Any]:
        """Return the facts of the group, from its status and its last good backup."""
        attempt, failure = _proven(_last_run(known, {run.name: run for run in runs}), known.last_failure, newest_good)
        return {
            "last_run": None if attempt is None else _attempt_facts(attempt),
            "last_failure": None
            if failure is None
            else {**time_facts("at", failure.at), "code": failure.code, "msg": failure.msg},
            **time_facts("uploaded_at", known.uploaded_at),
            **time_facts("verified_at", _later(known.verified_at, self._verified_at)),
            **time_facts("drilled_at", _later(known.drilled_at, self._drilled_at)),
            "newest_good_bytes": None if newest_good is None else size_of(newest_good),
            "sizes": [size for _created_at, _filename, size in sorted(self._sizes)],
        }


def size_of(backup: Backup) -> int:
    """Return the size of the content, or of the payload if the manifest has no size of the content."""
    content_bytes = backup.manifest.content_bytes
    return backup.size_bytes if content_bytes is None else content_bytes


def status_of(store: ReadableStore, warnings: list[str]) -> Status:
    """Return the status of a store's runs. If it can't be used, return an empty one, and warn."""
    try:
        return read_status(store)
    except StoreError as error:
        warnings.append(f"The status of the last runs is not known: {error.problem} {error.remedy}")
        return EMPTY


def run_facts(status: Status) -> dict[str, t.Any]:
    """Return the facts of the last run, and of the dumps under way."""
    runs = {run.name: run for run in status.runs}
    return {
        "last_run": _run_facts(status.runs[-1]) if status.runs else None,
        "running": [
            {
                **group.facts(),
                "source": known.source,
                **time_facts("began_at", known.task.began_at),
                **time_facts("updated_at", runs[known.task.run].updated_at),
                "read_bytes": known.task.read_bytes,
                "expected_bytes": known.task.expected_bytes,
            }
            for group, known in status.groups.items()
            if known.task is not None and known.task.began_at is not None and known.task.run in runs
        ],
    }


def _run_facts(run: Run) -> dict[str, t.Any]:
    return {
        **time_facts("began_at", run.began_at),
        **time_facts("ended_at", run.ended_at),
        "seconds": None if run.ended_at is None else max(0, int((run.ended_at - run.began_at).total_seconds())),
        "outcome": run.outcome,
        "failed": run.failed,
    }


def _last_run(known: GroupStatus, runs: t.Mapping[str, Run]) -> Attempt | None:
    """Return the last run of a group. Until its dump begins, return the run before."""
    task = known.task
    if task is None or task.run not in runs or (task.began_at is None and known.last_run is not None):
        return known.last_run
    return Attempt("running", task.began_at or runs[task.run].began_at)


def _proven(attempt: Attempt | None, failure: Failure | None, newest: Backup | None) -> tuple[Attempt | None, Failure | None]:
    """Return the last run and failure, corrected if the last good backup disproves them."""
    if newest is None:
        return attempt, failure
    outcome = None if attempt is None or attempt.outcome != "died" else _outcome_in(newest, attempt)
    if attempt is not None and outcome is not None:
        attempt = Attempt(outcome, attempt.began_at, content_bytes=newest.manifest.content_bytes, payload_bytes=newest.size_bytes)
        failure = None if failure is not None and failure.code == RunDied.code else failure
    if failure is not None and newest.confirmed_at > failure.at:
        failure = None
    return attempt, failure


def _outcome_in(newest: Backup, attempt: Attempt) -> str | None:
    """Return the outcome that a run left in the last good backup before it died, None if it left none.

    The partial's name identifies the run's backup: the time does not, since the previous backup may be of the same second. A run
    that died within a second may not have recorded the name.
    """
    payload = None if attempt.partial is None else parse_partial(attempt.partial)
    if payload is None:
        if newest.confirmed_at <= attempt.began_at:
            return None
        return "created" if newest.created_at > attempt.began_at else "unchanged"
    if newest.filename == payload.filename:
        return "created"
    is_confirmed = payload.stamp is not None and newest.created_at < payload.stamp <= newest.confirmed_at
    return "unchanged" if is_confirmed else None


def _attempt_facts(attempt: Attempt) -> dict[str, t.Any]:
    return {
        "outcome": attempt.outcome,
        **time_facts("began_at", attempt.began_at),
        **time_facts("ended_at", attempt.ended_at),
        "seconds": attempt.seconds,
        "content_bytes": attempt.content_bytes,
        "payload_bytes": attempt.payload_bytes,
        "code": attempt.code,
        "msg": attempt.msg,
    }


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
