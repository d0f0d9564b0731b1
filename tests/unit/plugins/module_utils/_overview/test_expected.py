"""Which databases a host should have backups of, and whether it has them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._overview.expected import (
    Expected,
    counts_of,
    expected_on,
    not_fresh,
)
from ansible_collections.lastgood.database.plugins.module_utils._overview.summary import freshness_lines

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
IDENTITY = {"origin": "db1", "engine": "postgresql", "instance": "73", "kind": "database", "database": "app"}


def record(**over: Any) -> dict[str, Any]:
    """Return what db_backup says of a database in check mode."""
    return {**IDENTITY, "partial": False, "partial_arguments": [], "source": "/run:5432", "outcome": "created", **over}


def group(**over: Any) -> dict[str, Any]:
    """Return what backup_facts says of a database."""
    known = {"newest_good": "a", "age_seconds": 3600, "last_run": None, "last_failure": None, "sizes": []}
    return {**IDENTITY, "partial": False, "partial_arguments": [], "source": "/run:5432", **known, **over}


def host(records: Any, groups: Any, **over: Any) -> dict[str, Any]:
    asked = {"title": "postgresql in /b", "directory": "/b", "max_age": {}, "shrink_warning": 50, "asked": {"backups": records}}
    listing = {"_backup_place": "/b", "ansible_facts": {"database_backups": {"databases": groups}}}
    return {"_backup_asked": [{**asked, **over}], "backup_inventory": {"results": [listing]}}


def one(variables: dict[str, Any]) -> Expected:
    [found] = expected_on(variables, NOW)
    return found


def test_a_database_with_a_young_backup_is_safe() -> None:
    found = one(host([record()], [group()]))
    assert (found.name, found.source, found.judgement.state, found.age_seconds) == ("app", "/run:5432", "safe", 3600)


def test_a_database_that_never_had_a_backup_is_asked_for_and_one_that_left_is_not() -> None:
    found = one(host([record(database="new")], [group(), group(database="dropped", newest_good=None, age_seconds=None)]))
    assert (found.name, found.judgement.state) == ("new", "failing")
    assert found.judgement.reason.startswith("It was never backed up.")


@pytest.mark.parametrize(
    "other",
    [{"origin": "db2"}, {"instance": "74"}, {"kind": "globals"}, {"partial_arguments": ["--schema=a"]}, {"engine": "sqlite"}],
)
def test_the_backups_of_another_group_do_not_stand_for_a_database(other: dict[str, Any]) -> None:
    assert one(host([record()], [group(**other)])).judgement.state == "failing"


def test_a_database_that_can_not_be_backed_up_now_fails_with_the_age_of_its_last_good_backup() -> None:
    lost = record(
        outcome="failed", instance=None, source=None, msg="It is missing. Create it.", error={"code": "database_missing"}
    )
    earlier = {"at": "2026-03-01 01:00:00", "code": "database_missing", "msg": "It is missing. Create it."}
    found = one(host([lost], [group(age_seconds=9999999, instance="72"), group(last_failure=earlier)]))
    assert (found.judgement.state, found.judgement.reason, found.age_seconds) == ("failing", "It is missing. Create it.", 3600)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "Unreachable, or failed"),
        (host([], [], asked={"failed": True, "msg": "The server is down."}), "could not be listed: The server is down."),
        ({**host([record()], []), "backup_inventory": {"results": []}}, "Unreachable, or failed"),
        (
            {
                **host([record()], []),
                "backup_inventory": {"results": [{"_backup_place": "/b", "failed": True, "msg": "No right."}]},
            },
            "Its backups could not be listed: No right.",
        ),
        (host([record()], [group()], max_age={"backup": "soon"}), "backup_max_age.backup"),
        (host("text", []), "can't be read"),
        (host([record()], [group(age_seconds="x")]), "can't be read"),
        (host([record()], [{}]), "can't be read"),
        ({"_backup_asked": 1}, "can't be read"),
    ],
)
def test_what_can_not_be_asked_is_unknown_and_says_why(variables: dict[str, Any], reason: str) -> None:
    found = one(variables)
    assert found.judgement.state == "unknown" and reason in found.judgement.reason


def test_a_source_without_databases_has_nothing_to_be_fresh() -> None:
    assert expected_on(host([], []), NOW) == []


@pytest.mark.parametrize("mask", ["********", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"])
def test_a_name_of_which_ansible_masked_a_part_is_found_all_the_same(mask: str) -> None:
    assert one(host([record(database=f"a{mask}")], [group()])).judgement.state == "safe"
    assert one(host([record(database=f"b{mask}")], [group()])).judgement.state == "failing"


@pytest.mark.parametrize(
    ("asked", "known", "expected"),
    [
        ("********a********b", "aab", "safe"),
        ("a********a", "a", "failing"),
        ("********a********a********", "a", "failing"),
        ("********b********a********", "ab", "failing"),
        ("********", "", "safe"),
    ],
)
def test_the_parts_that_ansible_left_are_in_their_order(asked: str, known: str, expected: str) -> None:
    assert one(host([record(database=asked)], [group(database=known)])).judgement.state == expected


def test_a_name_of_many_masks_takes_no_time() -> None:
    asked, known = "********".join(["a"] * 2000), "a" * 100_000 + "b"
    assert one(host([record(database=asked)], [group(database=known)])).judgement.state == "failing"


def test_the_numbers_and_the_names_are_those_of_all_databases() -> None:
    expected = expected_on(host([record(), record(database="new"), record(kind="globals", database=None)], [group()]), NOW)
    hosts = {"db1": expected, "db2": expected_on({}, NOW)}
    assert counts_of(hosts) == {"failing": 2, "late": 0, "unknown": 1, "safe": 1}
    assert not_fresh(expected) == ["new (failing)", "globals (failing)"]
    assert not_fresh(hosts["db2"]) == ["all (unknown)"]


def test_the_table_has_one_line_for_each_database_that_is_not_fresh() -> None:
    old = group(database="old", age_seconds=3 * 86400)
    hosts = {
        "db1": expected_on(host([record(), record(database="old")], [group(), old]), NOW),
        "db2": expected_on(host([], [], asked={"failed": True, "msg": "Down."}), NOW),
    }
    header, late, unknown = freshness_lines(hosts)
    assert header.split() == ["host", "database", "state", "age", "reason"]
    assert late.split()[:6] == ["db1", "old", "late", "3", "days", "The"]
    assert unknown.split()[:6] == ["db2", "(postgresql", "in", "/b)", "unknown", "Its"]


def test_a_fleet_that_is_fresh_has_one_line() -> None:
    assert freshness_lines({"db1": expected_on(host([record()], [group()]), NOW)}) == ["Fresh: all 1 databases of 1 hosts."]


def test_a_database_has_its_source_where_its_host_has_two_of_its_name() -> None:
    records = [record(instance="1", source="/run:5432"), record(instance="2", source="/run:5433")]
    lines = freshness_lines({"db1": expected_on(host(records, []), NOW)})
    assert lines[0].split() == ["host", "database", "source", "state", "age", "reason"]
    assert [line.split()[2] for line in lines[1:]] == ["/run:5432", "/run:5433"]
