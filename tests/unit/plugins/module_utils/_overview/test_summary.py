"""The tables of the role: words, columns and notes."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._overview.summary import (
    BACKED_UP,
    CHECKED,
    RESTORED,
    VERIFIED,
    age_in_words,
    lines_of,
    size_in_words,
)


def verified(**over: Any) -> dict[str, Any]:
    one = {"database": "app", "kind": "database", "source": "/run/postgresql:5432", "level": "restore", "verdict": "passed"}
    one |= {"tables": 3, "rows": 1000, "seconds": 1.5, "filename": "backup_app", "detail": "all came back", **over}
    return {"backup_verified": {"results": [{"verified": [one]}]}}


def backed_up(*records: dict[str, Any], **uploaded: Any) -> dict[str, Any]:
    usual = {"kind": "database", "database": "app", "outcome": "created", "size_bytes": 2048, "age_seconds": 0, "filename": "a"}
    run = {"title": "postgresql in /b", "dumped": {"backups": [{**usual, **one} for one in records]}, "uploaded": uploaded}
    return {"backup_sources": [{}], "backup_runs": [run]}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (59, "just now"), (60, "1 minute"), (7199, "1 hour"), (7200, "2 hours"), (3 * 86400, "3 days")],
)
def test_an_age_is_its_largest_unit(seconds: int, words: str) -> None:
    assert age_in_words(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB"), (3 * 1024**4, "3.0 TiB")])
def test_a_size_has_the_unit_that_fits(size: int, words: str) -> None:
    assert size_in_words(size) == words


def test_columns_are_as_wide_as_their_widest_word_and_numbers_end_below_each_other() -> None:
    assert lines_of(BACKED_UP, {"db1": backed_up({}, {"database": "warehouse", "size_bytes": 10})}) == [
        "host  database   outcome     size  age",
        "db1   app        created  2.0 KiB  just now",
        "db1   warehouse  created     10 B  just now",
    ]


def test_the_verdicts_have_the_source_and_words_of_several_lines_are_shown_in_one() -> None:
    assert lines_of(VERIFIED, {"db1": verified(verdict="failed", tables=None, rows=None, detail="first\n\tsecond  third")}) == [
        "host  database  source                level    verdict  tables  rows  seconds  backup",
        "db1   app       /run/postgresql:5432  restore  failed                     1.5  backup_app",
        "        first second third",
    ]


def test_a_partial_backup_is_called_so() -> None:
    assert "app (partial)  " in lines_of(VERIFIED, {"db1": verified(partial=True)})[1]
    assert "app (partial)  " in lines_of(BACKED_UP, {"db1": backed_up({"partial": True})})[1]


def test_long_words_are_cut() -> None:
    [*_others, note] = lines_of(VERIFIED, {"db1": verified(verdict="failed", detail="x" * 1000)})
    assert len(note) < 200 and note.endswith("…")


def test_a_long_name_of_one_host_does_not_widen_the_table_of_all() -> None:
    name = "n" * 5000
    hosts = {"db1": {**backed_up({"database": name, "partial": True}), **verified(database=name, source=name, filename=name)}}
    hosts |= {"db2": {**backed_up({}), **verified()}, name: {}}
    for table, widest in ((BACKED_UP, 300), (VERIFIED, 600)):
        assert all(len(line) < widest for line in lines_of(table, hosts))
    assert "nnn…nnn" in lines_of(BACKED_UP, hosts)[1] and "nnn (partial)  " in lines_of(BACKED_UP, hosts)[1]


def test_the_longest_names_of_postgresql_and_of_a_backup_are_shown_whole() -> None:
    name, filename = "n" * 63, "f" * 255
    assert f"  {name} (partial)  " in lines_of(BACKED_UP, {"db1": backed_up({"database": name, "partial": True})})[1]
    assert lines_of(VERIFIED, {"db1": verified(filename=filename)})[1].endswith(f"  {filename}")


def test_what_was_sent_is_shown_where_there_is_a_server() -> None:
    records = ({"database": "a", "filename": "a"}, {"database": "b", "filename": "b"}, {"database": "c", "filename": "c"})
    lines = lines_of(
        BACKED_UP, {"db1": backed_up(*records, uploaded=["a", "c"], up_to_date=["b"], failed_uploads=[{"filename": "c"}])}
    )
    assert [line.split()[-1] for line in lines] == ["sent", "yes", "yes", "no"]


def facts_of_last_good(**over: Any) -> dict[str, Any]:
    """Return the facts about one database whose last good backup is two days old."""
    one = {"database": "app", "kind": "database", "newest_good": "old", "age_seconds": 2 * 86400, **over}
    files = [{"filename": "older", "size_bytes": 1}, {"filename": "old", "size_bytes": 3072}]
    return {"results": [{"ansible_facts": {"database_backups": {"databases": [one], "files": files}}}]}


@pytest.mark.parametrize(("up_to_date", "sent"), [(["old"], "yes"), (["older"], "no")])
def test_a_database_that_failed_has_the_size_and_age_of_its_last_good_backup_and_whether_that_is_on_the_server(
    up_to_date: list[str], sent: str
) -> None:
    failed = backed_up({"outcome": "failed", "filename": None, "size_bytes": None}, uploaded=[], up_to_date=up_to_date)
    assert lines_of(BACKED_UP, {"db1": {**failed, "backup_inventory": facts_of_last_good()}}) == [
        "host  database  outcome     size  age     sent",
        f"db1   app       failed   3.0 KiB  2 days  {sent}",
    ]


def test_a_database_that_failed_and_has_no_good_backup_is_shown_without_one() -> None:
    failed = backed_up({"outcome": "failed", "filename": None}, uploaded=[], up_to_date=["old"])
    facts = facts_of_last_good(newest_good=None, age_seconds=None)
    [_header, line] = lines_of(BACKED_UP, {"db1": {**failed, "backup_inventory": facts}})
    assert line.split() == ["db1", "app", "failed", "NONE", "no"]


def test_a_host_that_was_lost_between_two_sources_has_a_line_that_says_so() -> None:
    lines = lines_of(BACKED_UP, {"db1": {**backed_up({}), "backup_sources": [{}, {}]}})
    assert lines[-1] == "db1   unreachable, or failed before the backup"


@pytest.mark.parametrize(
    "broken",
    [
        {"backup_sources": [{}], "backup_runs": [{"title": "a", "dumped": {"backups": "text"}}]},
        {"backup_sources": [{}], "backup_runs": [{"title": "a", "dumped": {"backups": [{"outcome": "later"}]}}]},
        backed_up({"size_bytes": "2048"}),
    ],
)
def test_a_host_whose_results_are_no_results_spoils_no_other_host_s_lines(broken: dict[str, Any]) -> None:
    lines = lines_of(BACKED_UP, {"db1": broken, "db2": backed_up({})}, check_mode=True)
    assert lines[1] == "db1   its results can't be read"
    assert lines[2].startswith("db2   app ")


def test_no_control_character_reaches_the_controllers_terminal() -> None:
    evil = "a\x1b[2K\u202e\x9b"
    lost = {"backup_verified": {"results": [{"msg": evil, "failed": True}]}}
    shown = "".join(lines_of(VERIFIED, {"db1": verified(database=evil, detail=evil, verdict="failed"), "db2": lost}))
    assert not {"\x1b", "\u202e", "\x9b"} & set(shown)
    assert shown.count("a\\x1b[2K\\u202e\\x9b") == 3


def problem(**over: Any) -> dict[str, Any]:
    usual = {"severity": "error", "code": "no_space", "check": "space", "database": None}
    return {**usual, "problem": "The disk is full.", "remedy": "Make room.", **over}


def test_each_problem_is_shown_once_and_whole_with_what_to_do_and_errors_come_first() -> None:
    remedy = f"GRANT {'x' * 300}"
    minor = problem(severity="warning", code="library_missing", check="compression", problem="It is slow.", remedy="Install it.")
    checked = [
        {"title": "sqlite in /b", "problems": [minor, problem()]},
        {"title": "sqlite in /c", "problems": [problem(), problem(code="grant_missing", remedy=remedy, problem="a\nb")]},
    ]
    assert lines_of(CHECKED, {"db1": {"backup_checked": checked}, "db2": {"backup_checked": []}, "db3": {}}) == [
        "host  severity  code             check        source",
        "db1   error     no_space         space        sqlite in /b",
        "        The disk is full.",
        "        Make room.",
        "db1   error     grant_missing    space        sqlite in /c",
        "        a b",
        f"        {remedy}",
        "db1   warning   library_missing  compression  sqlite in /b",
        "        It is slow.",
        "        Install it.",
        "db2   no problems",
        "db3   unreachable, or failed before",
    ]


def test_a_hostile_hosts_problems_hide_no_other_hosts() -> None:
    assert lines_of(CHECKED, {"db1": {"backup_checked": [{"title": 1, "problems": [{}]}]}, "db2": {"backup_checked": []}}) == [
        "host  severity  code  check  source",
        "db1   its results can't be read",
        "db2   no problems",
    ]


def test_what_failed_is_followed_by_what_to_do() -> None:
    failed = backed_up({"outcome": "failed", "filename": None, "remedy": "Make\n room."}, {"database": "b"})
    assert lines_of(BACKED_UP, {"db1": failed})[1:] == [
        "db1   app       failed            NONE",
        "        Make room.",
        "db1   b         created  2.0 KiB  just now",
    ]


def test_a_source_that_failed_is_followed_by_why_and_what_to_do_however_long_that_is() -> None:
    failed = {"title": "postgresql in /b", "dumped": {"failed": True, "msg": f"No connection: {'x' * 500}. Start the server."}}
    [_header, row, note] = lines_of(BACKED_UP, {"db1": {"backup_sources": [{}], "backup_runs": [failed]}})
    assert row.split() == ["db1", "(postgresql", "in", "/b)", "failed"]
    assert note.strip().startswith("No connection: ") and note.endswith(" Start the server.") and len(note) < 180


def test_what_was_not_sent_is_followed_by_why() -> None:
    lost = backed_up({}, uploaded=[], failed=True, msg="No route to host. See the network.")
    assert lines_of(BACKED_UP, {"db1": lost})[1:] == [
        "db1   app       created  2.0 KiB  just now  no",
        "        No route to host. See the network.",
    ]


def test_a_database_whose_run_died_has_a_line_with_its_last_good_backup() -> None:
    killed = {"backup_sources": [{}], "backup_runs": [{"title": "a", "dumped": {"failed": True, "msg": "MODULE FAILURE"}}]}
    facts = facts_of_last_good(last_run={"outcome": "died", "msg": "It was killed. See the host's log."}, source="/run:5432")
    assert lines_of(BACKED_UP, {"db1": {**killed, "backup_inventory": facts}})[3:] == [
        "db1   app       died     3.0 KiB  2 days",
        "        It was killed. See the host's log.",
    ]


def test_a_run_that_died_before_is_not_shown_where_this_one_has_a_result() -> None:
    facts = facts_of_last_good(last_run={"outcome": "died", "msg": "It was killed."})
    assert len(lines_of(BACKED_UP, {"db1": {**backed_up({}), "backup_inventory": facts}})) == 2


def test_a_database_whose_name_looks_like_a_title_is_cut_as_any_other() -> None:
    assert "…" in lines_of(BACKED_UP, {"db1": backed_up({"database": f"({'n' * 200}"})})[1]
    title = {"title": "t" * 200, "dumped": {}}
    assert f"({'t' * 200})" in lines_of(BACKED_UP, {"db1": {"backup_sources": [{}], "backup_runs": [title]}})[1]


def test_a_title_widens_the_table_for_no_other_row() -> None:
    down = {"title": "t" * 50, "dumped": {"failed": True, "msg": "Down."}}
    hosts = {"db1": backed_up({}), "db2": {"backup_sources": [{}], "backup_runs": [down]}}
    assert lines_of(BACKED_UP, hosts) == [
        "host  database  outcome     size  age",
        "db1   app       created  2.0 KiB  just now",
        f"db2   ({'t' * 50})  failed",
        "        Down.",
    ]


# --- Restores -------------------------------------------------------------------------------------


RESULTS = [
    {"title": "/srv/gone", "failed": True, "msg": "It is no directory."},
    {"database": "lost", "failed": True, "msg": "There is no good backup of it."},
    {"database": "app", "source": "/run/one:5432", "restored": {"filename": "backup_app"}, "seconds": 2.5, "previous": "app_old"},
    {"database": "kept", "restored": None, "seconds": 0.0, "previous": None},
]


def test_each_restore_has_a_line_whatever_its_outcome() -> None:
    assert lines_of(RESTORED, {"db1": {"backup_restored": {"results": RESULTS}}, "db2": {}, "db3": {"backup_restored": {}}}) == [
        "host  database  outcome   seconds  backup",
        "db1   (/srv/gone)  failed",
        "        It is no directory.",
        "db1   lost      failed",
        "        There is no good backup of it.",
        "db1   app       restored      2.5  backup_app",
        "        The old one is app_old.",
        "db1   kept      exists",
        "        It was left as it is.",
        "db2   unreachable, or failed before",
        "db3   its results can't be read",
    ]


def test_the_server_is_shown_where_two_have_a_database_of_the_same_name() -> None:
    twice = [{**RESULTS[2], "previous": None}, {**RESULTS[2], "source": "/run/two:5432", "previous": None}]
    shown = lines_of(RESTORED, {"db1": {"backup_restored": {"results": twice}}}, check_mode=True)
    assert [line.split() for line in shown[1:]] == [
        ["db1", "app", f"/run/{name}:5432", "would", "restore", "backup_app"] for name in ("one", "two")
    ]
