"""Which backups stay and which go: each rule in tables, and what holds for all backups under all rules."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import STATES, Group, is_future
from ansible_collections.lastgood.database.plugins.module_utils._metadata.last_good import last_good
from ansible_collections.lastgood.database.plugins.module_utils._retention import Decision, Entry, Rules, Ruling, decide

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
APP = Group("db1", "postgresql", "7300000000000000001", "database", "app")
RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def at(text: str) -> datetime:
    """Return a time in UTC: ``2026-01-31`` or ``2026-01-31 01:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def entry(created_at: datetime, group: Group = APP, **over: Any) -> Entry:
    name = f"backup_{group.database}_{created_at:%Y-%m-%d_%H-%M-%S}.dump.gz"
    fields = {"group": group, "filename": name, "state": "good", "created_at": created_at, "confirmed_at": created_at}
    return Entry(**{**fields, "size_bytes": 1, **over})


def reasons(rulings: list[Ruling]) -> dict[datetime, tuple[str, ...]]:
    return {one.backup.created_at: one.reasons for one in rulings}


def kept(times: list[str], rules: Rules, now: datetime = NOW) -> dict[str, str]:
    """Return what stays of good backups of these times, by the time as it was given: the rules, but for the newest's."""
    decision = decide([entry(at(time)) for time in times], rules, now)
    found = reasons(decision.kept)
    assert len(found) + len(decision.deleted) == len(times)
    return {time: ", ".join(why for why in found[at(time)] if why != "newest") for time in times if at(time) in found}


def names(rulings: list[Ruling]) -> set[str]:
    return {one.backup.filename for one in rulings}


class TestRules:
    """Each for itself. The newest stays by all of them."""

    def test_without_a_rule_nothing_is_decided(self) -> None:
        for nothing in ({}, {"within": timedelta(0)}, {"daily": 0}):
            with pytest.raises(ArgumentInvalid, match="keep_daily"):
                Rules(**nothing)  # type: ignore[arg-type]

    @pytest.mark.parametrize("rule", RULES)
    def test_of_nothing_nothing_is_kept(self, rule: str) -> None:
        assert decide([], Rules(**{rule: 3}), NOW) == Decision()

    @pytest.mark.parametrize("rule", RULES)
    def test_minus_one_is_no_limit(self, rule: str) -> None:
        times = [f"{year}-02-03 {hour}:00" for year in range(2010, 2026) for hour in ("01", "02")]
        found = kept(times, Rules(**{rule: -1}))
        everything = rule in ("last", "hourly")
        # Of the others, the later one of each day; and the oldest of all, since there is always count left.
        expected = times if everything else [times[0], *times[1::2]]
        assert sorted(found) == sorted(expected)
        assert found[times[0]] == (rule if everything else f"oldest {rule}")

    @pytest.mark.parametrize(
        ("rules", "times", "expected"),
        [
            (
                Rules(last=2),
                ["2026-02-01", "2026-02-03", "2026-02-02"],
                {"2026-02-03": "last", "2026-02-02": "last"},
            ),
            (
                Rules(hourly=2),
                ["2026-02-01 01:10", "2026-02-01 02:10", "2026-02-01 02:50", "2026-02-01 05:00"],
                {"2026-02-01 05:00": "hourly", "2026-02-01 02:50": "hourly"},
            ),
            (
                # Days without a backup don't count.
                Rules(daily=3),
                ["2025-02-01", "2025-06-01 01:00", "2025-06-01 02:00", "2026-01-05", "2026-02-01"],
                {"2026-02-01": "daily", "2026-01-05": "daily", "2025-06-01 02:00": "daily"},
            ),
            (
                # 2025-12-29 to 2026-01-04 is one week, the first of 2026; 2024-12-30 begins the first of 2025.
                Rules(weekly=3),
                ["2024-12-29", "2024-12-30", "2025-01-05", "2025-12-28", "2025-12-29", "2026-01-04"],
                {"2026-01-04": "weekly", "2025-12-28": "weekly", "2025-01-05": "weekly"},
            ),
            (
                # 2021-01-01 is of the 53rd week of 2020.
                Rules(weekly=2),
                ["2020-12-27", "2020-12-28", "2021-01-03", "2021-01-04"],
                {"2021-01-04": "weekly", "2021-01-03": "weekly"},
            ),
            (
                Rules(monthly=2),
                ["2025-01-31", "2025-02-01", "2026-01-01", "2026-01-31", "2026-02-01"],
                {"2026-02-01": "monthly", "2026-01-31": "monthly"},
            ),
            (
                Rules(monthly=2),
                ["2024-01-31", "2024-02-28", "2024-02-29", "2024-03-01"],
                {"2024-03-01": "monthly", "2024-02-29": "monthly"},
            ),
            (
                Rules(daily=3),
                ["2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01"],
                {"2024-03-01": "daily", "2024-02-29": "daily", "2024-02-28": "daily"},
            ),
            (
                Rules(yearly=2),
                ["2023-12-31", "2024-02-29", "2024-12-31", "2025-01-01"],
                {"2025-01-01": "yearly", "2024-12-31": "yearly"},
            ),
            (
                # Younger than the newest by less than that, whatever the time is now.
                Rules(within=timedelta(days=7)),
                ["2025-01-01", "2025-01-01 00:01", "2025-01-08"],
                {"2025-01-08": "within", "2025-01-01 00:01": "within"},
            ),
            (
                Rules(last=1, daily=2, yearly=1),
                ["2026-02-01", "2026-02-02 01:00", "2026-02-02 02:00"],
                {"2026-02-02 02:00": "last, daily, yearly", "2026-02-01": "daily"},
            ),
        ],
    )
    def test_a_rule_keeps_the_newest_of_each_period(self, rules: Rules, times: list[str], expected: dict[str, str]) -> None:
        assert kept(times, rules) == expected

    @pytest.mark.parametrize(
        ("count", "times", "expected"),
        [
            (3, ["2026-02-01 01:00", "2026-02-01 02:00", "2026-02-02"], {"2026-02-01 01:00": "oldest daily"}),
            (2, ["2026-02-01 01:00", "2026-02-01 02:00", "2026-02-02"], {}),
            (2, ["2026-02-01 01:00", "2026-02-01 01:30", "2026-02-01 02:00"], {"2026-02-01 01:00": "oldest daily"}),
        ],
    )
    def test_the_oldest_fills_a_count_that_is_left(self, count: int, times: list[str], expected: dict[str, str]) -> None:
        found = kept(times, Rules(daily=count))
        assert {time: why for time, why in found.items() if why != "daily"} == expected

    def test_of_equal_times_the_last_by_name_is_the_newest(self) -> None:
        time = at("2026-02-01")
        backups = [entry(time, filename=f"backup_app_{name}") for name in "bca"]
        decision = decide(backups, Rules(last=1), NOW)
        assert names(decision.kept) == {"backup_app_c"}
        assert [one.backup.filename for one in decision.deleted] == ["backup_app_a", "backup_app_b"]

    def test_what_goes_goes_oldest_first(self) -> None:
        times = [at(f"2026-02-{day:02}") for day in (4, 2, 9, 3)]
        deleted = decide([entry(time) for time in times], Rules(last=1), NOW).deleted
        assert [one.backup.created_at.day for one in deleted] == [2, 3, 4]
        assert {one.reasons for one in deleted} == {("no rule keeps it",)}

    def test_the_newest_says_that_it_is(self) -> None:
        [only] = decide([entry(NOW)], Rules(last=1), NOW).kept
        assert only.reasons == ("newest", "last")


class TestTimeZones:
    """Periods are those of the zone that is named."""

    def test_a_day_begins_where_the_zone_says(self) -> None:
        times = ["2026-01-10 22:30", "2026-01-10 23:30", "2026-01-11 22:30"]
        assert set(kept(times, Rules(daily=1))) == {times[2]}
        assert set(kept(times, Rules(daily=2))) == {times[1], times[2]}
        berlin = Rules(daily=2, timezone=ZoneInfo("Europe/Berlin"))
        # There, the last two are of one day; the first is the newest of the day before.
        assert set(kept(times, berlin)) == {times[0], times[2]}

    def test_the_hour_that_a_clock_shows_twice_is_two_hours(self) -> None:
        # Berlin, 2025-10-26: 00:30 UTC is 02:30 in summer time, 01:30 UTC is 02:30 in winter time.
        times = ["2025-10-25 23:30", "2025-10-26 00:30", "2025-10-26 01:30"]
        assert len(kept(times, Rules(hourly=3, timezone=ZoneInfo("Europe/Berlin")))) == 3
        assert set(kept(times, Rules(hourly=2, timezone=ZoneInfo("Europe/Berlin")))) == {times[1], times[2]}

    def test_the_hour_that_is_left_out_does_not_count(self) -> None:
        # Berlin, 2025-03-30: from 01:59 to 03:00.
        times = ["2025-03-29 23:30", "2025-03-30 00:30", "2025-03-30 01:30"]
        assert len(kept(times, Rules(hourly=3, timezone=ZoneInfo("Europe/Berlin")))) == 3

    @pytest.mark.parametrize(("day", "hours"), [("2025-03-30", 23), ("2025-10-26", 25), ("2025-07-01", 24)])
    def test_a_day_has_its_hours_however_many(self, day: str, hours: int) -> None:
        zone = ZoneInfo("Europe/Berlin")
        midnight = datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(timezone.utc)
        backups = [entry(midnight + timedelta(hours=hour)) for hour in range(hours + 1)]
        assert len(decide(backups, Rules(hourly=-1, timezone=zone), NOW).kept) == hours + 1
        # Of that day the last hour, and the first one of the next.
        decision = decide(backups, Rules(daily=2, timezone=zone), NOW)
        assert {one.backup.filename for one in decision.kept} == {one.filename for one in backups[-2:]}

    @pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati"])
    def test_the_ends_of_the_calendar_are_no_error(self, zone: str) -> None:
        first = datetime.min.replace(tzinfo=timezone.utc)
        last = datetime.max.replace(microsecond=0, tzinfo=timezone.utc)
        rules = Rules(hourly=1, weekly=1, yearly=1, timezone=ZoneInfo(zone))
        far = timedelta(weeks=999_999)
        for time in (first, last):
            assert len(decide([entry(time, filename="x")], rules, last - timedelta(hours=1)).kept) == 1
            assert len(decide([entry(time, filename="x")], Rules(within=far), last - timedelta(hours=1)).kept) == 1


class TestWhatNoRuleIsAbout:
    """It is passed over, with the reason."""

    def test_a_backup_from_the_future_is_no_anchor_and_not_the_newest(self) -> None:
        future = entry(NOW + timedelta(days=4000))
        near = entry(NOW + timedelta(minutes=59))
        old = [entry(NOW - timedelta(days=day)) for day in (1, 2, 30)]
        decision = decide([future, *old], Rules(within=timedelta(days=7)), NOW)
        assert names(decision.passed_over) == {future.filename}
        assert "future" in decision.passed_over[0].reasons[0]
        assert names(decision.kept) == {old[0].filename, old[1].filename}
        assert decision.last_good[APP] == old[0]
        assert decide([near, *old], Rules(last=1), NOW).last_good[APP] == near

    @pytest.mark.parametrize("state", ["unverified", "suspect"])
    def test_what_is_not_known_to_be_bad_stays_however_old(self, state: str) -> None:
        backups = [entry(NOW), entry(NOW - timedelta(days=900), state=state)]
        decision = decide(backups, Rules(last=1), NOW)
        assert (names(decision.passed_over), decision.deleted) == ({backups[1].filename}, [])
        assert state in decision.passed_over[0].reasons[0]

    @pytest.mark.parametrize(
        ("corrupt_days", "good_days", "goes"),
        [(2, 1, True), (2, 3, False), (2, None, False), (0.9, 0.1, False), (1, 0.1, False), (1.1, 0.1, True)],
    )
    def test_a_corrupt_one_goes_when_it_is_a_day_old_and_a_newer_good_one_is_there(
        self, corrupt_days: float, good_days: float | None, goes: bool
    ) -> None:
        corrupt = entry(NOW - timedelta(days=corrupt_days), state="corrupt")
        good = [] if good_days is None else [entry(NOW - timedelta(days=good_days))]
        decision = decide([corrupt, *good], Rules(last=5), NOW)
        assert names(decision.deleted) == ({corrupt.filename} if goes else set())
        assert names(decision.passed_over) == (set() if goes else {corrupt.filename})
        assert names(decision.kept) == {one.filename for one in good}

    def test_what_is_not_good_never_counts(self) -> None:
        bad = [entry(NOW - timedelta(hours=hour), state=state) for hour, state in enumerate(STATES) if state != "good"]
        good = [entry(NOW - timedelta(days=day)) for day in (5, 6)]
        assert names(decide([*bad, *good], Rules(last=2), NOW).kept) == {one.filename for one in good}

    def suspects(self, count: int, **over: Any) -> list[Entry]:
        """Return suspect backups of as many days, the newest first."""
        fields = {"state": "suspect", "cause": "a type does not exist", **over}
        return [entry(NOW - timedelta(days=day), **fields) for day in range(count)]

    def test_where_a_cause_repeats_the_rules_decide_on_the_suspect_ones(self) -> None:
        """So it is with a database whose dump can't be restored, when each night verifies: otherwise none would ever go."""
        suspects = self.suspects(20)
        good = [entry(NOW - timedelta(days=day)) for day in (30, 31)]
        decision = decide([*suspects, *good], Rules(last=5), NOW)
        assert names(decision.deleted) == {one.filename for one in suspects[5:]}
        assert names(decision.kept) == {one.filename for one in good}
        assert decision.last_good[APP] == good[0]
        assert decision.newest_suspect[APP] == suspects[0]

    def test_of_suspect_ones_three_stay_whatever_the_rules_say(self) -> None:
        assert decide(self.suspects(3), Rules(last=1), NOW).deleted == []
        assert len(decide(self.suspects(4), Rules(last=1), NOW).deleted) == 1

    def test_those_that_failed_for_another_reason_stay(self) -> None:
        suspects, other = self.suspects(8), entry(NOW - timedelta(days=9), state="suspect", cause="another")
        assert other.filename not in names(decide([*suspects, other], Rules(last=1), NOW).deleted)
        newest = entry(NOW + timedelta(minutes=1), state="suspect", cause="another")
        assert decide([newest, *suspects], Rules(last=1), NOW).deleted == []

    def test_suspect_ones_that_are_older_than_a_good_one_stay(self) -> None:
        good = entry(NOW + timedelta(minutes=1))
        assert decide([good, *self.suspects(9)], Rules(last=1), NOW).deleted == []

    def test_suspect_ones_of_a_group_that_was_left_behind_or_is_not_selected_stay(self) -> None:
        old = [one._replace(created_at=one.created_at - timedelta(days=40)) for one in self.suspects(9)]
        old = [one._replace(confirmed_at=one.created_at) for one in old]
        other = entry(NOW, APP._replace(database="other"))
        assert decide([other, *old], Rules(last=1), NOW).deleted == []
        assert decide(self.suspects(9), Rules(last=1), NOW, {other.group}).deleted == []

    def test_a_group_that_was_left_behind_stays_as_it_is(self) -> None:
        left = APP._replace(instance="before the upgrade")
        behind = [entry(NOW - timedelta(days=day), left) for day in (31, 32)]
        decision = decide([entry(NOW), *behind], Rules(last=1), NOW)
        assert (names(decision.passed_over), decision.deleted) == ({one.filename for one in behind}, [])
        assert "since 2026-01-29 12:00:00" in decision.passed_over[0].reasons[0]

    @pytest.mark.parametrize("confirmed_days", [30, 0])
    def test_a_group_that_was_confirmed_lately_is_not_left_behind(self, confirmed_days: int) -> None:
        group = APP._replace(database="quiet")
        backups = [entry(NOW - timedelta(days=day), group) for day in (100, 101)]
        backups[0] = backups[0]._replace(confirmed_at=NOW - timedelta(days=confirmed_days))
        decision = decide([entry(NOW), *backups], Rules(last=1), NOW)
        assert names(decision.deleted) == {backups[1].filename}

    def test_a_confirmation_of_one_that_is_deleted_does_not_count(self) -> None:
        """Else the next run would delete of another group what this one left."""
        other = [entry(NOW - timedelta(days=day), APP._replace(database="other")) for day in (40, 41)]
        mine = [entry(NOW - timedelta(days=30)), entry(NOW - timedelta(days=50), confirmed_at=NOW)]
        decision = decide([*mine, *other], Rules(last=1), NOW)
        left = [one for one in (*mine, *other) if one.filename not in names(decision.deleted)]
        assert decide(left, Rules(last=1), NOW).deleted == []

    def test_where_nothing_is_newer_nothing_is_left_behind(self) -> None:
        backups = [entry(NOW - timedelta(days=day)) for day in (400, 401)]
        assert len(decide(backups, Rules(last=1), NOW).deleted) == 1

    def test_a_confirmation_from_the_future_does_not_count(self) -> None:
        future = NOW + timedelta(days=400)
        backups = [entry(NOW, confirmed_at=future), entry(NOW - timedelta(days=1), APP._replace(database="other"))]
        assert decide(backups, Rules(last=1), NOW).passed_over == []


class TestPinned:
    """A pinned backup stays, and the others are decided on without it."""

    @pytest.mark.parametrize("state", STATES)
    def test_it_stays_whatever_its_state_and_its_age(self, state: str) -> None:
        pinned = entry(NOW - timedelta(days=900), state=state, pinned=True)
        backups = [entry(NOW - timedelta(days=day)) for day in range(3)]
        decision = decide([pinned, *backups], Rules(last=1), NOW)
        assert reasons(decision.passed_over) == {pinned.created_at: ("it is pinned",)}
        assert names(decision.deleted) == {one.filename for one in backups[1:]}

    def test_it_uses_up_no_count(self) -> None:
        pinned = entry(NOW, pinned=True)
        backups = [entry(NOW - timedelta(days=day)) for day in range(1, 4)]
        decision = decide([pinned, *backups], Rules(last=2), NOW)
        assert names(decision.kept) == {one.filename for one in backups[:2]}
        assert decision.kept[-1].reasons == ("newest", "last")

    def test_it_is_the_last_good_one_where_it_is_the_newest(self) -> None:
        pinned, older = entry(NOW, pinned=True), entry(NOW - timedelta(days=1))
        assert decide([pinned, older], Rules(last=1), NOW).last_good == {APP: pinned}
        newer = entry(NOW + timedelta(minutes=1))
        assert decide([pinned, newer], Rules(last=1), NOW).last_good == {APP: newer}
        assert decide([pinned], Rules(last=1), NOW).last_good == {APP: pinned}

    def test_one_that_is_not_good_or_from_the_future_is_not_the_last_good_one(self) -> None:
        older = entry(NOW - timedelta(days=1))
        for pinned in (entry(NOW, state="corrupt", pinned=True), entry(NOW + timedelta(days=9), pinned=True)):
            assert decide([pinned, older], Rules(last=1), NOW).last_good == {APP: older}

    def test_it_keeps_no_group_from_being_left_behind_and_makes_none_so(self) -> None:
        other = APP._replace(database="other")
        behind = [entry(NOW - timedelta(days=day), other) for day in (31, 32)]
        assert len(decide([entry(NOW, pinned=True), *behind], Rules(last=1), NOW).deleted) == 1
        assert decide([entry(NOW), entry(NOW, other, pinned=True), *behind], Rules(last=1), NOW).deleted == []

    def test_suspect_ones_do_not_count_it_among_those_that_repeat(self) -> None:
        suspects = [entry(NOW - timedelta(days=day), state="suspect", cause="a type") for day in range(4)]
        assert len(decide(suspects, Rules(last=1), NOW).deleted) == 1
        pinned = suspects[0]._replace(pinned=True)
        assert decide([pinned, *suspects[1:]], Rules(last=1), NOW).deleted == []


GROUPS = [APP, APP._replace(origin="db2"), APP._replace(database="app_prod"), APP._replace(kind="globals", database=None)]
ZONES = [timezone.utc, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")]
counts = st.integers(-1, 5)
some_rules = st.builds(
    dict,
    **{rule: counts for rule in RULES},
    within=st.none() | st.timedeltas(timedelta(0), timedelta(days=500)),
    timezone=st.sampled_from(ZONES),
).filter(lambda rules: any(rules[rule] for rule in (*RULES, "within")))


@st.composite
def stores(draw: st.DrawFn) -> list[Entry]:
    """Backups over three years, some of one hour or second, some from the future."""
    hours = draw(st.lists(st.integers(-24, 3 * 366 * 24), max_size=25))
    return [
        entry(
            NOW - timedelta(hours=hour, minutes=draw(st.sampled_from([0, 0, 20]))),
            draw(st.sampled_from(GROUPS)),
            filename=f"backup_{number}",
            state=draw(st.sampled_from(["good", "good", "good", *STATES])),
            pinned=draw(st.sampled_from([False, False, False, True])),
        )
        for number, hour in enumerate(hours)
    ]


class TestAlways:
    """What holds for all backups under all rules."""

    @given(stores(), some_rules)
    def test_each_backup_is_decided_on_once(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        decision = decide(backups, Rules(**rules), NOW)
        decided = [one.backup for one in (*decision.kept, *decision.deleted, *decision.passed_over)]
        assert sorted(decided, key=str) == sorted(backups, key=str)
        assert all(one.reasons for one in (*decision.kept, *decision.deleted, *decision.passed_over))

    @given(stores(), some_rules)
    def test_the_newest_good_one_stays(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        deleted = names(decide(backups, Rules(**rules), NOW).deleted)
        for group in GROUPS:
            good = [one for one in backups if one.group == group and one.state == "good" and not is_future(one.created_at, NOW)]
            newest = max(good, key=lambda one: (one.created_at, one.filename), default=None)
            assert newest is None or newest.filename not in deleted

    @given(stores(), some_rules)
    def test_a_pinned_one_stays(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        decision = decide(backups, Rules(**rules), NOW)
        assert names(decision.passed_over) >= {one.filename for one in backups if one.pinned}

    @given(stores(), some_rules)
    def test_the_others_are_decided_on_as_if_the_pinned_did_not_exist(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        together = decide(backups, Rules(**rules), NOW)
        without = decide([one for one in backups if not one.pinned], Rules(**rules), NOW)
        assert (together.kept, together.deleted) == (without.kept, without.deleted)
        assert [one for one in together.passed_over if not one.backup.pinned] == without.passed_over

    @given(stores(), some_rules)
    def test_the_last_good_one_of_what_is_decided_on_counts_the_pinned(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        decision = decide(backups, Rules(**rules), NOW)
        for group in {one.backup.group for one in decision.deleted if one.backup.state == "good"}:
            assert decision.last_good[group] == last_good([one for one in backups if one.group == group], NOW)

    @given(stores(), some_rules, st.data())
    def test_pins_that_come_and_go_lose_no_last_good_one(
        self, backups: list[Entry], rules: dict[str, Any], data: st.DataObject
    ) -> None:
        """However pins come and go between two runs, each group still has its last good backup."""
        left = backups
        for _run in range(3):
            left = [one._replace(pinned=data.draw(st.booleans())) for one in left]
            deleted = names(decide(left, Rules(**rules), NOW).deleted)
            left = [one for one in left if one.filename not in deleted]
        for group in GROUPS:
            before, after = (last_good([one for one in some if one.group == group], NOW) for some in (backups, left))
            assert (before and before.filename) == (after and after.filename)

    @given(stores(), some_rules, some_rules)
    def test_a_further_rule_never_deletes_more(self, backups: list[Entry], rules: dict[str, Any], more: dict[str, Any]) -> None:
        further = {**more, **{name: value for name, value in rules.items() if value}}
        before, after = decide(backups, Rules(**rules), NOW), decide(backups, Rules(**further), NOW)
        assert names(after.deleted) <= names(before.deleted)

    @given(stores(), some_rules)
    def test_a_second_time_nothing_more_goes(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        deleted = names(decide(backups, Rules(**rules), NOW).deleted)
        left = [one for one in backups if one.filename not in deleted]
        assert decide(left, Rules(**rules), NOW).deleted == []

    @given(stores(), some_rules)
    def test_groups_never_influence_each_other(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        together = decide(backups, Rules(**rules), NOW)
        left_behind = {one.backup.group for one in together.passed_over if "no run" in one.reasons[0]}
        for group in set(GROUPS) - left_behind:
            alone = decide([one for one in backups if one.group == group], Rules(**rules), NOW)
            assert names(alone.deleted) == {one.backup.filename for one in together.deleted if one.backup.group == group}

    @given(stores(), some_rules)
    def test_what_is_not_good_never_goes_while_nothing_good_is_there(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        bad = [one for one in backups if one.state != "good"]
        assert {one.backup.state for one in decide(bad, Rules(**rules), NOW).deleted} <= {"suspect"}

    @given(stores(), some_rules)
    def test_a_suspect_one_goes_only_where_three_newer_ones_of_its_cause_stay(
        self, backups: list[Entry], rules: dict[str, Any]
    ) -> None:
        decision = decide(backups, Rules(**rules), NOW)
        deleted = names(decision.deleted)
        for one in (ruling.backup for ruling in decision.deleted if ruling.backup.state == "suspect"):
            newer = [
                other
                for other in backups
                if (other.group, other.state, other.cause) == (one.group, "suspect", one.cause)
                and (other.created_at, other.filename) > (one.created_at, one.filename)
                and not is_future(other.created_at, NOW)
            ]
            assert len([other for other in newer if other.filename not in deleted]) >= 3
            good = [other for other in backups if other.group == one.group and other.state == "good" and not other.pinned]
            assert not any(other.created_at > one.created_at and not is_future(other.created_at, NOW) for other in good)

    @given(stores(), some_rules)
    def test_what_is_not_good_never_counts(self, backups: list[Entry], rules: dict[str, Any]) -> None:
        good = [one for one in backups if one.state == "good"]
        with_bad, without = decide(backups, Rules(**rules), NOW), decide(good, Rules(**rules), NOW)
        same = {one.group for one in good} - {one.backup.group for one in with_bad.passed_over if "no run" in one.reasons[0]}
        same -= {one.backup.group for one in without.passed_over if "no run" in one.reasons[0]}
        assert {one for one in with_bad.kept if one.backup.group in same} == {
            one for one in without.kept if one.backup.group in same
        }


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 20), st.integers(1, 14), st.integers(1, 8), st.integers(1, 14), st.integers(1, 3), st.sampled_from(ZONES))
def test_three_years_of_daily_pruning_end_with_what_the_rules_promise(
    last: int, daily: int, weekly: int, monthly: int, yearly: int, zone: Any
) -> None:
    rules = Rules(last=last, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly, timezone=zone)
    there: list[Entry] = []
    night = at("2023-01-01 03:00")
    while night < at("2026-01-01 03:00"):
        there.append(entry(night))
        deleted = names(decide(there, rules, night).deleted)
        there = [one for one in there if one.filename not in deleted]
        night += timedelta(days=1)
    counted = collections.Counter(why for one in decide(there, rules, night).kept for why in one.reasons)
    promised = {"last": last, "daily": daily, "weekly": weekly, "monthly": monthly, "yearly": yearly, "newest": 1}
    assert {rule: counted[rule] for rule in promised} == promised
