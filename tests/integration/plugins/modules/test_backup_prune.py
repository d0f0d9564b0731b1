"""backup_prune as a process: what it returns, how it ends, and what the directory has afterwards."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.backups import PAYLOAD, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    manifest_path,
    payloads,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.places import AS_ROOT

KEYS = {"changed", "deleted", "kept", "passed_over", "absent", "swept", "not_deleted", "freed_bytes"}
RECORD = {
    "filename",
    "origin",
    "engine",
    "instance",
    "kind",
    "database",
    "partial",
    "partial_arguments",
    "state",
    "pinned",
    "created_at",
    "size_bytes",
    "reasons",
}


GROUP = {"origin": "db1", "engine": "postgresql", "instance": "7300000000000000001", "kind": "database", "database": "app"}


def prune(directory: Path, **options: Any) -> Outcome:
    return run_module("backup_prune", directory=str(directory), **options)


def fill(directory: Path, count: int, **over: Any) -> list[str]:
    """Put backups into a directory, of a day each, and return their names, the newest first."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return [put_backup(directory, now - timedelta(days=day), **over) for day in range(1, count + 1)]


def names(records: list[dict[str, Any]]) -> list[str]:
    return [record["filename"] for record in records]


def test_what_no_rule_keeps_goes_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    found = fill(tmp_path, 5)
    before = state_of(tmp_path)
    predicted = prune(tmp_path, keep_last=2, check=True, diff=True)
    assert state_of(tmp_path) == before

    done = prune(tmp_path, keep_last=2, diff=True)
    assert set(done.result) - {"invocation", "diff"} == KEYS
    assert names(done.result["deleted"]) == found[:1:-1]
    assert [one["reasons"] for one in done.result["kept"]] == [["last"], ["newest", "last"]]
    assert {frozenset(one) for key in ("deleted", "kept") for one in done.result[key]} == {frozenset(RECORD)}
    assert done.result["freed_bytes"] == 3 * len(PAYLOAD)
    assert {key: predicted.result[key] for key in (*KEYS, "diff")} == {key: done.result[key] for key in (*KEYS, "diff")}
    assert f"{found[4]}  (no rule keeps it)\n" in done.result["diff"]["before"]
    assert found[4] not in done.result["diff"]["after"]
    assert [path.name for path in payloads(tmp_path)] == found[1::-1]
    assert_whole(tmp_path)

    before = state_of(tmp_path)
    again = prune(tmp_path, keep_last=2, diff=True)
    assert (again.changed, again.result["diff"]["before"]) == (False, again.result["diff"]["after"])
    assert state_of(tmp_path) == before


def test_rules_in_a_dict_are_the_same_rules(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    one_by_one = prune(tmp_path, keep_last=1, keep_within="2d", timezone="Europe/Berlin", check=True)
    assert len(one_by_one.result["deleted"]) == 3
    rules = {"keep_last": 1, "keep_within": "2d", "timezone": "Europe/Berlin"}
    together = prune(tmp_path, retention=rules, check=True)
    assert {key: together.result[key] for key in KEYS} == {key: one_by_one.result[key] for key in KEYS}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({}, "argument_invalid", "No rule says"),
        ({"keep_daily": 0, "keep_within": "0d"}, "argument_invalid", "names of the backups"),
        ({"keep_daily": -2}, "argument_invalid", "keep_daily is -2"),
        ({"keep_within": "a week"}, "argument_invalid", "keep_within"),
        ({"keep_daily": 1, "timezone": "Atlantis"}, "argument_invalid", "tzdata"),
        ({"keep_daily": 1, "databases": []}, "argument_invalid", "empty list"),
        ({"names": []}, "argument_invalid", "empty list"),
        ({"names": ["../x"]}, "argument_invalid", "plain file name"),
        ({"names": ["x"], "keep_last": 1}, "argument_invalid", "names and keep_last"),
        ({"names": ["x"], "retention": {"keep_last": 1}}, "argument_invalid", "names and retention"),
        ({"keep_last": 1, "retention": {"keep_last": 1}}, "argument_invalid", "retention and keep_last"),
        ({"retention": {}, "groups": [GROUP], "allow_delete_last": True}, "argument_invalid", "No rule says"),
        ({"names": ["x"], "databases": ["app"]}, "argument_invalid", "names and databases"),
        ({"names": ["x"], "groups": [GROUP]}, "argument_invalid", "names and groups"),
        ({"keep_last": 1, "groups": []}, "argument_invalid", "empty list"),
        ({"keep_last": 1, "groups": [{"database": "app"}]}, "argument_invalid", "does not say its origin"),
    ],
)
def test_what_makes_no_sense_is_an_error_and_deletes_nothing(
    tmp_path: Path, options: dict[str, Any], code: str, words: str
) -> None:
    fill(tmp_path, 3)
    before = state_of(tmp_path)
    outcome = prune(tmp_path, **options)
    assert outcome.error_code == code
    assert words in outcome.msg
    assert state_of(tmp_path) == before


def test_databases_and_groups_do_not_go_together(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    outcome = prune(tmp_path, keep_last=1, groups=[GROUP], databases=["app"])
    assert (outcome.status, "mutually exclusive" in outcome.msg, len(payloads(tmp_path))) == (1, True, 3)


def test_of_groups_nothing_of_their_namesakes_goes(tmp_path: Path) -> None:
    mine = fill(tmp_path, 3)
    now = datetime.now(timezone.utc).replace(microsecond=0)
    theirs = [put_backup(tmp_path, now - timedelta(days=day, hours=1), origin="db2") for day in range(1, 4)]
    told = run_module("backup_facts", directory=str(tmp_path)).result["ansible_facts"]["database_backups"]["databases"]
    done = prune(tmp_path, keep_last=1, groups=[one for one in told if one["origin"] == "db1"])
    assert names(done.result["deleted"]) == mine[:0:-1]
    assert names(done.result["passed_over"]) == theirs[::-1]
    assert {path.name for path in payloads(tmp_path)} == {mine[0], *theirs}


def test_by_name_the_last_good_one_goes_only_when_that_is_allowed(tmp_path: Path) -> None:
    [only] = fill(tmp_path, 1)
    absent = "backup_app_2020-01-01_00-00-00.dump.gz"
    refused = prune(tmp_path, names=[only, absent])
    assert (refused.error_code, refused.result["error"]["filename"]) == ("last_good_refused", only)
    assert [path.name for path in payloads(tmp_path)] == [only]
    done = prune(tmp_path, names=[only, absent], allow_delete_last=True)
    assert (names(done.result["deleted"]), done.result["absent"]) == ([only], [absent])
    assert list(tmp_path.glob("backup_*")) == []


def test_a_group_is_given_up_with_its_last_good_backup_and_its_namesakes_stay(tmp_path: Path) -> None:
    current = fill(tmp_path, 2)
    long_ago = datetime(2026, 1, 31, 1, 0, 0, tzinfo=timezone.utc)
    left_behind = [put_backup(tmp_path, long_ago + timedelta(days=day), origin="old") for day in (0, 1)]
    options: dict[str, Any] = {"groups": [{**GROUP, "origin": "old"}], "allow_delete_last": True}
    assert prune(tmp_path, check=True, **options).changed
    done = prune(tmp_path, **options)
    assert sorted(names(done.result["deleted"])) == sorted(left_behind)
    assert [path.name for path in payloads(tmp_path)] == sorted(current)
    again = prune(tmp_path, **options)
    assert not again.changed and "has no backup of app with origin old" in again.warnings[0]


def test_a_group_is_given_up_only_where_no_rule_keeps_any_and_that_is_allowed(tmp_path: Path) -> None:
    [newest, _older] = fill(tmp_path, 2)
    assert prune(tmp_path, groups=[GROUP]).error_code == "argument_invalid"
    assert prune(tmp_path, groups=[GROUP], allow_delete_last=True, keep_last=1).changed
    assert [path.name for path in payloads(tmp_path)] == [newest]


def test_check_mode_with_rules_does_not_warn_of_groups_that_no_run_has_backed_up_yet(tmp_path: Path) -> None:
    tmp_path.joinpath("b").mkdir()
    options: dict[str, Any] = {"groups": [GROUP], "keep_last": 1}
    assert prune(tmp_path / "b", check=True, **options).warnings == []
    assert prune(tmp_path / "b", **options).warnings != []


def test_days_are_those_of_a_named_time_zone(tmp_path: Path) -> None:
    # 23:30 UTC and, a day later, 22:30 UTC are one day in Berlin, in winter.
    times = [datetime(2026, 1, 10, 23, 30), datetime(2026, 1, 11, 22, 30), datetime(2026, 1, 9, 12)]
    found = [put_backup(tmp_path, time.replace(tzinfo=timezone.utc)) for time in times]
    assert names(prune(tmp_path, keep_daily=2, timezone="Europe/Berlin", check=True).result["deleted"]) == [found[0]]
    assert names(prune(tmp_path, keep_daily=2, check=True).result["deleted"]) == [found[2]]


def test_a_host_without_time_zones_says_so_and_still_knows_utc(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    # As where neither the system nor Python has tzdata.
    nothing = tmp_path / "nothing"
    (nothing / "tzdata").mkdir(parents=True)
    (nothing / "tzdata" / "__init__.py").write_text("raise ModuleNotFoundError('No module named tzdata', name='tzdata')\n")
    ordinary = Host()
    host = Host(search_path=(nothing, *ordinary.search_path), environment={"PYTHONTZPATH": str(nothing)})
    outcome = run_module("backup_prune", host=host, directory=str(tmp_path), keep_daily=1, timezone="Europe/Berlin")
    assert outcome.error_code == "argument_invalid"
    assert "tzdata" in outcome.msg
    assert run_module("backup_prune", host=host, directory=str(tmp_path), keep_daily=1).changed


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A directory with four backups, of which the second oldest can't be deleted, not even by root."""
    directory = tmp_path / "backups"
    directory.mkdir()
    found = fill(directory, 4)
    stuck = directory / found[2]
    done = subprocess.run(("chattr", "+i", stuck), capture_output=True, check=False)
    if done.returncode != 0:
        # No such flag here: a file system of its own on the file keeps it there just as well.
        subprocess.run(("mount", "--bind", stuck, stuck), check=True)
    try:
        yield directory, found
    finally:
        undo = ("chattr", "-i", stuck) if done.returncode == 0 else ("umount", stuck)
        subprocess.run(undo, check=True)


@pytest.mark.skipif(not AS_ROOT, reason="only root can keep a file from being deleted")
def test_a_file_that_cannot_be_deleted_is_told_and_the_rest_goes(immutable: tuple[Path, list[str]]) -> None:
    directory, found = immutable
    outcome = prune(directory, keep_last=1)
    assert outcome.error_code == "delete_failed"
    assert found[2] in outcome.msg
    assert outcome.result["changed"] is True
    assert names(outcome.result["deleted"]) == [found[3], found[1]]
    [stuck] = outcome.result["not_deleted"]
    assert stuck["filename"] == found[2]
    assert [path.name for path in payloads(directory)] == [found[2], found[0]]
    assert_whole(directory)


def test_a_directory_that_may_not_be_written_to_is_an_error(open_folder: Path, unprivileged: Host) -> None:
    fill(open_folder, 3)
    for path in open_folder.iterdir():
        path.chmod(0o644)
    open_folder.chmod(0o555)
    before = state_of(open_folder)
    try:
        for check in (True, False):
            outcome = run_module("backup_prune", host=unprivileged, directory=str(open_folder), keep_last=1, check=check)
            assert outcome.error_code == "directory_not_writable"
            assert "become_user" in outcome.msg
        assert state_of(open_folder) == before
    finally:
        open_folder.chmod(0o755)


def test_a_run_that_is_killed_in_the_middle_is_finished_by_the_next(tmp_path: Path) -> None:
    found = fill(tmp_path, 3000)
    for name in found:
        os.utime(manifest_path(tmp_path / name), (0, 0))
    with running_module("backup_prune", directory=str(tmp_path), keep_last=1) as process:
        wait_until(lambda: process.ended or not (tmp_path / found[-1]).exists())
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: process.ended)
    left = payloads(tmp_path)
    assert left[-1].name == found[0]
    assert all(manifest_path(path).exists() for path in left)
    prune(tmp_path, keep_last=1)
    assert [path.name for path in payloads(tmp_path)] == [found[0]]
    assert_whole(tmp_path)


def test_a_directory_that_is_none_is_an_error_and_one_that_is_missing_has_nothing_to_delete(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert prune(tmp_path / "file", keep_last=1).error_code == "not_a_directory"
    assert prune(tmp_path / "link", keep_last=1).error_code == "directory_unusable"
    assert not prune(tmp_path / "missing", keep_last=1).changed
    assert not (tmp_path / "missing").exists()


def test_a_newest_that_has_rotted_keeps_the_others_and_is_told(tmp_path: Path) -> None:
    newest, older = fill(tmp_path, 2)
    (tmp_path / newest).write_bytes(bytes(len(PAYLOAD)))
    done = prune(tmp_path, keep_last=1)
    assert (done.changed, names(done.result["passed_over"])) == (False, [older])
    assert newest in done.warnings[0]
    assert prune(tmp_path, names=[older]).error_code == "last_good_refused"
    assert len(payloads(tmp_path)) == 2


@pytest.mark.parametrize(
    ("options", "left"), [({}, 2), ({"verify_before_delete": True}, 2), ({"verify_before_delete": False}, 1)]
)
def test_the_newest_is_read_before_others_are_deleted_unless_asked_not_to(
    tmp_path: Path, options: dict[str, Any], left: int
) -> None:
    newest, _older = fill(tmp_path, 2)
    (tmp_path / newest).write_bytes(bytes(len(PAYLOAD)))  # of the same size, and rotten
    prune(tmp_path, keep_last=1, **options)
    assert len(payloads(tmp_path)) == left
