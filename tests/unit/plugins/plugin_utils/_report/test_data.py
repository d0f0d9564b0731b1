"""What the report says of hosts, their databases and their backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import NEVER, NOT_KNOWN
from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import Report, report_of
from ansible_collections.lastgood.database.tests.support.report import NOW, ago, backup, database, facts, host, registered

FAILURE = {"at": ago(hours=5), "code": "no_space", "msg": "The disk is full. Make room."}


def report(**results: Any) -> Report:
    return report_of(results, NOW)


def state(result: Any) -> tuple[str, str]:
    """Return the state of a single host, and why it has it."""
    [one] = report(db1=result).hosts
    return one.state, one.reason


def test_a_host_is_safe_while_its_last_good_backup_is_young_enough() -> None:
    assert state(host("db1", ago(hours=26))) == ("safe", "")
    late, reason = state(host("db1", ago(hours=26, minutes=60)))
    assert late == "late" and reason.startswith("app: The last good backup was 1d 3h ago, the limit is 1d 2h. ")
    assert state(host("db1", ago(hours=26, seconds=1)))[0] == "late"


def test_an_age_counts_from_the_confirmation() -> None:
    one = backup(ago(days=9), confirmed_at=ago(hours=5))
    made = report(db1=registered(facts([database(one)], [one])))
    assert made.hosts[0].state == "safe"
    assert made.hosts[0].last_good.at == datetime(2026, 2, 1, 1, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize("name", ["verified", "drilled", "uploaded"])
def test_an_age_counts_only_where_it_is_set_and_never_is_too_long_ago(name: str) -> None:
    for at, expected in ((ago(days=6), "safe"), (ago(days=8), "late"), (None, "late")):
        one = backup(ago(hours=5))
        listed = facts([database(one, **{f"{name}_at": at})], [one])
        assert state(registered(listed))[0] == "safe"
        assert state(registered(listed, **{name: "7d"}))[0] == expected


def test_an_age_that_the_facts_do_not_have_is_unknown_and_does_not_make_a_host_late() -> None:
    one = backup(ago(hours=5))
    group = database(one)
    del group["verified_at"], group["sizes"], group["last_run"], group["last_failure"], one["uploaded_at"]
    made = report(db1=registered(facts([group], [one]), verified="7d"))
    assert (made.hosts[0].state, made.databases[0].verified, made.backups[0].uploaded) == ("safe", NOT_KNOWN, NOT_KNOWN)


def test_an_age_that_is_no_duration_makes_the_host_unknown_and_hides_no_other() -> None:
    wrong = registered(facts([database(backup(ago(hours=5)))], [backup(ago(hours=5))]), verified="soon")
    unknown, safe = report(db1=wrong, db2=host("db2")).hosts
    assert (unknown.state, safe.state) == ("unknown", "safe")
    assert unknown.reason.startswith("backup_max_age.verified is 'soon'")


def test_a_host_is_failing_while_its_last_run_is_a_failure_whatever_the_age() -> None:
    assert state(host(last_failure=FAILURE)) == ("failing", "app: no_space: The disk is full. Make room.")
    for outcome in ("failed", "interrupted", "died"):
        assert state(host(last_run={"outcome": outcome}))[0] == "failing"
    for outcome in ("created", "unchanged", "fresh", "running"):
        assert state(host(last_run={"outcome": outcome}))[0] == "safe"


def test_a_database_whose_last_good_backup_is_much_smaller_makes_the_host_failing() -> None:
    assert state(host(sizes=[1000, 1000, 400]))[0] == "failing"
    result = host(sizes=[1000, 1000, 400])
    result["results"][0]["_backup_place"]["shrink_warning"] = 0
    assert state(result)[0] == "safe"


def test_a_run_that_failed_before_any_database_makes_the_host_failing() -> None:
    one = backup(ago(hours=5))
    listed = facts([database(one)], [one], last_run={"outcome": "died"})
    assert state(registered(listed)) == ("failing", "The last run to /var/lib/postgresql/backups died.")


def test_a_database_without_a_good_backup_and_a_directory_without_any_are_failing() -> None:
    failing, reason = state(registered(facts([database()], [])))
    assert failing == "failing" and reason.startswith("app: No good backup exists. ")
    assert state(registered(facts([], []))) == ("failing", "No backup exists in /var/lib/postgresql/backups.")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "Not reached, or failed"),
        ({"unreachable": True, "msg": "No route"}, "Not reached: No route"),
        ({"results": [{"unreachable": True, "msg": "No route"}], "msg": "All items completed"}, "Not reached: No route"),
        ({"failed": True, "msg": "No user postgres"}, "No user postgres"),
        ({"results": []}, "backup_sources"),
        ({"results": [{"ansible_facts": {"database_backups": 1}}]}, "can't be read"),
        ({"results": [1]}, "can't be read"),
        ("text", "can't be read"),
        (registered(facts([database(backup(ago(hours=1)), sizes=["x"])], [])), "can't be read"),
        (registered(facts([], [backup("yesterday")])), "can't be read"),
        (registered(facts([], [backup(ago(hours=1), size_bytes=float("inf"))])), "can't be read"),
        (registered(facts([], [backup(ago(hours=1), size_bytes=10**4000)])), "can't be read"),
        (registered(facts([database(backup(ago(hours=1)), sizes=[10**4000, -1])], [])), "can't be read"),
        (registered(facts([], [backup(ago(hours=1), state="<b>")])), "can't be read"),
    ],
)
def test_a_host_whose_backups_are_not_known_is_unknown_and_says_why(result: Any, words: str) -> None:
    made = report(db1=result, db2=host("db2"))
    unknown, safe = made.hosts
    assert (unknown.name, unknown.state, safe.state) == ("db1", "unknown", "safe")
    assert words in unknown.reason
    assert [one.reason for one in made.databases if one.host == "db1"] == [unknown.reason]


def test_a_host_is_as_safe_as_the_worst_of_its_databases_and_directories() -> None:
    old, new = backup(ago(days=5), "old"), backup(ago(hours=5), "new")
    good = facts([database(new, name="new")], [new])
    late = facts([database(old, name="old")], [old])
    unknown = {"failed": True, "msg": "No such user"}
    for directories, expected in (((good, late), "late"), ((good, good), "safe"), ((late, good), "late")):
        assert state(registered(*directories))[0] == expected
    results = registered(good)["results"] + [unknown]
    assert state({"results": results})[0] == "unknown"
    results = registered(late)["results"] + [unknown]
    assert state({"results": results})[0] == "late"


def test_the_worst_comes_first_and_db2_before_db10() -> None:
    made = report(
        db10=host("db10"), db2=host("db2"), db3=host("db3", ago(days=3)), db4=None, db5=host("db5", last_failure=FAILURE)
    )
    assert [one.name for one in made.hosts] == ["db5", "db3", "db4", "db2", "db10"]
    assert [one.host for one in made.databases] == ["db5", "db3", "db4", "db2", "db10"]
    assert {name: made.count(name) for name in ("failing", "late", "unknown", "safe")} == {
        "failing": 1,
        "late": 1,
        "unknown": 1,
        "safe": 2,
    }


def test_hosts_with_and_without_a_number_are_sorted() -> None:
    made = report(**{name: host(name) for name in ("db2", "db", "2", "db2b", "d")})
    assert [one.host for one in made.databases] == [one.name for one in made.hosts] == ["2", "d", "db", "db2", "db2b"]


@pytest.mark.parametrize("origin", [["db2"], {"db2": 1}, 2, None])
def test_an_origin_that_is_no_name_hides_no_other_host(origin: Any) -> None:
    one = backup(ago(hours=5), origin=origin)
    made = report(db1=registered(facts([database(one, origin=origin)], [one])), db2=host("db2"))
    assert {one.name: one.state for one in made.hosts} == {"db1": "safe", "db2": "safe"}
    assert [one.host for one in made.backups] == ["db1", "db2"]


def test_backups_are_in_the_order_of_their_file_names() -> None:
    files = [backup(ago(days=day), name) for day, name in ((1, "shop"), (2, "app"), (1, "app"), (1, None))]
    names = [one.filename for one in report(db1=registered(facts([database(files[1])], files))).backups]
    assert names == sorted(one["filename"] for one in files)


def test_the_backups_of_a_server_that_was_upgraded_or_renamed_do_not_make_the_host_late() -> None:
    old, new = backup(ago(days=9)), backup(ago(hours=5), instance="7400000000000000000")
    groups = [database(old), database(new, instance="7400000000000000000")]
    made = report(db1=registered(facts(groups, [old, new])))
    assert made.hosts[0].state == "safe"
    assert [one.state for one in made.databases] == ["safe", "replaced"]


def test_another_server_with_a_database_of_the_same_name_replaces_nothing() -> None:
    old, new = backup(ago(days=9)), backup(ago(hours=5), instance="7400000000000000000")
    groups = [database(old), database(new, instance="7400000000000000000", source="/var/run/postgresql:5433")]
    assert state(registered(facts(groups, [old, new])))[0] == "late"


def test_an_upgraded_server_without_a_good_backup_is_failing() -> None:
    old = backup(ago(hours=9))
    groups = [database(old), database(instance="7400000000000000000")]
    assert state(registered(facts(groups, [old])))[0] == "failing"


def test_a_directory_that_hosts_share_shows_each_backup_once_with_the_host_that_it_is_of() -> None:
    one, other = backup(ago(hours=5), origin="db1"), backup(ago(hours=5), "shop", origin="db2")
    shared = registered(facts([database(one), database(other, name="shop", origin="db2")], [one, other]))
    made = report(db1=shared, db2=shared)
    assert [(each.host, each.name) for each in made.databases] == [("db1", "app"), ("db2", "shop")]
    assert [(each.host, each.database) for each in made.backups] == [("db1", "app"), ("db2", "shop")]


def test_the_own_listing_of_a_host_counts_before_a_copy_elsewhere() -> None:
    old, new = backup(ago(days=9)), backup(ago(hours=5))
    made = report(db2=registered(facts([database(old)], [old])), db1=registered(facts([database(new)], [new])))
    assert [(one.host, one.state) for one in made.databases] == [("db1", "safe")]


def test_what_another_host_lists_for_a_host_hides_none_of_its_failures() -> None:
    own, forged = backup(ago(hours=9)), backup(ago(hours=1), instance="7400000000000000000")
    db1 = registered(facts([database(own, last_failure=FAILURE)], [own]))
    hostile = registered(facts([database(forged, instance="7400000000000000000")], [forged]))
    for results in ({"db1": db1, "db2": hostile}, {"db2": hostile, "db1": db1}):
        assert report(**results).hosts[0].reason == "app: no_space: The disk is full. Make room."


def test_a_copy_of_a_replaced_database_does_not_make_its_host_late() -> None:
    old, new = backup(ago(days=9)), backup(ago(hours=5), instance="7400000000000000000")
    copies = registered(facts([database(old)], [old]))
    made = report(db1=registered(facts([database(new, instance="7400000000000000000")], [new])), db2=copies)
    assert [(one.host, one.state) for one in made.databases] == [("db1", "safe"), ("db1", "replaced")]


def test_control_characters_and_long_words_of_others_are_made_harmless() -> None:
    made = report(db1=host(last_failure={"at": "", "code": "x", "msg": "a\u202eb\n" + "c" * 10_000}))
    assert "\u202e" not in made.databases[0].reason
    assert len(made.databases[0].reason) <= 600


def test_the_sizes_of_the_last_thirty_backups_are_kept_and_never_is_not_unknown() -> None:
    one = backup(ago(hours=5))
    made = report(db1=registered(facts([database(one, sizes=list(range(40)))], [one])))
    assert made.databases[0].sizes == tuple(range(10, 40))
    assert made.databases[0].drilled is NEVER


def test_a_run_under_way_is_known_by_its_group() -> None:
    one = backup(ago(hours=5))
    group = database(one)
    running = [{**group, "began_at": ago(minutes=9)}]
    made = report(db1=registered(facts([group], [one], running=running)))
    assert made.databases[0].running_since.at == datetime(2026, 2, 1, 6, 21, tzinfo=timezone.utc)
