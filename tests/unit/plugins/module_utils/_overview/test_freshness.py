"""Whether a database is safe, late or failing, and why."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import (
    Judgement,
    judge,
    last_good_of,
    limits_from,
    never_backed_up,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
FAILURE = {"at": "2026-03-01 01:00:00", "code": "no_space", "msg": "The disk is full. Make room."}


def group(**over: Any) -> dict[str, Any]:
    """Return the facts of a database that was backed up an hour ago."""
    usual = {"newest_good": "a", "age_seconds": 3600, "last_run": {"outcome": "created"}, "last_failure": None, "sizes": [10, 10]}
    return {**usual, "verified_at": None, "drilled_at": None, "uploaded_at": None, **over}


def judged(limits: dict[str, Any] | None = None, shrink_percent: int = 50, **over: Any) -> Judgement:
    facts = group(**over)
    return judge(facts, last_good_of(facts, NOW), limits_from(limits, shrink_percent), NOW)


def time(**duration: float) -> str:
    return (NOW - timedelta(**duration)).strftime("%Y-%m-%d %H:%M:%S")


def test_a_backup_is_late_when_it_is_older_than_26_hours_unless_the_user_says_otherwise() -> None:
    hours = 3600
    assert judged(age_seconds=26 * hours) == Judgement("safe")
    late = judged(age_seconds=26 * hours + 1)
    assert (late.state, late.overdue) == ("late", {"backup"})
    assert judged({"backup": None}, age_seconds=27 * hours).state == "late"
    assert judged({"backup": "3d"}, age_seconds=71 * hours).state == "safe"
    assert judged({"backup": "1h"}, age_seconds=2 * hours).state == "late"


def test_the_reason_says_how_old_how_old_it_may_be_and_what_to_do() -> None:
    reason = judged(age_seconds=2 * 86400 + 3 * 3600).reason
    assert reason.startswith("The last good backup was 2d 3h ago, the limit is 1d 2h. ") and "lastgood.database.backup" in reason


@pytest.mark.parametrize("name", ["verified", "drilled", "uploaded"])
def test_another_age_counts_only_where_it_is_set_and_never_is_too_long_ago(name: str) -> None:
    for at, state in ((time(days=6), "safe"), (time(days=8), "late"), (None, "late")):
        assert judged(**{f"{name}_at": at}).state == "safe"
        found = judged({name: "7d"}, **{f"{name}_at": at})
        assert (found.state, found.overdue) == (state, {name} if state == "late" else set())
    assert "never" in judged({name: "7d"}).reason


def test_a_time_that_the_facts_do_not_have_is_not_late() -> None:
    facts = group()
    del facts["drilled_at"], facts["sizes"], facts["last_run"], facts["last_failure"]
    assert judge(facts, last_good_of(facts, NOW), limits_from({"drilled": "7d"}), NOW).state == "safe"


def test_a_failure_makes_a_database_fail_whatever_the_age_and_says_what_to_do() -> None:
    found = judged(last_failure=FAILURE)
    assert (found.state, found.reason) == ("failing", "no_space: The disk is full. Make room.")


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("failed", "failing"), ("interrupted", "failing"), ("died", "failing")]
    + [(outcome, "safe") for outcome in ("created", "unchanged", "fresh", "running")],
)
def test_a_run_that_did_not_end_well_makes_a_database_fail(outcome: str, state: str) -> None:
    assert judged(last_run={"outcome": outcome}).state == state


def test_a_database_without_a_good_backup_fails() -> None:
    found = judged(newest_good=None, age_seconds=None)
    assert (found.state, [problem.what for problem in found.problems]) == ("failing", ["never"])
    assert never_backed_up().state == "failing"


def test_a_database_whose_last_good_backup_is_much_smaller_fails() -> None:
    found = judged(sizes=[100, 100, 49])
    assert found.state == "failing" and "49 bytes of content, 49 % of the usual 100" in found.reason
    assert judged(sizes=[100, 100, 49], shrink_percent=0).state == "safe"
    assert judged(sizes=[100, 100, 49], shrink_percent=40).state == "safe"


def test_all_problems_are_reported_the_worst_first() -> None:
    found = judged({"verified": "7d"}, last_failure=FAILURE, age_seconds=86400 * 3, sizes=[100, 1])
    assert [problem.what for problem in found.problems] == ["failed", "shrunk", "backup", "verified"]
    assert found.overdue == {"backup", "verified"}


def test_an_age_that_is_no_duration_is_an_error() -> None:
    with pytest.raises(ArgumentInvalid, match="verified"):
        limits_from({"verified": "soon"})


def test_an_endless_reason_is_cut_and_control_characters_are_visible() -> None:
    found = judged(last_failure={**FAILURE, "msg": "\x1b[2K" + "x" * 9999})
    assert len(found.reason) <= 600 and "\x1b" not in found.reason
