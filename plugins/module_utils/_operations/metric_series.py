"""The metrics, and their series from the facts about each directory. Pure.

The values are times, not ages: Prometheus computes ages itself, so that they grow even if no run writes the file any more. A time
of 0 means never, so that an alert on an age covers what never happened.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import shlex
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._operations.exposition import Labels, Metric, Value

Facts = t.Mapping[str, t.Any]  # what the inventory returns

READABLE = Metric(
    "lastgood_backup_directory_readable", "Whether the directory of backups exists and could be read (1), or not (0)."
)
EXPECTED = Metric(
    "lastgood_backup_expected", "Whether runs back the database up or try to (1), or only old backups or others' are left (0)."
)
LAST_SUCCESS = Metric(
    "lastgood_backup_last_success_timestamp_seconds",
    "When the content of the last good backup was last seen to be the database's. 0 where there is no good backup.",
    is_bookkeeping=True,
)
LAST_RUN = Metric(
    "lastgood_backup_last_run_timestamp_seconds",
    "When the last run ended for the database, or began if it has not ended or was killed.",
    is_bookkeeping=True,
)
DURATION = Metric(
    "lastgood_backup_last_run_duration_seconds", "How long the last run took for the database.", is_bookkeeping=True
)
LAST_FAILURE = Metric(
    "lastgood_backup_last_failure_timestamp_seconds",
    "When the database's backup last failed, by the code of the error. Absent after the next success.",
    is_bookkeeping=True,
)
PAYLOAD_BYTES = Metric("lastgood_backup_payload_bytes", "Size of the last good backup's file.")
CONTENT_BYTES = Metric("lastgood_backup_content_bytes", "Size of the last good backup's content before compression.")
VERIFIED = Metric(
    "lastgood_backup_verified_timestamp_seconds",
    "When a backup last passed a verification of any level. 0 for never.",
    is_bookkeeping=True,
)
DRILLED = Metric(
    "lastgood_backup_drilled_timestamp_seconds",
    "When a backup was last restored to a throw-away server. 0 for never.",
    is_bookkeeping=True,
)
UPLOADED = Metric(
    "lastgood_backup_uploaded_timestamp_seconds",
    "When the newest good backup was last sent to the server or seen on it. 0 for never.",
    is_bookkeeping=True,
)
BACKUPS = Metric("lastgood_backups", "How many backups there are, by their state.")

METRICS = (
    READABLE,
    EXPECTED,
    LAST_SUCCESS,
    LAST_RUN,
    DURATION,
    LAST_FAILURE,
    PAYLOAD_BYTES,
    CONTENT_BYTES,
    VERIFIED,
    DRILLED,
    UPLOADED,
    BACKUPS,
)
# The labels of a database's series, without the instance, so that a series continues after an upgrade.
GROUP_LABELS = ("directory", "origin", "engine", "kind", "database", "source", "partial")
OWN_LABELS = frozenset((*GROUP_LABELS, "code", "state"))

_Series = dict[Metric, dict[Labels, Value]]


def series_of(directories: t.Mapping[str, Facts | None], labels: t.Mapping[str, str]) -> _Series:
    """Return the series of directories, each with its facts, or None if it could not be read."""
    users = tuple(sorted(labels.items()))
    series: _Series = {metric: {} for metric in METRICS}
    for directory, facts in directories.items():
        readable = facts is not None and facts["exists"]
        labels_of_directory = (("directory", directory), *users)
        series[READABLE][labels_of_directory] = int(readable)
        if facts is not None:
            for own, groups in _by_labels(directory, facts["databases"]).items():
                _add(series, (*own, *users), groups)
    return series


def _by_labels(directory: str, groups: t.Iterable[Facts]) -> dict[Labels, list[Facts]]:
    """Return the groups of a directory by their labels. Groups that differ only in their instance share labels."""
    found: dict[Labels, list[Facts]] = collections.defaultdict(list)
    for group in groups:
        if group["count"] or group["expected"]:
            partial = shlex.join(group["partial_arguments"])
            values = {**group, "directory": directory, "partial": partial}
            found[tuple((name, values[name] or "") for name in GROUP_LABELS)].append(group)
    return found


def _add(series: _Series, labels: Labels, groups: t.Sequence[Facts]) -> None:
    """Add the series of a database, from the instance that is backed up now, else from the last one."""
    newest = max(groups, key=_recency)
    run, failure = newest["last_run"], newest["last_failure"]
    series[EXPECTED][labels] = int(newest["expected"])
    for metric, key in ((LAST_SUCCESS, "confirmed"), (VERIFIED, "verified"), (DRILLED, "drilled"), (UPLOADED, "uploaded")):
        series[metric][labels] = newest[f"{key}_at_epoch"] or 0
    if run is not None:
        ended_at = run["ended_at_epoch"]
        series[LAST_RUN][labels] = run["began_at_epoch"] if ended_at is None else ended_at
        if run["seconds"] is not None:
            series[DURATION][labels] = run["seconds"]
    if failure is not None:
        with_code = (*labels, ("code", failure["code"]))
        series[LAST_FAILURE][with_code] = failure["at_epoch"]
    if newest["newest_good"] is not None:
        series[PAYLOAD_BYTES][labels] = newest["newest_good_payload_bytes"]
        series[CONTENT_BYTES][labels] = newest["newest_good_bytes"]
    for state in newest["states"]:
        with_state = (*labels, ("state", state))
        series[BACKUPS][with_state] = sum(group["states"][state] for group in groups)


def _recency(group: Facts) -> tuple[bool, float, float, str]:
    began_at = 0 if group["last_run"] is None else group["last_run"]["began_at_epoch"]
    return group["expected"], group["confirmed_at_epoch"] or 0, began_at, group["instance"] or ""
