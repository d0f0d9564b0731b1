"""Which backups are here, page by page, and for each group the last good one. Looking changes nothing."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import DirectoryUnusable, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import Selection
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    STATUS_NAME,
    GroupStatus,
    Run,
    Status,
    to_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import (
    SORT_BY,
    InventoryRequest,
    SortBy,
    inventory,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import (
    NOW,
    PAYLOAD,
    ago,
    put_backup,
    put_payload,
)
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from ansible_collections.lastgood.database.tests.support.observe import state_of
from ansible_collections.lastgood.database.tests.support.places import common_directory, refuse_to_read
from ansible_collections.lastgood.database.tests.support.processes import as_unprivileged

SIZE = len(PAYLOAD)
FAILED = Verification("structure", "failed", NOW, "words")


def facts_in(outcome: Outcome) -> dict[str, Any]:
    facts: dict[str, Any] = outcome.values["ansible_facts"]["database_backups"]
    return facts


def ask(folder: Path, **over: Any) -> dict[str, Any]:
    store = LocalStore(str(folder))
    try:
        return facts_in(inventory(InventoryRequest(store, **over), context_at(NOW)))
    finally:
        store.close()


def names_of(facts: dict[str, Any]) -> list[str]:
    return [record["filename"] for record in facts["files"]]


def put_one_of_each_state(folder: Path) -> dict[str, str]:
    """Put the good one last: it is the oldest."""
    corrupt = put_backup(folder, ago(days=1))
    (folder / corrupt).write_bytes(PAYLOAD + b"more")
    suspect = put_backup(folder, ago(days=2), verification=FAILED)
    unverified = put_payload(folder, "backup_app_2026-02-26_12-00-00.dump")
    good = put_backup(folder, ago(days=4))
    return {"corrupt": corrupt, "suspect": suspect, "unverified": unverified, "good": good}


def put_status(folder: Path, *known: tuple[str, str | None]) -> None:
    """Put the status of a run beside backups: of the given databases, and how their server was reached."""
    group = Group("db1", "postgresql", "7300000000000000001", "database", None)
    groups = {group._replace(database=name): GroupStatus(address=address) for name, address in known}
    (folder / STATUS_NAME).write_bytes(to_bytes(Status(groups, (Run("1", NOW, NOW, NOW, "succeeded"),))))


class TestAll:
    """What is said without being asked for anything."""

    def test_without_the_place_there_is_nothing(self, tmp_path: Path) -> None:
        assert ask(tmp_path / "missing") == {
            "directory": str(tmp_path / "missing"),
            "exists": False,
            "count": 0,
            "total_bytes": 0,
            "pages": 0,
            "files": [],
            "databases": [],
            "last_run": None,
            "running": [],
        }
        assert list(tmp_path.iterdir()) == []

    def test_the_states_of_a_databases_backups_are_counted(self, tmp_path: Path) -> None:
        put_one_of_each_state(tmp_path)
        [entry] = [one for one in ask(tmp_path)["databases"] if one["origin"] is not None]
        assert entry["states"] == {"good": 1, "unverified": 0, "suspect": 1, "corrupt": 1}

    def test_a_database_that_no_run_backs_up_is_not_expected(self, tmp_path: Path) -> None:
        names = ("app", "dropped", "foreign")
        for name in names:
            put_backup(tmp_path, ago(days=1), database=name)
        assert [entry["expected"] for entry in ask(tmp_path)["databases"]] == [True, True, True]
        put_status(tmp_path, ("app", "default"), ("dropped", None))
        assert [entry["expected"] for entry in ask(tmp_path)["databases"]] == [True, False, False]

    def test_a_confirmation_from_the_future_does_not_count(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1), confirmed_at=NOW + timedelta(days=3))
        [entry] = ask(tmp_path)["databases"]
        assert entry["confirmed_at_epoch"] == int(ago(days=1).timestamp())

    def test_an_empty_place_is_there(self, tmp_path: Path) -> None:
        facts = ask(tmp_path)
        assert (facts["exists"], facts["count"], facts["pages"], facts["files"], facts["databases"]) == (True, 0, 0, [], [])

    def test_a_place_that_is_a_link_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        with pytest.raises(DirectoryUnusable):
            ask(tmp_path / "link")

    def test_every_backup_has_its_record_and_every_database_its_sum(self, tmp_path: Path) -> None:
        older = put_backup(tmp_path, ago(days=2), b"x" * 2000)
        newer = put_backup(tmp_path, ago(days=1), b"x" * 1000, confirmed_at=ago(minutes=1))
        (tmp_path / "README").write_text("foreign")
        facts = ask(tmp_path)
        assert {key: facts[key] for key in ("directory", "exists", "count", "total_bytes", "pages")} == {
            "directory": str(tmp_path),
            "exists": True,
            "count": 2,
            "total_bytes": 3000,
            "pages": 1,
        }
        assert facts["databases"] == [
            {
                "origin": "db1",
                "engine": "postgresql",
                "instance": "7300000000000000001",
                "source": "/run/postgresql:5432",
                "kind": "database",
                "database": "app",
                "partial": False,
                "partial_arguments": [],
                "expected": True,
                "count": 2,
                "states": {"good": 2, "unverified": 0, "suspect": 0, "corrupt": 0},
                "newest_good": newer,
                "confirmed_at": "2026-03-01 11:59:00",
                "confirmed_at_epoch": int(ago(minutes=1).timestamp()),
                "age_seconds": 60,
                "bytes": 3000,
                "newest_good_payload_bytes": 1000,
                "newest_good_bytes": 1000,
                "sizes": [2000, 1000],
                "last_run": None,
                "last_failure": None,
                **dict.fromkeys(("uploaded_at", "verified_at", "drilled_at")),
                **dict.fromkeys(("uploaded_at_epoch", "verified_at_epoch", "drilled_at_epoch")),
            }
        ]
        assert names_of(facts) == [older, newer]
        first = facts["files"][0]
        assert set(first) == {
            "filename",
            "path",
            "manifest",
            "kind",
            "origin",
            "engine",
            "instance",
            "source",
            "database",
            "partial",
            "partial_arguments",
            "format",
            "compression",
            "encrypted",
            "state",
            "created_at",
            "created_at_epoch",
            "modified_at",
            "modified_at_epoch",
            "confirmed_at",
            "confirmed_at_epoch",
            "size_kb",
            "size_bytes",
            "age_seconds",
            "payload_sha256",
            "verification",
            "pinned",
            "labels",
            "recipients",
            "position",
            "problem",
            "uploaded_at",
            "uploaded_at_epoch",
        }
        assert (first["path"], first["state"], first["size_bytes"]) == (f"{tmp_path}/{older}", "good", 2000)
        assert (first["size_kb"], first["created_at"]) == ("2.0", "2026-02-27 12:00:00")

    def test_each_state_is_told(self, tmp_path: Path) -> None:
        names = put_one_of_each_state(tmp_path)
        assert {record["state"]: record["filename"] for record in ask(tmp_path)["files"]} == names

    @pytest.mark.parametrize("checksum", [False, True])
    def test_nothing_is_written(self, tmp_path: Path, checksum: bool) -> None:
        put_one_of_each_state(tmp_path)
        put_backup(tmp_path, ago(days=-5))
        (tmp_path / ".backup_app_2026-02-01_12-00-00.dump.gz.partial").touch()
        before = state_of(tmp_path)
        ask(tmp_path, checksum=checksum)
        assert state_of(tmp_path) == before

    def test_who_may_only_read_may_look(self) -> None:
        with common_directory() as folder:
            name = put_backup(folder, ago(days=1))
            for path in folder.iterdir():
                path.chmod(0o444)
            folder.chmod(0o555)
            facts = as_unprivileged(lambda: ask(folder, checksum=True))
        assert [(record["filename"], record["state"]) for record in facts["files"]] == [(name, "good")]

    def test_a_manifest_that_may_not_be_read_leaves_a_backup_unverified(self) -> None:
        with common_directory() as folder:
            name = put_backup(folder, ago(days=1))
            (folder / manifest_name(name)).chmod(0o000)
            facts = as_unprivileged(lambda: ask(folder))
        assert [(record["filename"], record["state"]) for record in facts["files"]] == [(name, "unverified")]


class TestChoosing:
    """Names, databases, states, and the newest of them."""

    def test_names_and_databases_choose(self, tmp_path: Path) -> None:
        app, other = (put_backup(tmp_path, ago(days=1), database=database) for database in ("app", "other"))
        assert names_of(ask(tmp_path, selection=Selection(names=(other, "missing")))) == [other]
        assert names_of(ask(tmp_path, selection=Selection(databases=("app", "missing")))) == [app]

    @pytest.mark.parametrize("name", ["..", ".", "/etc/passwd", "../{place}/{name}", "./{name}", "{folder}/{name}", "missing"])
    def test_what_is_no_name_of_a_file_here_gives_no_record(self, tmp_path: Path, name: str) -> None:
        real = put_backup(tmp_path, ago(days=1))
        asked = name.format(folder=tmp_path, place=tmp_path.name, name=real)
        facts = ask(tmp_path, selection=Selection(names=(asked,)), checksum=True)
        assert (facts["count"], facts["total_bytes"], facts["files"], facts["databases"]) == (0, 0, [], [])

    def test_a_directory_a_link_or_a_fifo_gives_no_record(self, tmp_path: Path) -> None:
        real = put_backup(tmp_path, ago(days=1))
        odd = [f"backup_{label}_2026-02-28_12-00-00.dump.gz" for label in ("dir", "link", "fifo")]
        (tmp_path / odd[0]).mkdir()
        (tmp_path / odd[1]).symlink_to(real)
        os.mkfifo(tmp_path / odd[2])
        assert names_of(ask(tmp_path, checksum=True)) == [real]
        assert ask(tmp_path, selection=Selection(names=tuple(odd)))["count"] == 0

    @pytest.mark.parametrize("states", [{"good"}, {"corrupt"}, {"suspect", "unverified"}, set()])
    def test_states_choose(self, tmp_path: Path, states: set[str]) -> None:
        names = put_one_of_each_state(tmp_path)
        facts = ask(tmp_path, states=states)
        assert set(names_of(facts)) == {names[state] for state in states}
        assert facts["count"] == len(states)

    def test_the_newest_are_the_newest_of_each_group(self, tmp_path: Path) -> None:
        expected = set()
        others: tuple[dict[str, Any], ...] = ({}, {"database": "other"}, {"origin": "db2", "database": "third"})
        for over in others:
            names = [put_backup(tmp_path, ago(days=days), **over) for days in range(1, 5)]
            expected |= set(names[:2])
        facts = ask(tmp_path, selection=Selection(newest=2))
        assert set(names_of(facts)) == expected
        assert [group["count"] for group in facts["databases"]] == [2, 2, 2]

    def test_states_choose_before_the_newest_are_taken(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1), verification=FAILED)
        put_backup(tmp_path, ago(days=2), verification=FAILED)
        good = put_backup(tmp_path, ago(days=3))
        put_backup(tmp_path, ago(days=4))
        assert names_of(ask(tmp_path, states=["good"], selection=Selection(newest=1))) == [good]

    def test_names_choose_before_the_newest_are_taken(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=days)) for days in range(1, 5)]
        assert names_of(ask(tmp_path, selection=Selection(names=tuple(names[2:]), newest=1))) == [names[2]]

    def test_a_backup_from_the_future_is_told_of_but_is_never_the_newest(self, tmp_path: Path) -> None:
        future = put_backup(tmp_path, ago(days=-4000))
        good = put_backup(tmp_path, ago(days=3))
        facts = ask(tmp_path)
        assert names_of(facts) == [good, future]
        assert facts["files"][1]["age_seconds"] == 0
        [group] = facts["databases"]
        assert (group["count"], group["newest_good"], group["age_seconds"]) == (2, good, 3 * 86400)
        assert names_of(ask(tmp_path, selection=Selection(newest=5))) == [good]

    def test_with_nothing_but_the_future_there_is_no_newest_good(self, tmp_path: Path) -> None:
        put_backup(tmp_path, NOW + timedelta(hours=1, seconds=1))
        [group] = ask(tmp_path)["databases"]
        assert (group["count"], group["newest_good"], group["age_seconds"]) == (1, None, None)


class TestSorting:
    """By file name, unless told otherwise."""

    def put_some(self, folder: Path) -> dict[SortBy, list[str]]:
        """Put backups into a folder of which each key has another order."""
        made = {
            "a": put_backup(folder, ago(days=1), b"x" * 10, database="a"),
            "b": put_backup(folder, ago(days=4), b"x" * 30, database="b"),
            "c": put_backup(folder, ago(days=2), b"x" * 40, database="c"),
            "d": put_backup(folder, ago(days=3), b"x" * 20, database="d"),
        }
        for hours, database in enumerate("cadb"):
            os.utime(folder / made[database], (0, ago(hours=9 - hours).timestamp()))
        order: dict[SortBy, str] = {"filename": "abcd", "created_at": "bdca", "modified_at": "cadb", "size": "adbc"}
        return {key: [made[database] for database in databases] for key, databases in order.items()}

    def test_the_default_is_by_file_name(self, tmp_path: Path) -> None:
        expected = self.put_some(tmp_path)["filename"]
        assert names_of(ask(tmp_path)) == expected

    @pytest.mark.parametrize("key", SORT_BY)
    def test_every_key_sorts_both_ways(self, tmp_path: Path, key: SortBy) -> None:
        expected = self.put_some(tmp_path)[key]
        assert names_of(ask(tmp_path, sort_by=key)) == expected
        assert names_of(ask(tmp_path, sort_by=key, descending=True)) == expected[::-1]

    @pytest.mark.parametrize("key", SORT_BY)
    def test_of_equal_ones_the_file_name_decides(self, tmp_path: Path, key: SortBy) -> None:
        names = [put_backup(tmp_path, ago(days=1), database=database) for database in "dbac"]
        assert names_of(ask(tmp_path, sort_by=key)) == sorted(names)
        assert names_of(ask(tmp_path, sort_by=key, descending=True)) == sorted(names, reverse=True)

    def test_a_backup_was_created_when_its_manifest_says(self, tmp_path: Path) -> None:
        one = put_payload(tmp_path, "backup_a_2026-02-01_00-00-00.dump")
        late = put_backup(tmp_path, ago(days=1), database="b")
        early = put_backup(tmp_path, ago(days=90), database="c")
        assert names_of(ask(tmp_path, sort_by="created_at")) == [early, one, late]


class TestPages:
    """A part of the files; the sums are of all."""

    @pytest.mark.parametrize(
        ("page", "page_size", "expected", "pages"),
        [
            (1, 2, [0, 1], 3),
            (2, 2, [2, 3], 3),
            (3, 2, [4], 3),
            (4, 2, [], 3),
            (10**9, 2, [], 3),
            (1, 5, [0, 1, 2, 3, 4], 1),
            (1, 6, [0, 1, 2, 3, 4], 1),
            (2, 5, [], 1),
            (5, 1, [4], 5),
            (1, 0, [0, 1, 2, 3, 4], 1),
            (2, 0, [], 1),
        ],
    )
    def test_a_page_is_a_part(self, tmp_path: Path, page: int, page_size: int, expected: list[int], pages: int) -> None:
        names = sorted(put_backup(tmp_path, ago(days=days), b"x" * days) for days in range(1, 6))
        facts = ask(tmp_path, page=page, page_size=page_size)
        assert names_of(facts) == [names[number] for number in expected]
        assert (facts["pages"], facts["count"], facts["total_bytes"]) == (pages, 5, 15)
        [group] = facts["databases"]
        assert (group["count"], group["bytes"], group["newest_good"]) == (5, 15, names[-1])

    def test_pages_follow_the_order(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=days)) for days in range(1, 6)]
        facts = ask(tmp_path, sort_by="created_at", descending=True, page=2, page_size=2)
        assert names_of(facts) == names[2:4]

    @pytest.mark.parametrize("page_size", [0, 1, 100])
    def test_of_nothing_there_is_no_page(self, tmp_path: Path, page_size: int) -> None:
        facts = ask(tmp_path, page_size=page_size)
        assert (facts["pages"], facts["files"]) == (0, [])

    def test_a_page_has_a_hundred_files_unless_told_otherwise(self, tmp_path: Path) -> None:
        for hours in range(101):
            put_backup(tmp_path, ago(hours=hours))
        facts = ask(tmp_path)
        assert (len(facts["files"]), facts["count"], facts["pages"]) == (100, 101, 2)


class TestSummaries:
    """One for each group."""

    def test_equal_names_of_other_origins_instances_or_engines_are_other_groups(self, tmp_path: Path) -> None:
        others: list[dict[str, Any]] = [{}, {"origin": "db2"}, {"instance": "2"}, {"engine": "sqlite"}]
        expected = []
        for days, over in enumerate(others, start=1):
            usual = {"origin": "db1", "engine": "postgresql", "instance": "7300000000000000001", "database": "app"}
            expected.append({**usual, **over, "newest_good": put_backup(tmp_path, ago(days=days), **over), "count": 1})
        groups = ask(tmp_path)["databases"]
        found = [{key: group[key] for key in expected[0]} for group in groups]
        assert sorted(found, key=str) == sorted(expected, key=str)

    def test_a_clusters_globals_and_a_database_of_that_name_are_other_groups(self, tmp_path: Path) -> None:
        globals_backup = put_backup(tmp_path, ago(days=1), kind="globals", database=None)
        database = put_backup(tmp_path, ago(days=1), database="@globals")
        found = {(group["kind"], group["database"]): group["newest_good"] for group in ask(tmp_path)["databases"]}
        assert found == {("globals", None): globals_backup, ("database", "@globals"): database}

    def test_a_backup_without_a_manifest_is_in_a_group_of_its_own(self, tmp_path: Path) -> None:
        good = put_backup(tmp_path, ago(days=2))
        put_payload(tmp_path, "backup_app_2026-02-28_12-00-00.dump")
        groups = ask(tmp_path)["databases"]
        assert {(group["origin"], group["newest_good"], group["age_seconds"]) for group in groups} == {
            ("db1", good, 2 * 86400),
            (None, None, None),
        }

    def test_the_newest_good_passes_over_what_is_not_good(self, tmp_path: Path) -> None:
        names = put_one_of_each_state(tmp_path)
        [group] = [group for group in ask(tmp_path)["databases"] if group["origin"]]
        assert (group["newest_good"], group["age_seconds"], group["count"]) == (names["good"], 4 * 86400, 3)
        assert group["bytes"] == 3 * SIZE + len(b"more")

    @pytest.mark.parametrize(
        "over",
        [
            {"selection": Selection(newest=1)},
            {"selection": Selection(newest=1), "checksum": True},
            {"states": ["corrupt"]},
            {"states": ["corrupt"], "checksum": True},
        ],
    )
    def test_the_newest_good_is_told_where_it_is_not_in_the_list(self, tmp_path: Path, over: dict[str, Any]) -> None:
        good, corrupt = put_backup(tmp_path, ago(days=2)), put_backup(tmp_path, ago(days=1))
        (tmp_path / corrupt).write_bytes(bytes(SIZE) if "checksum" in over else b"short")
        facts = ask(tmp_path, **over)
        assert names_of(facts) == [corrupt]
        [app] = facts["databases"]
        assert (app["count"], app["newest_good"], app["age_seconds"]) == (1, good, 2 * 24 * 3600)

    @pytest.mark.parametrize("over", [{}, {"selection": Selection(newest=1)}, {"states": ["good"]}])
    def test_what_the_list_settles_is_not_asked_for_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: dict[str, Any]
    ) -> None:
        newest = put_backup(tmp_path, ago(days=1))
        put_backup(tmp_path, ago(days=2))
        monkeypatch.delattr(Catalog, "newest_good")
        assert ask(tmp_path, **over)["databases"][0]["newest_good"] == newest

    def test_the_newest_good_is_not_an_older_one_that_is_in_the_list(self, tmp_path: Path) -> None:
        older, newest = put_backup(tmp_path, ago(days=2)), put_backup(tmp_path, ago(days=1))
        assert ask(tmp_path, selection=Selection(names=(older,)))["databases"][0]["newest_good"] == newest

    def test_without_a_good_one_there_is_no_newest_good(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1), verification=FAILED)
        [group] = ask(tmp_path)["databases"]
        assert (group["count"], group["newest_good"], group["age_seconds"]) == (1, None, None)

    def test_the_newest_good_is_the_one_whose_content_is_newest(self, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=2), confirmed_at=ago(minutes=1))
        newest = put_backup(tmp_path, ago(days=1))
        [group] = ask(tmp_path)["databases"]
        assert (group["newest_good"], group["age_seconds"]) == (newest, 86400)

    def test_groups_come_by_database(self, tmp_path: Path) -> None:
        for database in ("c", "a", "b"):
            for origin in ("db2", "db1"):
                put_backup(tmp_path, ago(days=1 if origin == "db1" else 2), database=database, origin=origin)
        found = [(group["database"], group["origin"]) for group in ask(tmp_path)["databases"]]
        assert found == [("a", "db1"), ("a", "db2"), ("b", "db1"), ("b", "db2"), ("c", "db1"), ("c", "db2")]


class TestChecksums:
    """Reading every payload from end to end, when told to."""

    def test_a_flipped_bit_is_found(self, tmp_path: Path) -> None:
        sound = put_backup(tmp_path, ago(days=2))
        flipped = put_backup(tmp_path, ago(days=1))
        (tmp_path / flipped).write_bytes(bytes([PAYLOAD[0] ^ 1]) + PAYLOAD[1:])
        assert {record["state"] for record in ask(tmp_path)["files"]} == {"good"}
        facts = ask(tmp_path, checksum=True)
        assert {record["filename"]: record["state"] for record in facts["files"]} == {sound: "good", flipped: "corrupt"}
        assert facts["databases"][0]["newest_good"] == sound

    def test_a_flipped_bit_is_found_before_states_choose_and_the_newest_are_taken(self, tmp_path: Path) -> None:
        sound = put_backup(tmp_path, ago(days=2))
        flipped = put_backup(tmp_path, ago(days=1))
        (tmp_path / flipped).write_bytes(PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 128]))
        newest = Selection(newest=1)
        assert names_of(ask(tmp_path, checksum=True, states=["good"], selection=newest)) == [sound]
        assert names_of(ask(tmp_path, checksum=True, states=["corrupt"], page_size=1)) == [flipped]

    def test_a_manifest_swapped_with_another_databases_makes_a_payload_unverified_not_corrupt(self, tmp_path: Path) -> None:
        one = put_backup(tmp_path, ago(days=1), b"one", database="one")
        two = put_backup(tmp_path, ago(days=1), b"two", database="two")
        first, second = (tmp_path / manifest_name(name) for name in (one, two))
        said = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(said)
        assert {record["state"] for record in ask(tmp_path, checksum=True)["files"]} == {"unverified"}

    def test_one_that_may_not_be_read_stays_what_it_is_and_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_backup(tmp_path, ago(days=1))

        def refuse(store: LocalStore, name: str) -> object:
            raise StoreFailed(f"Reading {name}: Permission denied.", "See.") from PermissionError()

        monkeypatch.setattr(LocalStore, "chunks", refuse)
        store = LocalStore(str(tmp_path))
        outcome = inventory(InventoryRequest(store, checksum=True), context_at(NOW))
        store.close()
        assert [record["state"] for record in facts_in(outcome)["files"]] == ["good"]
        assert "Permission denied" in outcome.warnings[0]

    def test_an_unverified_one_stays_what_it_is(self, tmp_path: Path) -> None:
        put_payload(tmp_path, "backup_app_2026-02-28_12-00-00.dump")
        put_backup(tmp_path, ago(days=2), manifest_version=2)
        assert {record["state"] for record in ask(tmp_path, checksum=True)["files"]} == {"unverified"}

    def test_only_what_is_meant_is_read(self, tmp_path: Path) -> None:
        read: list[str] = []

        class Watched(LocalStore):
            def chunks(self, name: str) -> Any:
                read.append(name)
                return super().chunks(name)

        one = put_backup(tmp_path, ago(days=1))
        put_backup(tmp_path, ago(days=1), database="other")
        inventory(InventoryRequest(Watched(str(tmp_path)), Selection(databases=("app",)), checksum=True), context_at(NOW))
        assert read == [one]
        read.clear()
        put_backup(tmp_path, ago(days=2))
        inventory(
            InventoryRequest(Watched(str(tmp_path)), Selection(databases=("app",), newest=1), checksum=True), context_at(NOW)
        )
        assert read == [one]
        inventory(InventoryRequest(Watched(str(tmp_path))), context_at(NOW))
        assert read == [one]


def test_a_manifest_that_can_not_be_read_is_reported_and_taken_for_no_other_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = (put_backup(tmp_path, ago(days=day)) for day in (2, 1))
    refuse_to_read(monkeypatch, manifest_name(newer))
    store = LocalStore(str(tmp_path))
    outcome = inventory(InventoryRequest(store), context_at(NOW))
    store.close()
    assert [(one["filename"], one["state"], one["problem"] is None) for one in facts_in(outcome)["files"]] == [
        (older, "good", True),
        (newer, "unverified", False),
    ]
    [warning] = outcome.warnings
    assert newer in warning and "Input/output error" in warning


def test_of_many_manifests_that_can_not_be_read_a_few_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 8):
        refuse_to_read(monkeypatch, manifest_name(put_backup(tmp_path, ago(days=day))))
    store = LocalStore(str(tmp_path))
    outcome = inventory(InventoryRequest(store), context_at(NOW))
    store.close()
    assert len(outcome.warnings) == 4
    assert outcome.warnings[-1] == "4 more manifests can't be read."


def test_a_newer_one_from_the_future_is_named_where_the_newest_are_asked_for(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=1))
    future = put_backup(tmp_path, ago(hours=-2))
    store = LocalStore(str(tmp_path))
    outcome = inventory(InventoryRequest(store, Selection(newest=1)), context_at(NOW))
    store.close()
    assert outcome.warnings == [f"Newer, and passed over: {future} (its time is more than an hour in the future)."]
