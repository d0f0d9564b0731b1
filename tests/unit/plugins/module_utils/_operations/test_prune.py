"""Plan, look again, delete: what others do in between, and what goes wrong in the middle of it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    ConnectionFailed,
    DeleteFailed,
    DirectoryUnusable,
    Interrupted,
    LastGoodRefused,
    NoSpace,
    PinnedRefused,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import (
    CONTENT_DIFFERS,
    PAYLOAD_DIFFERS,
    Verification,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    archive_partial_name,
    copy_name,
    manifest_name,
    partial_name,
    upload_name,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations import prune_reading
from ansible_collections.lastgood.database.plugins.module_utils._operations.named_deletion import Named, WholeGroups
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.prune import PruneRequest, prune
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import LOCK_SECONDS, Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.lock_file import LOCK_NAME
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import UNNAMED_PREFIX, LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.contexts import context_at, diff_in
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    contents,
    manifest,
    payloads,
    state_of,
)
from ansible_collections.lastgood.database.tests.support.places import common_directory, refuse_to_read
from ansible_collections.lastgood.database.tests.support.processes import as_unprivileged, child, hear

ONE = Rules(last=1)
SIZE = len(PAYLOAD)
FAILED = Verification("structure", "failed", NOW, "words")


def run(
    folder: Path, choice: Rules | Named | WholeGroups = ONE, *, check: bool = False, store: LocalStore | None = None, **over: Any
) -> Outcome:
    store = store or LocalStore(str(folder))
    try:
        return prune(PruneRequest(store, choice, **over), context_at(NOW, check=check))
    finally:
        store.close()


def values(report: Outcome, key: str) -> list[str]:
    return [record["filename"] for record in report.values[key]]


def there(folder: Path) -> list[str]:
    return [path.name for path in payloads(folder)]


class Disturbed(LocalStore):
    """A store in which something happens between the plan and its execution."""

    def __init__(self, folder: Path, disturb: Callable[[], object]) -> None:
        super().__init__(str(folder))
        self._disturb = disturb

    def lock(self, seconds: float = LOCK_SECONDS) -> Any:
        self._disturb()
        self._disturb = lambda: None  # once
        return super().lock(seconds)


class Stubborn(LocalStore):
    """A store in which some files can't be deleted, or deleting ends the run."""

    def __init__(self, folder: Path, errors: dict[str, Exception]) -> None:
        super().__init__(str(folder))
        self._errors = errors

    def remove(self, name: str) -> bool:
        if name in self._errors:
            raise self._errors[name]
        return super().remove(name)


class TestByRules:
    """What no rule keeps goes, with its manifest."""

    def test_what_no_rule_keeps_goes_with_its_manifest(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in range(1, 5)]
        (tmp_path / "notes.txt").touch()
        report = run(tmp_path, Rules(last=2))
        assert values(report, "deleted") == [names[3], names[2]]
        assert (values(report, "kept"), report.values["changed"]) == ([names[1], names[0]], True)
        assert report.values["freed_bytes"] == 2 * SIZE
        assert there(tmp_path) == sorted(names[:2])
        assert (tmp_path / "notes.txt").exists()
        assert_whole(tmp_path)
        before = state_of(tmp_path)
        again = run(tmp_path, Rules(last=2))
        assert (again.values["changed"], again.values["deleted"]) == (False, [])
        assert state_of(tmp_path) == before

    def test_check_mode_says_the_same_and_writes_nothing(self, tmp_path: Path) -> None:
        for day in range(1, 5):
            put_backup(tmp_path, ago(days=day))
        put_payload(tmp_path, "backup_old_2026-01-01_00-00-00.dump")
        before = state_of(tmp_path)
        predicted = run(tmp_path, check=True)
        assert state_of(tmp_path) == before
        done = run(tmp_path)
        assert predicted.values == done.values
        assert diff_in(predicted) == diff_in(done)

    def test_the_diff_has_each_file_with_a_reason(self, tmp_path: Path) -> None:
        old, new = put_backup(tmp_path, ago(days=2)), put_backup(tmp_path, ago(days=1))
        partial = put_payload(tmp_path, partial_name(old), modified_at=ago(days=2))
        diff = diff_in(run(tmp_path, check=True))
        assert diff["before_header"] == str(tmp_path)
        assert diff["before"].splitlines() == [
            f"{partial}  (what a dead run was writing)",
            f"{old}  (no rule keeps it)",
            f"{new}  (newest, last)",
        ]
        assert diff["after"].splitlines() == [f"{new}  (newest, last)"]

    def test_only_the_databases_that_are_meant_are_touched(self, tmp_path: Path) -> None:
        for database in ("app", "app_prod"):
            for day in (1, 2):
                put_backup(tmp_path, ago(days=day), database=database)
        for day in (1, 2):
            put_backup(tmp_path, ago(days=day), kind="globals", database=None)
        [partial] = [
            put_payload(tmp_path, partial_name(name), modified_at=ago(days=2))
            for name in there(tmp_path)
            if "app_prod" in name and "02-27" in name
        ]
        report = run(tmp_path, databases=("app", "@globals"))
        assert [name.rpartition("_2026")[0] for name in values(report, "deleted")] == ["backup_@globals", "backup_app"]
        assert (report.values["swept"], (tmp_path / partial).exists()) == ([], True)
        assert len(there(tmp_path)) == 4

    def test_a_database_that_no_backup_is_of_is_warned_about(self, tmp_path: Path) -> None:
        for day in (1, 2):
            put_backup(tmp_path, ago(days=day))
        told = [f"{tmp_path} has no backup of the database appp."]
        assert run(tmp_path, databases=("appp",)).warnings == told
        assert run(tmp_path, databases=("app", "appp"), check=True).warnings == told
        assert run(tmp_path, databases=("app", "appp")).warnings == told
        assert run(tmp_path, databases=("app",)).warnings == []

    def test_a_group_that_no_backup_is_of_is_warned_about(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1), origin="db1", instance="1")
        there = Group("db1", "postgresql", "1", "database", "app")
        groups = frozenset([there, there._replace(origin="db2"), there._replace(kind="globals", database=None)])
        assert run(tmp_path, groups=groups).warnings == [
            f"{tmp_path} has no backup of @globals with origin db1, engine postgresql and instance 1.",
            f"{tmp_path} has no backup of app with origin db2, engine postgresql and instance 1.",
        ]
        assert run(tmp_path, groups=frozenset([there])).warnings == []

    def test_of_groups_that_are_meant_the_namesakes_stay_and_are_told(self, tmp_path: Path) -> None:
        places = [("db1", "1"), ("db1", "2"), ("db2", "1")]
        files = {
            place: [put_backup(tmp_path, ago(days=day, minutes=minute), origin=place[0], instance=place[1]) for day in (2, 1)]
            for minute, place in enumerate(places)
        }
        other = put_backup(tmp_path, ago(days=2), database="other")
        bare = put_payload(tmp_path, "backup_app_2026-01-01_00-00-00.dump")
        report = run(tmp_path, groups=frozenset([Group("db1", "postgresql", "2", "database", "app")]))
        assert values(report, "deleted") == [files["db1", "2"][0]]
        assert values(report, "kept") == [files["db1", "2"][1]]
        told = {record["filename"]: record["reasons"] for record in report.values["passed_over"]}
        another = ["it is of another host, server, cluster or file than those in groups"]
        namesakes = dict.fromkeys((*files["db1", "1"], *files["db2", "1"]), another)
        assert told == {bare: ["it is unverified: it has no usable manifest"], **namesakes}
        assert there(tmp_path) == sorted([bare, *files["db1", "1"], files["db1", "2"][1], *files["db2", "1"], other])

    def test_a_group_that_was_left_behind_stays_though_it_is_meant(self, tmp_path: Path) -> None:
        for day in (100, 101, 102):
            put_backup(tmp_path, ago(days=day), instance="old")
        put_backup(tmp_path, ago(days=1), instance="new")
        report = run(tmp_path, groups=frozenset([Group("db1", "postgresql", "old", "database", "app")]))
        assert (report.values["changed"], len(there(tmp_path))) == (False, 4)

    def test_a_clusters_globals_can_be_a_group_that_is_meant(self, tmp_path: Path) -> None:
        for day in (1, 2):
            put_backup(tmp_path, ago(days=day), kind="globals", database=None)
            put_backup(tmp_path, ago(days=day))
        report = run(tmp_path, groups=frozenset([Group("db1", "postgresql", "7300000000000000001", "globals", None)]))
        assert [name.rpartition("_2026")[0] for name in values(report, "deleted")] == ["backup_@globals"]
        assert len(there(tmp_path)) == 3

    def test_without_the_place_there_is_nothing_to_do(self, tmp_path: Path) -> None:
        report = run(tmp_path / "missing")
        assert (report.values["changed"], report.values["kept"]) == (False, [])
        assert not (tmp_path / "missing").exists()

    def test_a_place_without_work_is_not_written_to(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1))
        run(tmp_path)
        assert not (tmp_path / LOCK_NAME).exists()

    def test_links_and_directories_with_a_backups_name_are_left(self, tmp_path: Path) -> None:
        real = put_backup(tmp_path, ago(days=1))
        link, folder = "backup_app_2026-02-01_00-00-00.dump.gz", "backup_app_2026-02-02_00-00-00.dump.gz"
        (tmp_path / link).symlink_to(real)
        (tmp_path / folder).mkdir()
        for name in (link, folder):
            put_payload(tmp_path, manifest_name(name), modified_at=ago(days=30))
        before = state_of(tmp_path)
        assert not run(tmp_path).values["changed"]
        assert run(tmp_path, Named((link, folder))).values["absent"] == [link, folder]
        assert state_of(tmp_path) == before

    @pytest.mark.parametrize("database", ["caf\u00e9 \U0001f4be", "two words", "two\nlines", "a/../b", "'; --", "x" * 300])
    def test_any_name_of_a_database_is_one(self, tmp_path: Path, database: str) -> None:
        names = [put_backup(tmp_path, ago(days=day), database=database) for day in (1, 2)]
        other = [put_backup(tmp_path, ago(days=day), database="other") for day in (1, 2)]
        report = run(tmp_path, databases=(database,))
        assert values(report, "deleted") == [names[1]]
        assert report.values["deleted"][0]["database"] == database
        assert set(there(tmp_path)) == {names[0], *other}

    def test_a_clock_set_back_deletes_nothing_that_it_takes_for_the_future(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, NOW + timedelta(days=day)) for day in range(1, 4)]
        old = [put_backup(tmp_path, ago(days=day)) for day in range(1, 4)]
        report = run(tmp_path)
        assert set(there(tmp_path)) == {*names, old[0]}
        assert values(report, "passed_over") == names

    def test_a_clock_set_forward_deletes_nothing_that_the_right_one_would_not(self, tmp_path: Path) -> None:
        for day in range(1, 40):
            put_backup(tmp_path, ago(days=day))
        rules = Rules(daily=3, weekly=2, within=timedelta(days=1))
        expected = values(run(tmp_path, rules, check=True), "deleted")
        store = LocalStore(str(tmp_path))
        report = prune(PruneRequest(store, rules), context_at(NOW + timedelta(days=9000)))
        store.close()
        assert values(report, "deleted") == expected


class TestByName:
    """Just these."""

    def test_what_is_named_goes_and_nothing_else(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in range(1, 4)]
        put_backup(tmp_path, ago(days=1), database="other")
        partial = put_payload(tmp_path, partial_name(names[0]), modified_at=ago(days=9))
        missing = "backup_app_2020-01-01_00-00-00.dump.gz"
        report = run(tmp_path, Named((names[1], missing, names[1])))
        assert (values(report, "deleted"), report.values["absent"]) == ([names[1]], [missing])
        assert values(report, "kept") == [names[2], names[0]]
        assert len(there(tmp_path)) == 3
        assert (tmp_path / partial).exists()
        assert not (tmp_path / manifest_name(names[1])).exists()

    def test_absent_ones_change_nothing(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1))
        before = state_of(tmp_path)
        assert not run(tmp_path, Named(("backup_app_2020-01-01_00-00-00.dump.gz",))).values["changed"]
        assert state_of(tmp_path) == before

    @pytest.mark.parametrize("form", ["../{}", "./{}", "/srv/{}", "{}.manifest.json", ".{}.partial", "{}\n", "", "*", ".."])
    def test_what_is_no_plain_name_of_a_backup_is_refused(self, form: str) -> None:
        with pytest.raises(ArgumentInvalid, match="plain file name"):
            Named((form.format("backup_app_2026-01-01_00-00-00.dump.gz"),))

    def test_the_last_good_one_is_refused_and_nothing_goes(self, tmp_path: Path) -> None:
        last = put_backup(tmp_path, ago(days=2))
        suspect = put_backup(tmp_path, ago(days=1), verification=FAILED)
        others = [put_backup(tmp_path, ago(days=day), database="other") for day in (1, 2)]
        before = state_of(tmp_path)
        for check in (True, False):
            with pytest.raises(LastGoodRefused, match=last) as caught:
                run(tmp_path, Named((others[1], suspect, last)), check=check)
        assert caught.value.as_result() == {"code": "last_good_refused", "filename": last}
        assert state_of(tmp_path) == before
        run(tmp_path, Named((others[1], suspect)))
        assert set(there(tmp_path)) == {last, others[0]}
        run(tmp_path, Named((last,), allow_last=True))
        assert there(tmp_path) == [others[0]]

    def test_one_from_the_future_is_not_what_is_left(self, tmp_path: Path) -> None:
        last, future = put_backup(tmp_path, ago(days=2)), put_backup(tmp_path, NOW + timedelta(days=9))
        with pytest.raises(LastGoodRefused):
            run(tmp_path, Named((last,)))
        run(tmp_path, Named((future,)))
        assert there(tmp_path) == [last]

    def test_the_only_one_is_the_last_wherever_in_time(self, tmp_path: Path) -> None:
        future = put_backup(tmp_path, NOW + timedelta(days=9))
        with pytest.raises(LastGoodRefused):
            run(tmp_path, Named((future,)))


class TestLeftovers:
    """What dead runs left goes when it is older than a day."""

    NAME = "backup_app_2026-01-01_00-00-00.dump.gz"

    @pytest.mark.parametrize(
        "name",
        [
            partial_name(NAME),
            copy_name(NAME),
            partial_name(manifest_name(NAME)),
            manifest_name(NAME),
            upload_name(NAME, "0" * 64),
            archive_partial_name("2026-01-01.zip"),
            f"{UNNAMED_PREFIX}1.2",
        ],
    )
    def test_it_goes_when_it_is_older_than_a_day(self, tmp_path: Path, name: str) -> None:
        put_payload(tmp_path, name, modified_at=ago(days=1))
        assert not run(tmp_path).values["changed"]
        put_payload(tmp_path, name, modified_at=ago(days=1, seconds=1))
        for check in (True, False):
            report = run(tmp_path, check=check)
            assert (report.values["swept"], report.values["freed_bytes"]) == ([name], SIZE)
        assert contents(tmp_path) == {}

    def test_what_a_run_that_lives_is_writing_stays_however_old(self, tmp_path: Path) -> None:
        held = tmp_path / put_payload(tmp_path, partial_name(self.NAME), modified_at=ago(days=9))
        put_payload(tmp_path, copy_name(self.NAME), modified_at=ago(days=9))
        with held.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert not run(tmp_path).values["changed"]
        assert len(run(tmp_path).values["swept"]) == 2

    def test_what_bears_a_similar_name_stays(self, tmp_path: Path) -> None:
        for name in (".notes.partial", "notes.manifest.json", f"{self.NAME}.partial", ".backup_app.dump.partial"):
            put_payload(tmp_path, name, modified_at=ago(days=900))
        (tmp_path / partial_name(self.NAME)).symlink_to("notes.manifest.json")
        before = state_of(tmp_path)
        assert not run(tmp_path).values["changed"]
        assert state_of(tmp_path) == before


class TestInBetween:
    """What changed since the plan is looked at again."""

    def test_a_file_that_vanished_is_fine(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
        report = run(tmp_path, store=Disturbed(tmp_path, (tmp_path / names[1]).unlink))
        assert (values(report, "deleted"), report.failure) == ([names[2]], None)
        assert there(tmp_path) == [names[0]]

    def test_a_file_that_vanishes_at_the_last_moment_is_fine(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]

        class Vanishing(LocalStore):
            def remove(self, name: str) -> bool:
                (tmp_path / names[1]).unlink(missing_ok=True)
                return super().remove(name)

        report = run(tmp_path, store=Vanishing(str(tmp_path)))
        assert (values(report, "deleted"), report.failure) == ([names[2]], None)
        assert_whole(tmp_path)

    def test_a_dump_that_commits_is_taken_into_account(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
        new: list[str] = []
        report = run(tmp_path, Rules(last=2), store=Disturbed(tmp_path, lambda: new.append(put_backup(tmp_path, NOW))))
        assert there(tmp_path) == sorted([names[0], *new])
        assert values(report, "kept") == [names[0], *new]

    def test_a_newest_one_that_went_bad_stops_deletion_in_its_group(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
        others = [put_backup(tmp_path, ago(days=day), database="other") for day in (1, 2)]
        report = run(tmp_path, store=Disturbed(tmp_path, lambda: os.truncate(tmp_path / names[0], 1)))
        assert values(report, "deleted") == [others[1]]
        assert set(there(tmp_path)) == {*names, others[0]}
        [stays] = [one for one in report.values["passed_over"] if one["filename"] == names[2]]
        assert names[0] in stays["reasons"][0]

    def test_a_newest_one_that_vanished_stops_deletion_in_its_group(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
        run(tmp_path, store=Disturbed(tmp_path, (tmp_path / names[0]).unlink))
        assert there(tmp_path) == sorted(names[1:])

    def test_what_became_the_last_good_one_is_refused(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]
        with pytest.raises(LastGoodRefused):
            run(tmp_path, Named((names[1],)), store=Disturbed(tmp_path, (tmp_path / names[0]).unlink))
        assert there(tmp_path) == [names[1]]


class TestPinned:
    """A pinned backup stays, by rules, by name and by group, until it is unpinned."""

    def test_it_stays_and_the_diff_says_why(self, tmp_path: Path) -> None:
        pinned = put_backup(tmp_path, ago(days=9), pinned=True)
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]
        report = run(tmp_path)
        assert (values(report, "deleted"), values(report, "passed_over")) == ([names[1]], [pinned])
        assert (report.values["passed_over"][0]["pinned"], report.values["kept"][0]["pinned"]) == (True, False)
        assert f"{pinned}  (it is pinned)" in diff_in(report)["after"]

    def test_a_corrupt_one_is_not_read_and_stays(self, tmp_path: Path) -> None:
        corrupt = put_backup(tmp_path, ago(days=9), pinned=True, verification=Verification("checksum", "failed", NOW, "words"))
        put_backup(tmp_path, ago(days=1))
        report = run(tmp_path)
        assert (report.values["changed"], list(report.warnings), corrupt in there(tmp_path)) == (False, [], True)

    def test_one_that_is_named_is_refused_and_nothing_goes(self, tmp_path: Path) -> None:
        pinned, other, _newest = (put_backup(tmp_path, ago(days=day), pinned=day == 3) for day in (3, 2, 1))
        for allow_last in (False, True):
            with pytest.raises(PinnedRefused, match=f"{pinned}.*unpin"):
                run(tmp_path, Named((pinned, other), allow_last=allow_last))
        assert len(there(tmp_path)) == 3
        put_backup(tmp_path, ago(days=3), pinned=False)
        assert values(run(tmp_path, Named((pinned, other))), "deleted") == [pinned, other]

    def test_one_that_is_pinned_is_good_enough_to_delete_the_others_by_name(self, tmp_path: Path) -> None:
        pinned, other = put_backup(tmp_path, ago(days=2), pinned=True), put_backup(tmp_path, ago(days=1))
        assert values(run(tmp_path, Named((other,))), "deleted") == [other]
        assert there(tmp_path) == [pinned]

    def test_where_a_group_is_given_up_it_stays_with_a_warning(self, tmp_path: Path) -> None:
        pinned, other = put_backup(tmp_path, ago(days=2), pinned=True), put_backup(tmp_path, ago(days=1))
        group = Group("db1", "postgresql", "7300000000000000001", "database", "app")
        report = run(tmp_path, WholeGroups(), groups=frozenset([group]))
        assert (values(report, "deleted"), values(report, "passed_over")) == ([other], [pinned])
        assert any(pinned in warning and "unpin" in warning for warning in report.warnings)

    def test_one_that_is_pinned_between_the_plan_and_its_execution_stays(self, tmp_path: Path) -> None:
        old, _new = put_backup(tmp_path, ago(days=2)), put_backup(tmp_path, ago(days=1))
        report = run(tmp_path, store=Disturbed(tmp_path, lambda: put_backup(tmp_path, ago(days=2), pinned=True)))
        assert (values(report, "deleted"), values(report, "passed_over")) == ([], [old])

    def test_a_last_good_one_that_is_pinned_meanwhile_stops_no_deletion(self, tmp_path: Path) -> None:
        _new, old = (put_backup(tmp_path, ago(days=day)) for day in (1, 2))
        older = put_backup(tmp_path, ago(days=3))
        report = run(tmp_path, store=Disturbed(tmp_path, lambda: put_backup(tmp_path, ago(days=1), pinned=True)))
        assert (values(report, "deleted"), values(report, "kept")) == ([older], [old])

    def test_a_pinned_newest_that_has_rotted_keeps_the_others_for_once(self, tmp_path: Path) -> None:
        newest = put_backup(tmp_path, ago(days=1), pinned=True)
        (tmp_path / newest).write_bytes(bytes(SIZE))
        names = [put_backup(tmp_path, ago(days=day)) for day in (2, 3)]
        assert run(tmp_path).values["changed"] is False
        assert values(run(tmp_path), "deleted") == [names[1]]
        assert there(tmp_path) == [names[0], newest]


class TestFailures:
    """One file does not keep the others; what is left is no backup without its manifest."""

    def test_what_cannot_be_deleted_is_told_and_the_rest_goes(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3, 4)]
        report = as_failing(tmp_path, names[3])
        assert values(report, "deleted") == [names[2], names[1]]
        assert values(report, "not_deleted") == [names[3]]
        assert report.values["changed"]
        assert isinstance(report.failure, DeleteFailed)
        assert names[3] in str(report.failure) and "no such luck" in str(report.failure)
        assert report.failure.as_result() == {"code": "delete_failed"}
        assert names[3] in diff_in(report)["after"]
        assert_whole(tmp_path)
        assert run(tmp_path).values["changed"]

    def test_a_manifest_that_cannot_be_deleted_is_told(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]
        report = as_failing(tmp_path, manifest_name(names[1]))
        assert (values(report, "deleted"), values(report, "not_deleted")) == ([names[1]], [manifest_name(names[1])])

    def test_a_run_that_is_ended_says_what_it_did(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3, 4)]
        ended = Interrupted("The run was ended by SIGTERM.", "Run it again.")
        report = run(tmp_path, store=Stubborn(tmp_path, {names[2]: ended}))
        assert (values(report, "deleted"), report.failure) == ([names[3]], ended)
        assert there(tmp_path) == sorted(names[:3])

    def test_a_run_that_is_killed_leaves_it_consistent_and_the_next_one_finishes(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in range(1, 9)]
        for backup in names:
            os.utime(tmp_path / manifest_name(backup), (0, 0))  # as old as what it describes
        for number in (1, 2, 5, 8):  # of the files that go

            def work(talk: Connection, number: int = number) -> None:
                class Waiting(LocalStore):
                    def remove(self, name: str) -> bool:
                        nonlocal number
                        number -= 1
                        if number == 0:
                            talk.send("now")
                            talk.recv()
                        return super().remove(name)

                run(tmp_path, store=Waiting(str(tmp_path)))

            with child(work) as (process, talk):
                assert hear(talk) == "now"
                process.kill()
                process.join()
            # Each payload that is there has its manifest, and the newest is there.
            assert all((tmp_path / manifest_name(backup)).exists() for backup in there(tmp_path))
            assert names[0] in there(tmp_path)
        assert run(tmp_path).values["changed"]
        assert there(tmp_path) == [names[0]]
        assert_whole(tmp_path)

    def test_a_place_that_may_not_be_written_to_is_an_error_and_keeps_all(self) -> None:
        with common_directory() as folder:
            for day in (1, 2):
                put_backup(folder, ago(days=day))
            folder.chmod(0o555)
            for file in folder.iterdir():
                file.chmod(0o644)
            before = state_of(folder)

            def refused() -> None:
                for check in (True, False):
                    with pytest.raises(DirectoryUnusable):
                        run(folder, check=check)

            as_unprivileged(refused)
            assert state_of(folder) == before


def as_failing(folder: Path, name: str) -> Outcome:
    """Prune where one file can't be deleted."""
    return run(folder, store=Stubborn(folder, {name: StoreFailed(f"Deleting {name}: no such luck.", "Try again.")}))


def test_the_time_is_asked_again_for_the_second_look(tmp_path: Path) -> None:
    asked: list[datetime] = []
    for day in (1, 2):
        put_backup(tmp_path, ago(days=day))

    def clock() -> datetime:
        asked.append(NOW)
        return NOW

    store = LocalStore(str(tmp_path))
    prune(PruneRequest(store, ONE), context_at(clock))
    store.close()
    assert len(asked) == 2


# --- The newest has rotted, and its size is as it was ------------------------------------------------


def rot(path: Path) -> None:
    path.write_bytes(bytes(len(path.read_bytes())))


@pytest.mark.parametrize("check", [True, False])
def test_nothing_of_a_database_is_deleted_whose_newest_has_rotted(tmp_path: Path, check: bool) -> None:
    mine = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
    others = [put_backup(tmp_path, ago(days=day), database="other") for day in (1, 2)]
    rot(tmp_path / mine[0])
    before = contents(tmp_path)
    report = run(tmp_path, check=check)
    assert (contents(tmp_path) == before) == check
    assert values(report, "deleted") == [others[1]]
    assert sorted(values(report, "passed_over")) == sorted(mine[1:])
    [warning] = report.warnings
    assert str(tmp_path / mine[0]) in warning and "does not match its manifest" in warning
    assert {path.name for path in payloads(tmp_path)} == {*mine, others[0], *(others[1:] if check else [])}


def test_a_newest_that_has_rotted_is_called_corrupt_and_the_next_run_rests_on_another(tmp_path: Path) -> None:
    names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
    rot(tmp_path / names[0])
    run(tmp_path)
    again = run(tmp_path)
    assert (values(again, "kept"), values(again, "deleted"), again.warnings) == ([names[1]], [names[2]], [])
    [stays] = again.values["passed_over"]
    assert (stays["filename"], stays["state"]) == (names[0], "corrupt")


def test_a_full_disk_on_which_rot_can_not_be_noted_is_freed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]
    others = [put_backup(tmp_path, ago(days=day), database="other") for day in (1, 2)]
    rot(tmp_path / mine[0])

    def refuse(store: LocalStore, name: str, data: bytes, like: str | None = None) -> None:
        raise NoSpace("No space left on device.", "Make room.")

    monkeypatch.setattr(LocalStore, "replace", refuse)
    report = run(tmp_path)
    assert values(report, "deleted") == [others[1]]
    assert there(tmp_path) == sorted([*mine, others[0]])
    assert "could not be recorded" in report.warnings[-1] and "No space left" in report.warnings[-1]


def test_a_connection_that_is_lost_before_rot_is_noted_hides_nothing_that_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotten, *_rest = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]
    others = [put_backup(tmp_path, ago(days=day), database="other") for day in (1, 2, 3)]
    rot(tmp_path / rotten)
    lost = ConnectionFailed("The server closed the connection.", "See its log.")

    def refuse(store: LocalStore, name: str, data: bytes, like: str | None = None) -> None:
        raise lost

    monkeypatch.setattr(LocalStore, "replace", refuse)
    report = run(tmp_path, store=Stubborn(tmp_path, {others[1]: lost}))
    assert (values(report, "deleted"), report.failure) == ([others[2]], lost)
    assert "could not be recorded" in report.warnings[-1]


def test_a_newest_that_can_not_be_read_spares_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]

    def refuse(store: LocalStore, name: str) -> object:
        raise StoreFailed(f"Reading {name}: Permission denied.", "See.") from PermissionError()

    monkeypatch.setattr(LocalStore, "chunks", refuse)
    report = run(tmp_path)
    assert (values(report, "deleted"), values(report, "passed_over")) == ([], names[1:])
    assert "Permission denied" in report.warnings[0]
    assert isinstance(report.failure, StoreFailed)


def test_one_that_comes_in_while_the_newest_is_read_is_read_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put_backup(tmp_path, ago(days=day)) for day in (2, 3)]
    real, late = prune_reading.is_sound, []

    def read_slowly(store: Store, backup: Backup) -> bool:
        if not late:
            late.append(put_backup(tmp_path, ago(days=1)))
            rot(tmp_path / late[0])
        return real(store, backup)

    monkeypatch.setattr(prune_reading, "is_sound", read_slowly)
    report = run(tmp_path)
    assert values(report, "deleted") == []
    assert {path.name for path in payloads(tmp_path)} == {*names, *late}
    assert late[0] in report.warnings[0]


def test_one_that_is_named_stays_where_the_newest_that_would_be_left_has_rotted(tmp_path: Path) -> None:
    names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
    rot(tmp_path / names[0])
    with pytest.raises(LastGoodRefused, match=names[0]):
        run(tmp_path, Named((names[1],)))
    assert len(payloads(tmp_path)) == 3
    assert values(run(tmp_path, Named((names[0],))), "deleted") == [names[0]]
    rot(tmp_path / names[1])
    assert values(run(tmp_path, Named((names[2],), allow_last=True)), "deleted") == [names[2]]


def test_of_suspect_ones_that_the_rules_decide_on_the_newest_is_read(tmp_path: Path) -> None:
    verdicts = [FAILED._replace(detail=f"line {line}: type shop.kind does not exist") for line in range(6)]
    names = [put_backup(tmp_path, ago(days=day), verification=verdict) for day, verdict in enumerate(verdicts)]
    rot(tmp_path / names[0])
    report = run(tmp_path)
    assert values(report, "deleted") == []
    assert names[0] in report.warnings[0]
    (tmp_path / names[0]).write_bytes(PAYLOAD)
    assert values(run(tmp_path), "deleted") == names[:2:-1]


# --- Corrupt ones, which are read once more --------------------------------------------------------

CORRUPT = Verification("checksum", "failed", ago(days=3), PAYLOAD_DIFFERS)


def put_corrupt(folder: Path, days: int, **over: Any) -> str:
    """Put a backup that is recorded as corrupt, and is."""
    name = put_backup(folder, ago(days=days), verification=CORRUPT, **over)
    rot(folder / name)
    return name


def test_a_corrupt_one_goes_when_another_reading_says_so_too(tmp_path: Path) -> None:
    good, corrupt = put_backup(tmp_path, ago(days=1)), put_corrupt(tmp_path, 5)
    assert values(run(tmp_path), "deleted") == [corrupt]
    assert there(tmp_path) == [good]


@pytest.mark.parametrize("check", [True, False])
def test_one_that_is_recorded_as_corrupt_and_is_sound_counts_again(tmp_path: Path, check: bool) -> None:
    newest = put_backup(tmp_path, ago(days=1))
    sound = [put_backup(tmp_path, ago(days=days), verification=CORRUPT) for days in (40, 70)]
    before = state_of(tmp_path)
    report = run(tmp_path, Rules(monthly=2), check=check)
    assert values(report, "kept") == [sound[0], newest]
    assert values(report, "deleted") == [sound[1]]
    assert [str(tmp_path / name) in warning for name, warning in zip(sorted(sound), report.warnings)] == [True, True]
    if check:
        assert state_of(tmp_path) == before
    else:
        assert manifest(tmp_path / sound[0])["verification"]["verdict"] == "passed"


def test_the_verdict_is_taken_back_where_nothing_is_left_to_delete(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=1))
    sound = put_backup(tmp_path, ago(days=40), verification=CORRUPT)
    report = run(tmp_path, Rules(monthly=2))
    assert not report.values["changed"]
    assert manifest(tmp_path / sound)["verification"]["verdict"] == "passed"
    assert run(tmp_path, Rules(monthly=2)).warnings == []


def test_a_corrupt_one_that_can_not_be_read_again_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put_backup(tmp_path, ago(days=1)), put_corrupt(tmp_path, 5), put_backup(tmp_path, ago(days=8))]
    refuse_to_read(monkeypatch, names[1])
    report = run(tmp_path)
    assert (values(report, "deleted"), values(report, "passed_over")) == ([names[2]], [names[1]])
    assert "Input/output error" in report.warnings[0]


def test_one_whose_content_differs_stays_until_a_look_inside_says_more(tmp_path: Path) -> None:
    verdict = CORRUPT._replace(detail=CONTENT_DIFFERS)
    names = [put_backup(tmp_path, ago(days=1)), put_backup(tmp_path, ago(days=5), verification=verdict)]
    report = run(tmp_path)
    assert (values(report, "deleted"), values(report, "passed_over")) == ([], [names[1]])
    assert manifest(tmp_path / names[1])["verification"]["verdict"] == "failed"


def test_a_corrupt_one_that_is_named_is_deleted_unread(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=1))
    sound = put_backup(tmp_path, ago(days=40), verification=CORRUPT)
    assert values(run(tmp_path, Named((sound,))), "deleted") == [sound]


def test_a_store_far_away_is_not_read(tmp_path: Path) -> None:
    names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2)]
    rot(tmp_path / names[0])
    report = run(tmp_path, reads_newest=False)
    assert (values(report, "deleted"), report.warnings) == (names[1:], [])
