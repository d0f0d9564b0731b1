"""The status of runs: what its file may have in it, and what a change comes to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    EMPTY,
    LARGEST_STATUS,
    Attempt,
    Failure,
    GroupStatus,
    Run,
    Status,
    StatusUnusable,
    Task,
    from_bytes,
    is_whole_source,
    merged,
    to_bytes,
    with_dead_runs,
    without_dropped,
)
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago

APP = Group("db1", "postgresql", "73", "database", "app")
SHOP = APP._replace(database="shop")
WHOLE = Group("db1", "postgresql", None, "database", None)

# What a name may be: also bytes that are no UTF-8, which Python has as halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff"), max_size=20)
times = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)).map(
    lambda time: time.replace(microsecond=0)
)
counts = st.integers(0, 2**63 - 1)
groups = st.builds(
    Group,
    texts,
    texts,
    st.none() | texts,
    st.sampled_from(["database", "globals"]),
    st.none() | texts,
    st.lists(texts, max_size=2).map(tuple),
)
partials = st.none() | st.just(".backup_app_2026-01-31_01-00-00.dump.gz.partial")
attempts = st.builds(
    Attempt,
    st.sampled_from(["created", "unchanged", "fresh", "failed", "interrupted", "died"]),
    times,
    st.none() | times,
    st.none() | st.floats(0, 1e6),
    st.none() | counts,
    st.none() | counts,
    st.none() | texts,
    st.none() | texts,
    partials,
)
failures = st.builds(Failure, times, texts, texts)
tasks = st.builds(Task, texts, st.none() | times, counts, st.none() | counts, partials)
entries = st.builds(
    GroupStatus,
    st.none() | texts,
    st.none() | texts,
    st.none() | attempts,
    st.none() | failures,
    st.none() | tasks,
    *[st.none() | times] * 3,
)
runs = st.builds(
    Run,
    texts,
    times,
    times,
    st.none() | times,
    st.sampled_from(["running", "succeeded", "failed", "interrupted", "died"]),
    counts,
)
uploads = st.dictionaries(st.just("backup_app_2026-01-31_01-00-00.dump.gz"), times)
statuses = st.builds(
    Status,
    st.dictionaries(groups, entries, max_size=4),
    st.lists(runs, max_size=3, unique_by=lambda run: run.name).map(tuple),
    uploads,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


class TestFile:
    """The bytes of the file."""

    @given(statuses)
    def test_what_is_written_is_read_again(self, status: Status) -> None:
        assert from_bytes(to_bytes(status)) == status

    @given(st.binary(max_size=300))
    def test_garbage_is_refused(self, data: bytes) -> None:
        with pytest.raises(StatusUnusable):
            from_bytes(data)

    @settings(max_examples=300)
    @given(statuses, st.data())
    def test_a_value_that_is_replaced_by_any_other_raises_nothing_else(self, status: Status, data: st.DataObject) -> None:
        values = json.loads(to_bytes(status))
        spot, key = values, data.draw(st.sampled_from(sorted(values)))
        while isinstance(spot[key], (dict, list)) and spot[key] and data.draw(st.booleans()):
            spot = spot[key]
            key = data.draw(st.sampled_from(sorted(spot)) if isinstance(spot, dict) else st.integers(0, len(spot) - 1))
        spot[key] = data.draw(anything)
        try:
            found = from_bytes(json.dumps(values).encode())
        except StatusUnusable:
            return
        assert from_bytes(to_bytes(found)) == found

    @pytest.mark.parametrize("value", [[], None, 1, {}, {"status_version": True}, {"status_version": 0}, {"status_version": "1"}])
    def test_other_json_is_refused(self, value: Any) -> None:
        with pytest.raises(StatusUnusable, match="another kind"):
            from_bytes(json.dumps(value).encode())

    def test_nesting_without_end_is_refused(self) -> None:
        with pytest.raises(StatusUnusable):
            from_bytes(b"[" * 100_000)

    def test_a_newer_version_is_recognised_as_such(self) -> None:
        with pytest.raises(StatusUnusable, match="version is 2") as caught:
            from_bytes(b'{"status_version": 2}')
        assert caught.value.is_newer

    def test_a_huge_file_is_not_parsed(self) -> None:
        with pytest.raises(StatusUnusable, match="bytes"):
            from_bytes(b" " * LARGEST_STATUS + b"{}")

    def test_it_does_not_grow_without_end_and_retains_the_newest(self) -> None:
        words = "x" * 4000
        old = {
            APP._replace(database=str(number)): GroupStatus(words, last_run=Attempt("created", ago(days=number)))
            for number in range(3000)
        }
        data = to_bytes(Status(old, tuple(Run(str(n), NOW, NOW) for n in range(100))))
        found = from_bytes(data)
        assert len(data) <= LARGEST_STATUS
        assert [group.database for group in found.groups] == [str(number) for number in range(len(found.groups))]
        assert [run.name for run in found.runs] == [str(number) for number in range(68, 100)]

    def test_a_message_is_cut(self) -> None:
        known = GroupStatus(last_failure=Failure(NOW, "timeout", "x" * 100_000))
        failure = from_bytes(to_bytes(Status({APP: known}))).groups[APP].last_failure
        assert failure is not None and len(failure.msg) <= 500


def status_of(**values: Any) -> Status:
    return Status({APP: GroupStatus(**values)})


class TestMerge:
    """What a change comes to."""

    @given(statuses, statuses)
    def test_what_a_change_does_not_mention_remains(self, status: Status, change: Status) -> None:
        found = merged(status, change)
        for group, known in status.groups.items():
            if group not in change.groups and group.instance is not None:
                assert found.groups[group] == known
        assert set(change.groups) <= set(found.groups)
        assert {run.name for run in found.runs} == {run.name for run in (*status.runs, *change.runs)}

    @given(statuses, statuses)
    def test_a_change_twice_is_a_change_once(self, status: Status, change: Status) -> None:
        once = merged(status, change)
        assert merged(once, change) == once

    @given(statuses)
    def test_no_change_changes_nothing(self, status: Status) -> None:
        assert merged(status, EMPTY).groups == status.groups

    @given(statuses, statuses, statuses)
    def test_the_order_of_runs_with_other_databases_does_not_matter(self, status: Status, one: Status, other: Status) -> None:
        mine = Status({group._replace(instance="1"): known for group, known in one.groups.items()})
        theirs = Status({group._replace(instance="2"): known for group, known in other.groups.items()})
        base = Status({group: known for group, known in status.groups.items() if group.instance is not None})
        assert merged(merged(base, mine), theirs) == merged(merged(base, theirs), mine)

    @pytest.mark.parametrize("outcome", ["created", "unchanged"])
    def test_a_success_ends_the_failure_before_it(self, outcome: str) -> None:
        failed = status_of(last_failure=Failure(ago(hours=1), "timeout", "Too slow."))
        found = merged(failed, status_of(last_run=Attempt(outcome, NOW)))
        assert found.groups[APP].last_failure is None

    def test_a_backup_that_was_fresh_enough_proves_no_success(self) -> None:
        failure = Failure(ago(hours=1), "timeout", "Too slow.")
        found = merged(status_of(last_failure=failure), status_of(last_run=Attempt("fresh", NOW)))
        assert found.groups[APP].last_failure == failure

    def test_a_result_ends_the_task_and_leaves_the_other_times(self) -> None:
        before = status_of(task=Task("run"), uploaded_at=ago(days=1), drilled_at=ago(days=2), source="socket")
        found = merged(before, status_of(last_run=Attempt("created", NOW), verified_at=NOW)).groups[APP]
        assert found == GroupStatus(
            source="socket",
            last_run=Attempt("created", NOW),
            uploaded_at=ago(days=1),
            verified_at=NOW,
            drilled_at=ago(days=2),
        )

    def test_a_server_that_was_reached_replaces_the_entry_of_one_that_was_not(self) -> None:
        known = GroupStatus(source="db1:5432", address="db1", last_failure=Failure(NOW, "connection_failed", "No."))
        unknown = APP._replace(instance=None)
        before = Status({WHOLE: known, unknown: known, WHOLE._replace(origin="db2"): known, SHOP._replace(instance=None): known})
        found = merged(before, Status({APP: GroupStatus(address="db1", last_run=Attempt("created", NOW))}))
        assert set(found.groups) == {APP, WHOLE._replace(origin="db2"), SHOP._replace(instance=None)}

    def test_another_server_of_the_host_is_another_entry(self) -> None:
        before = Status({WHOLE: GroupStatus(address="default:5433")})
        found = merged(before, Status({APP: GroupStatus(address="default")}))
        assert set(found.groups) == {WHOLE, APP}
        assert is_whole_source(WHOLE) and not is_whole_source(APP)


def test_a_database_that_left_its_server_is_forgotten_unless_it_had_a_backup() -> None:
    done, failed = (Attempt(outcome, ago(days=1)) for outcome in ("created", "failed"))
    before = Status({APP: GroupStatus(address="db1", last_run=done), SHOP: GroupStatus(address="db1", last_run=failed)})
    found = without_dropped(before, lambda group, known: known.address == "db1")
    assert found.groups == {APP: GroupStatus(last_run=done)}


class TestDeadRuns:
    """A run that is not alive and did not write how it ended."""

    RUN = Run("one", ago(hours=2), ago(hours=1))
    STATUS = Status(
        {
            APP: GroupStatus(last_run=Attempt("created", ago(days=1)), task=Task("one", ago(minutes=90), 5, 9, "partial")),
            SHOP: GroupStatus(task=Task("one")),
            WHOLE: GroupStatus(task=Task("two")),
        },
        (RUN, Run("two", NOW, NOW), Run("three", ago(days=1), ago(days=1), NOW, "succeeded")),
    )

    def test_its_databases_have_a_failure_and_others_do_not(self) -> None:
        asked: list[tuple[str, list[str]]] = []

        def is_dead(run: Run, partials: Any) -> bool:
            asked.append((run.name, list(partials)))
            return run.name == "one"

        found = with_dead_runs(self.STATUS, is_dead)
        assert asked == [("one", ["partial"]), ("two", [])]
        app, shop = found.groups[APP], found.groups[SHOP]
        assert app.task is None and shop.task is None and found.groups[WHOLE] == self.STATUS.groups[WHOLE]
        assert app.last_run is not None and app.last_failure is not None and shop.last_run is not None
        assert (app.last_run.outcome, app.last_run.began_at, app.last_run.ended_at) == ("died", ago(minutes=90), None)
        assert (app.last_failure.at, app.last_failure.code) == (self.RUN.updated_at, "run_died")
        assert "2026-03-01T11:00:00Z" in app.last_failure.msg
        assert shop.last_run.began_at == self.RUN.began_at
        assert (app.last_run.partial, shop.last_run.partial) == ("partial", None)
        assert {run.name: (run.outcome, run.failed) for run in found.runs} == {
            "one": ("died", 2),
            "two": ("running", 0),
            "three": ("succeeded", 0),
        }

    @given(statuses, st.booleans())
    def test_it_is_recorded_once(self, status: Status, dead: bool) -> None:
        found = with_dead_runs(status, lambda run, partials: dead)
        assert with_dead_runs(found, lambda run, partials: dead) == found
        assert dead or found == status


def test_times_are_to_the_second() -> None:
    exact = NOW + timedelta(microseconds=5)
    assert from_bytes(to_bytes(Status({APP: GroupStatus(uploaded_at=exact)}))).groups[APP].uploaded_at == NOW


@pytest.mark.parametrize("seconds", [10**400, -1, 2**31, float("nan"), float("inf"), True, "1"])
def test_seconds_that_can_not_be_are_not_known(seconds: Any) -> None:
    values = json.loads(to_bytes(Status({APP: GroupStatus(last_run=Attempt("created", NOW))})))
    values["databases"][0]["last_run"]["seconds"] = seconds
    found = from_bytes(json.dumps(values).encode()).groups[APP].last_run
    assert found == Attempt("created", NOW)


@pytest.mark.parametrize(
    "name",
    [
        "/dev/watchdog",
        "../other/.backup_app_2026-01-31_01-00-00.dump.gz.partial",
        "./.backup_app_2026-01-31_01-00-00.dump.gz.partial",
        ".backup_../../app_2026-01-31_01-00-00.dump.gz.partial",
        ".backup_a\0pp_2026-01-31_01-00-00.dump.gz.partial",
        ".lastgood.lock",
        "a\0b",
        "",
    ],
)
def test_a_partial_is_only_what_has_the_name_of_one(name: str) -> None:
    data = to_bytes(Status({APP: GroupStatus(task=Task("one", NOW, partial=name))}))
    assert from_bytes(data).groups[APP].task == Task("one", NOW)
