"""The definition of the last good backup: what holds for all backups in any order, and that everybody uses it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import STATES, Backup, Group, State
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import (
    age_order,
    candidates,
    is_candidate,
    last_good,
    last_good_of_each,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import parse
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection, newest_of_each
from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import InventoryRequest, inventory
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune import PruneRequest, prune
from ansible_collections.lastgood.database.plugins.module_utils._retention import Entry, Rules, decide
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.contexts import context_at

APP = Group("db1", "postgresql", "7300000000000000001", "database", "app")
GROUPS = [APP, APP._replace(origin="db2"), APP._replace(database="app_prod"), APP._replace(partial=("-n", "a"))]


class Sample(NamedTuple):
    """As much of a backup as the definition needs."""

    filename: str
    created_at: datetime
    state: State = "good"
    group: Group = APP


# Few times, so that many backups share one; the tolerance ends between the last two.
HOURS_AHEAD = [-9000, -48, -24, -1, 0, 1, 1 + 1 / 3600, 9000]
times = st.sampled_from([NOW + timedelta(hours=hours) for hours in HOURS_AHEAD])
states = st.sampled_from(["good", "good", *STATES])
samples = st.builds(Sample, st.from_regex(r"backup_[a-z]{1,3}", fullmatch=True), times, states, st.sampled_from(GROUPS))
some = st.lists(samples, max_size=12, unique_by=lambda one: one.filename)
of_one_group = some.map(lambda backups: [backup._replace(group=APP) for backup in backups])


class TestDefinition:
    """Good, not from the future, the newest."""

    def test_without_a_backup_there_is_none(self) -> None:
        assert last_good([], NOW) is None

    @pytest.mark.parametrize("state", STATES)
    def test_only_a_good_backup_counts(self, state: State) -> None:
        backup = Sample("backup_a", ago(days=1), state)
        assert last_good([backup], NOW) == (backup if state == "good" else None)

    def test_a_backup_counts_up_to_an_hour_ahead_of_the_clock(self) -> None:
        near, far = (Sample("backup_a", NOW + timedelta(hours=1, seconds=late)) for late in (0, 1))
        assert last_good([near], NOW) == near
        assert last_good([far], NOW) is None
        assert last_good([far], NOW + timedelta(seconds=1)) == far

    def test_the_newest_by_time_counts_whatever_its_name(self) -> None:
        newer, older = Sample("backup_a", ago(days=1)), Sample("backup_z", ago(days=2))
        assert last_good([older, newer], NOW) == newer

    def test_among_backups_of_one_time_the_last_by_name_counts(self) -> None:
        first, last = Sample("backup_a", ago(days=1)), Sample("backup_b", ago(days=1))
        assert last_good([last, first], NOW) == last


class TestAlways:
    """What holds for all backups of a group."""

    @given(of_one_group)
    def test_it_is_a_candidate_and_no_candidate_is_newer(self, backups: list[Sample]) -> None:
        found = last_good(backups, NOW)
        if found is None:
            assert not any(is_candidate(backup, NOW) for backup in backups)
        else:
            assert found in backups
            assert (found.state, found.created_at <= NOW + timedelta(hours=1)) == ("good", True)
            assert not any(age_order(backup) > age_order(found) for backup in backups if is_candidate(backup, NOW))

    @given(of_one_group.flatmap(lambda backups: st.tuples(st.just(backups), st.permutations(backups))))
    def test_the_order_of_the_backups_does_not_matter(self, both: tuple[list[Sample], list[Sample]]) -> None:
        backups, shuffled = both
        assert last_good(backups, NOW) == last_good(shuffled, NOW)
        assert candidates(backups, NOW) == candidates(shuffled, NOW)

    @given(of_one_group)
    def test_it_is_the_first_of_the_candidates(self, backups: list[Sample]) -> None:
        assert last_good(backups, NOW) == next(iter(candidates(backups, NOW)), None)

    @given(of_one_group, states, times)
    def test_a_backup_that_is_not_good_or_from_the_future_or_older_changes_nothing(
        self, backups: list[Sample], state: State, time: datetime
    ) -> None:
        found, added = last_good(backups, NOW), Sample("backup_", time, state)  # its name comes before all others
        is_newer = found is None or time > found.created_at
        counts = state == "good" and time <= NOW + timedelta(hours=1) and is_newer
        assert last_good([*backups, added], NOW) == (added if counts else found)
        assert last_good([added, *backups], NOW) == (added if counts else found)

    @given(of_one_group)
    def test_to_delete_any_other_backup_changes_nothing(self, backups: list[Sample]) -> None:
        found = last_good(backups, NOW)
        for other in backups:
            if other != found:
                assert last_good([backup for backup in backups if backup != other], NOW) == found

    @given(of_one_group)
    def test_to_lose_it_makes_the_next_candidate_the_last_good_one(self, backups: list[Sample]) -> None:
        found = last_good(backups, NOW)
        left = [backup for backup in backups if backup != found]
        assert last_good(left, NOW) == next(iter(candidates(backups, NOW)[1:]), None)

    @given(some)
    def test_each_group_has_its_own_whatever_the_others_have(self, backups: list[Sample]) -> None:
        found = last_good_of_each(backups, NOW)
        for group in GROUPS:
            assert found.get(group) == last_good([backup for backup in backups if backup.group == group], NOW)


def by_catalog(store: LocalStore) -> dict[Group, str]:
    found = Catalog(store).newest_good({backup.group for backup in Catalog(store).select(EVERYTHING)}, NOW)
    return {group: backup.filename for group, backup in found.items()}


def by_inventory(store: LocalStore) -> dict[Group, str]:
    return of_facts(inventory(InventoryRequest(store), context_at(NOW)))


def by_inventory_of_names(store: LocalStore) -> dict[Group, str]:
    """Ask for backups by name: the facts about a group count its other backups as well."""
    return of_facts(inventory(InventoryRequest(store, Selection(names=tuple(store.names()))), context_at(NOW)))


def of_facts(outcome: Outcome) -> dict[Group, str]:
    facts = outcome.values["ansible_facts"]["database_backups"]
    return {
        Group(*(one[key] for key in Group._fields[:-1]), tuple(one["partial_arguments"])): one["newest_good"]
        for one in facts["databases"]
        if one["newest_good"] is not None
    }


def by_retention(store: LocalStore) -> dict[Group, str]:
    decision = decide(map(Entry.of, Catalog(store).select(EVERYTHING)), Rules(last=1), NOW)
    return {group: backup.filename for group, backup in decision.last_good.items()}


def by_selection(store: LocalStore) -> dict[Group, str]:
    good = [backup for backup in Catalog(store).select(EVERYTHING) if backup.state == "good"]
    return {backup.group: backup.filename for backup in newest_of_each(good, 1, NOW)}


# A group that has nothing within 30 days of the newest backup of all is not decided on: these are younger.
ages = st.sampled_from([ago(hours=hours) for hours in (600, 48, 24, 1, 0, -1, -2, -9000)])
pins = st.sampled_from([False, False, True])
made = st.lists(st.tuples(ages, st.sampled_from(["app", "app_prod"]), states, pins), max_size=8, unique_by=lambda one: one[:2])


@pytest.mark.parametrize("answer", [by_catalog, by_inventory, by_inventory_of_names, by_retention, by_selection])
@settings(max_examples=25, deadline=None)
@given(backups=made)
def test_everybody_gives_the_same_answer(
    answer: Callable[[LocalStore], dict[Group, str]], backups: list[tuple[datetime, str, State, bool]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for created_at, database, state, pinned in backups:
            put(Path(folder), created_at, database, state, pinned)
        store = LocalStore(folder)
        found: dict[Group, Backup] = last_good_of_each(Catalog(store).select(EVERYTHING), NOW)
        assert answer(store) == {group: backup.filename for group, backup in found.items()}
        store.close()


@settings(max_examples=25, deadline=None)
@given(backups=made)
def test_a_prune_never_deletes_it_nor_a_pinned_one(backups: list[tuple[datetime, str, State, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(LocalStore(folder)) as store:
        for created_at, database, state, pinned in backups:
            put(Path(folder), created_at, database, state, pinned)
        before = list(Catalog(store).select(EVERYTHING))
        prune(PruneRequest(store, Rules(last=1)), context_at(NOW))
        after = list(Catalog(store).select(EVERYTHING))
        assert last_good_of_each(after, NOW) == last_good_of_each(before, NOW)
        assert [one for one in after if one.pinned] == [one for one in before if one.pinned]


def put(folder: Path, created_at: datetime, database: str, state: State, pinned: bool) -> None:
    """Make a backup of that state."""
    if state == "unverified":
        name = f"backup_{database}_{created_at:%Y-%m-%d_%H-%M-%S}.dump.gz"
        assert parse(name) is not None
        put_payload(folder, name)
        return
    failed = Verification("structure", "failed", NOW, "") if state == "suspect" else None
    name = put_backup(folder, created_at, database=database, verification=failed, pinned=pinned)
    if state == "corrupt":
        (folder / name).write_bytes(PAYLOAD[:-1])
