"""Which series a directory's facts make."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.lastgood.database.plugins.module_utils._operations.exposition import Labels, Metric, Value
from ansible_collections.lastgood.database.plugins.module_utils._operations.metric_series import (
    BACKUPS,
    CONTENT_BYTES,
    DRILLED,
    DURATION,
    EXPECTED,
    GROUP_LABELS,
    LAST_FAILURE,
    LAST_RUN,
    LAST_SUCCESS,
    METRICS,
    OWN_LABELS,
    PAYLOAD_BYTES,
    READABLE,
    UPLOADED,
    VERIFIED,
    series_of,
)

NO_STATES = {"good": 0, "unverified": 0, "suspect": 0, "corrupt": 0}


def a_run(**over: Any) -> dict[str, Any]:
    return {"outcome": "created", "began_at_epoch": 990, "ended_at_epoch": 1010, "seconds": 20.5, **over}


def a_group(**over: Any) -> dict[str, Any]:
    """Return the facts of a database with a good backup, of which all is known."""
    return {
        "origin": "db1",
        "engine": "postgresql",
        "instance": "73",
        "source": "/run/postgresql:5432",
        "kind": "database",
        "database": "app",
        "partial": False,
        "partial_arguments": [],
        "expected": True,
        "count": 1,
        "states": {**NO_STATES, "good": 1},
        "newest_good": "backup_app_2026-03-01_12-00-00.dump.gz",
        "newest_good_payload_bytes": 300,
        "newest_good_bytes": 1000,
        "confirmed_at_epoch": 1000,
        "last_run": a_run(),
        "last_failure": None,
        "verified_at_epoch": 1100,
        "drilled_at_epoch": 1200,
        "uploaded_at_epoch": 1300,
        **over,
    }


def without_backups(**over: Any) -> dict[str, Any]:
    """Return the facts of a database that was never backed up."""
    nothing = dict.fromkeys(("newest_good", "newest_good_payload_bytes", "newest_good_bytes", "confirmed_at_epoch"))
    times = dict.fromkeys(("verified_at_epoch", "drilled_at_epoch", "uploaded_at_epoch"))
    return a_group(**{**nothing, **times, "count": 0, "states": NO_STATES, "last_run": None, **over})


def series(*groups: dict[str, Any], **labels: str) -> dict[Metric, dict[Labels, Value]]:
    return series_of({"/b": {"exists": True, "databases": groups}}, labels)


def values(metric: Metric, *groups: dict[str, Any]) -> list[Value]:
    return list(series(*groups)[metric].values())


def test_everything_that_is_known_of_a_database() -> None:
    found = series(a_group())
    labels = (
        ("directory", "/b"),
        ("origin", "db1"),
        ("engine", "postgresql"),
        ("kind", "database"),
        ("database", "app"),
        ("source", "/run/postgresql:5432"),
        ("partial", ""),
    )
    assert found == {
        READABLE: {(("directory", "/b"),): 1},
        EXPECTED: {labels: 1},
        LAST_SUCCESS: {labels: 1000},
        LAST_RUN: {labels: 1010},
        DURATION: {labels: 20.5},
        LAST_FAILURE: {},
        PAYLOAD_BYTES: {labels: 300},
        CONTENT_BYTES: {labels: 1000},
        VERIFIED: {labels: 1100},
        DRILLED: {labels: 1200},
        UPLOADED: {labels: 1300},
        BACKUPS: {(*labels, ("state", state)): int(state == "good") for state in NO_STATES},
    }
    assert tuple(found) == METRICS


def test_what_never_happened_is_at_0_so_that_its_age_is_large() -> None:
    never = without_backups()
    assert [values(metric, never) for metric in (LAST_SUCCESS, VERIFIED, DRILLED, UPLOADED)] == [[0]] * 4
    assert [values(metric, never) for metric in (LAST_RUN, DURATION, PAYLOAD_BYTES, CONTENT_BYTES)] == [[]] * 4
    assert values(EXPECTED, never) == [1]


def test_a_failure_has_its_code() -> None:
    [labels] = series(a_group(last_failure={"at_epoch": 2000, "code": "no_space", "msg": "full"}))[LAST_FAILURE]
    assert dict(labels)["code"] == "no_space"
    assert values(LAST_FAILURE, a_group(last_failure={"at_epoch": 2000, "code": "no_space"})) == [2000]


def test_a_run_that_has_not_ended_has_the_time_at_which_it_began() -> None:
    running = a_group(last_run=a_run(outcome="died", ended_at_epoch=None, seconds=None))
    assert (values(LAST_RUN, running), values(DURATION, running)) == ([990], [])


def test_labels_of_the_user_are_on_every_series_and_none_of_ours_can_be_taken() -> None:
    found = series(a_group(last_failure={"at_epoch": 1, "code": "timeout"}), team="storage", area="eu")
    for metric, of_metric in found.items():
        for labels in of_metric:
            assert dict(labels)["team"] == "storage" and dict(labels)["area"] == "eu", metric
            assert set(dict(labels)) - {"team", "area"} <= OWN_LABELS
            assert len(dict(labels)) == len(labels)
    assert {*GROUP_LABELS, "code", "state"} == OWN_LABELS


def test_a_directory_that_is_missing_or_unreadable_is_not_readable_and_has_nothing_else() -> None:
    missing = {"exists": False, "databases": []}
    found = series_of({"/none": missing, "/closed": None}, {})
    assert found[READABLE] == {(("directory", "/none"),): 0, (("directory", "/closed"),): 0}
    assert [values for metric, values in found.items() if metric is not READABLE and values] == []


def test_a_new_instance_of_the_same_server_goes_on_with_the_series_of_the_old_one() -> None:
    old = a_group(instance="72", expected=False, confirmed_at_epoch=900, newest_good_bytes=5, states={**NO_STATES, "good": 3})
    for groups in ([old, a_group()], [a_group(), old]):
        assert values(LAST_SUCCESS, *groups) == [1000]
        assert values(CONTENT_BYTES, *groups) == [1000]
        assert values(BACKUPS, *groups) == [4, 0, 0, 0]


def test_an_old_instance_does_not_hide_that_the_new_one_has_no_backup() -> None:
    old = a_group(instance="72", expected=False)
    assert values(LAST_SUCCESS, old, without_backups()) == [0]


def test_a_partial_backup_is_no_whole_one() -> None:
    partial = a_group(partial=True, partial_arguments=["-T", "a b"], confirmed_at_epoch=5000)
    found = series(a_group(), partial)[LAST_SUCCESS]
    assert {dict(labels)["partial"]: value for labels, value in found.items()} == {"": 1000, "-T 'a b'": 5000}


def test_the_same_database_in_two_directories_has_a_series_in_each() -> None:
    facts = {"exists": True, "databases": [a_group()]}
    assert len(series_of({"/a": facts, "/b": facts}, {})[LAST_SUCCESS]) == 2


def test_names_that_are_not_known_are_empty() -> None:
    unknown = a_group(origin=None, engine=None, source=None, database=None)
    [labels] = series(unknown)[LAST_SUCCESS]
    assert [value for _name, value in labels] == ["/b", "", "", "database", "", "", ""]


def test_a_database_that_is_neither_expected_nor_backed_up_has_no_series() -> None:
    assert series(without_backups(expected=False))[EXPECTED] == {}
    assert values(EXPECTED, a_group(expected=False)) == [0]
