"""What is here: which backups are meant, which one is the last good one, and how little is read to tell."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DirectoryUnusable,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import compose, manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection, newest_of_each
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import (
    NOW,
    PAYLOAD,
    ago,
    manifest_of,
    put_backup,
    put_payload,
)

APP = Group("db1", "postgresql", "7300000000000000001", "database", "app")
GLOBALS = APP._replace(kind="globals", database=None)
OLDER_TOOLS = "backup_2026-02-28_12-00-00.dump.gz"


class WatchedStore(LocalStore):
    """A directory that notes which files are read."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.read_names: list[str] = []

    def read(self, name: str, limit: int) -> bytes | None:
        self.read_names.append(name)
        return super().read(name, limit)

    def chunks(self, name: str) -> Iterator[memoryview]:
        self.read_names.append(name)
        return super().chunks(name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WatchedStore]:
    store = WatchedStore(str(tmp_path))
    yield store
    store.close()


def selected(store: LocalStore, selection: Selection = EVERYTHING) -> set[str]:
    found = [backup.name.filename for backup in Catalog(store).select(selection)]
    assert len(found) == len(set(found))
    return set(found)


def newest_good(store: LocalStore, group: Group = APP) -> str | None:
    backup = Catalog(store).newest_good([group], NOW).get(group)
    return None if backup is None else backup.name.filename


def test_the_newest_is_the_same_however_it_is_asked_for(store: WatchedStore) -> None:
    folder = Path(store.location)
    renamed = {
        put_backup(folder, ago(days=1, seconds=late)): ago(days=1, seconds=late - bumped)
        for late, bumped in ((9, 9), (5, 0), (2, 0))
    }
    names = []
    for name, stamp in renamed.items():
        moved = compose("app", stamp, Encoding("gzip"))
        (folder / name).rename(folder / moved)
        (folder / manifest_name(name)).rename(folder / manifest_name(moved))
        names.append(moved)
    assert max(names) == names[0]  # by its name, which it got since all before were taken
    [by_time] = newest_of_each(Catalog(store).select(EVERYTHING), 1, NOW)
    assert newest_good(store) == by_time.name.filename == names[2]


def find(store: LocalStore, filename: str) -> Backup:
    backup = Catalog(store).find(filename)
    assert backup is not None
    return backup


class TestSelecting:
    """Which backups are meant."""

    def test_a_backup_has_what_its_name_its_file_and_its_manifest_say(self, store: WatchedStore, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))
        [backup] = Catalog(store).select(EVERYTHING)
        assert backup.name.filename == name
        assert backup.path == f"{tmp_path}/{name}"
        assert backup.size_bytes == len(PAYLOAD)
        assert backup.modified_at == NOW
        assert backup.manifest == manifest_of(created_at=ago(days=1))
        assert backup.state == "good"

    def test_without_the_place_there_are_none(self, tmp_path: Path) -> None:
        assert selected(LocalStore(str(tmp_path / "missing"))) == set()

    def test_a_place_that_is_no_directory_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DirectoryUnusable):
            selected(LocalStore(str(tmp_path / "file")))

    def test_what_is_no_backup_is_passed_over(self, store: WatchedStore, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))
        for foreign in (
            "README",
            ".lastgood.lock",
            ".lastgood.status.json",
            f".{name}.partial",
            "backup_app_2026-02-30_12-00-00.dump.gz",
            "backup_app_2026-02-27_12-00-00.dump.gz.manifest.json",
            "app.dump",
        ):
            (tmp_path / foreign).write_bytes(b"{}")
        (tmp_path / os.fsdecode(b"backup_\xff_2026-02-27_12-00-00.dump.gz")).touch()
        (tmp_path / "backup_dir_2026-02-27_12-00-00.dump.gz").mkdir()
        (tmp_path / "backup_link_2026-02-27_12-00-00.dump.gz").symlink_to(name)
        os.mkfifo(tmp_path / "backup_fifo_2026-02-27_12-00-00.dump.gz")
        assert selected(store) == {name}

    def test_an_older_tools_backup_is_there_without_a_database(self, store: WatchedStore, tmp_path: Path) -> None:
        put_payload(tmp_path, OLDER_TOOLS)
        [backup] = Catalog(store).select(EVERYTHING)
        assert (backup.name.filename, backup.database, backup.state) == (OLDER_TOOLS, None, "unverified")

    def test_a_foreign_sidecar_is_read_for_what_it_has(self, store: WatchedStore, tmp_path: Path) -> None:
        put_payload(tmp_path, OLDER_TOOLS)
        (tmp_path / manifest_name(OLDER_TOOLS)).write_text('{"database": "app", "engine": "postgresql", "by": "hand"}')
        [backup] = Catalog(store).select(EVERYTHING)
        assert (backup.database, backup.manifest.engine, backup.state) == ("app", "postgresql", "unverified")
        assert selected(store, Selection(databases=("app",))) == {OLDER_TOOLS}
        assert selected(store, Selection(databases=("other",))) == set()

    @pytest.mark.parametrize(
        "make",
        [
            Path.mkdir,
            os.mkfifo,
            lambda path: path.symlink_to(path.with_name("true.json")),
            lambda path: path.write_bytes(b"garbage"),
            lambda path: path.write_bytes(b" " * 2**20 + manifest_of().to_bytes()),
            lambda path: path.write_bytes(manifest_of().to_bytes() + b" " * 2**20),
        ],
    )
    def test_a_sidecar_that_is_no_manifest_leaves_it_unverified(
        self, store: WatchedStore, tmp_path: Path, make: Callable[[Path], Any], bounded: Callable[[Callable[[], Any]], Any]
    ) -> None:
        name = put_backup(tmp_path, ago(days=1))
        sidecar = tmp_path / manifest_name(name)
        sidecar.rename(tmp_path / "true.json")
        make(sidecar)
        [backup] = bounded(lambda: list(Catalog(store).select(EVERYTHING)))
        assert backup.state == "unverified"
        assert bounded(lambda: find(store, name)).state == "unverified"
        assert bounded(lambda: newest_good(store)) is None

    def test_names_mean_just_these(self, store: WatchedStore, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=days)) for days in range(1, 5)]
        store.read_names.clear()
        assert selected(store, Selection(names=(names[0], names[2], names[0]))) == {names[0], names[2]}
        assert set(store.read_names) == {manifest_name(names[0]), manifest_name(names[2])}

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "backup_app_2026-02-27_12-00-00.dump.gz",
            "{folder}/{name}",
            "./{name}",
            "../{place}/{name}",
            "sub/{name}",
            "{name}/",
            "{name}\n",
            "{name}\x00",
            "{sidecar}",
            ".{name}.partial",
            "backup_dir_2026-02-27_12-00-00.dump.gz",
            "backup_link_2026-02-27_12-00-00.dump.gz",
            "backup_fifo_2026-02-27_12-00-00.dump.gz",
            "backup_" + "x" * 5000 + "_2026-02-27_12-00-00.dump.gz",
            "backup_*_2026-02-28_12-00-00.dump.gz",
            "\ud800",
        ],
    )
    def test_a_name_that_is_no_file_here_is_no_backup(self, store: WatchedStore, tmp_path: Path, name: str) -> None:
        real = put_backup(tmp_path, ago(days=1))
        (tmp_path / f".{real}.partial").touch()
        (tmp_path / "sub").mkdir()
        put_backup(tmp_path / "sub", ago(days=1))
        (tmp_path / "backup_dir_2026-02-27_12-00-00.dump.gz").mkdir()
        (tmp_path / "backup_link_2026-02-27_12-00-00.dump.gz").symlink_to(real)
        os.mkfifo(tmp_path / "backup_fifo_2026-02-27_12-00-00.dump.gz")
        asked = name.format(folder=tmp_path, place=tmp_path.name, name=real, sidecar=manifest_name(real))
        assert selected(store, Selection(names=(asked,))) == set()
        assert selected(store, Selection(names=(asked, real))) == {real}
        assert Catalog(store).find(asked) is None

    def test_a_database_means_its_own_backups_and_no_other_databases(self, store: WatchedStore, tmp_path: Path) -> None:
        of = {
            database: {put_backup(tmp_path, ago(days=days), database=database) for days in (1, 2)}
            for database in ("app", "app_prod", "App", "caf\u00e9", "globals", ".hidden", "x" * 200 + "1", "x" * 200 + "2")
        }
        put_backup(tmp_path, ago(days=1), kind="globals", database=None)
        for database, names in of.items():
            assert selected(store, Selection(databases=(database,))) == names
        assert selected(store, Selection(databases=("app", "app", "caf\u00e9", "missing"))) == of["app"] | of["caf\u00e9"]
        assert selected(store, Selection(databases=("x" * 200, "\ud800", ""))) == set()

    def test_a_clusters_globals_are_meant_by_what_stands_in_their_file_names(self, store: WatchedStore, tmp_path: Path) -> None:
        globals_backup = put_backup(tmp_path, ago(days=1), kind="globals", database=None)
        put_backup(tmp_path, ago(days=1), database="globals")
        assert selected(store, Selection(databases=("@globals",))) == {globals_backup}
        namesake = put_backup(tmp_path, ago(days=1), database="@globals")
        assert selected(store, Selection(databases=("@globals",))) == {globals_backup, namesake}

    def test_a_database_is_told_by_the_name_where_there_is_no_manifest(self, store: WatchedStore, tmp_path: Path) -> None:
        name = put_payload(tmp_path, "backup_app_2026-02-28_12-00-00.dump")
        assert selected(store, Selection(databases=("app",))) == {name}

    def test_of_other_databases_nothing_is_read(self, store: WatchedStore, tmp_path: Path) -> None:
        mine = put_backup(tmp_path, ago(days=1))
        put_backup(tmp_path, ago(days=1), database="app_prod")
        store.read_names.clear()
        selected(store, Selection(databases=("app",)))
        assert store.read_names == [manifest_name(mine)]

    def test_names_and_databases_both_have_to_fit(self, store: WatchedStore, tmp_path: Path) -> None:
        app, other = (put_backup(tmp_path, ago(days=1), database=database) for database in ("app", "other"))
        assert selected(store, Selection(names=(app, other), databases=("other",))) == {other}
        assert selected(store, Selection(names=(app,), databases=("other",))) == set()

    def test_a_file_that_goes_away_while_we_look_is_passed_over(self, tmp_path: Path) -> None:
        gone = put_backup(tmp_path, ago(days=1))
        stays = put_backup(tmp_path, ago(days=2))

        class Busy(LocalStore):
            def names(self) -> list[str]:
                found = super().names()
                if (tmp_path / gone).exists():
                    (tmp_path / gone).unlink()
                return found

        assert selected(Busy(str(tmp_path))) == {stays}

    def test_a_manifest_that_goes_away_while_we_look_leaves_it_unverified(self, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))

        class Busy(LocalStore):
            def names(self) -> list[str]:
                found = super().names()
                (tmp_path / manifest_name(name)).unlink()
                return found

        [backup] = Catalog(Busy(str(tmp_path))).select(EVERYTHING)
        assert backup.state == "unverified"


class TestTheNewestGood:
    """The one that counts."""

    def test_there_is_none_where_there_is_no_backup(self, store: WatchedStore, tmp_path: Path) -> None:
        assert newest_good(store) is None
        put_backup(tmp_path, ago(days=1), database="app_prod")
        assert newest_good(store) is None

    def test_it_is_the_newest_and_no_more_is_read_than_its_manifest(self, store: WatchedStore, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=days), database=database) for days in range(1, 20) for database in ("app", "ap")]
        assert newest_good(store) == names[0]
        assert store.read_names == [manifest_name(names[0])]

    def test_the_place_is_listed_once_for_many_databases(self, tmp_path: Path) -> None:
        class Counting(LocalStore):
            listings = 0

            def names(self) -> list[str]:
                self.listings += 1
                return super().names()

        newest = [put_backup(tmp_path, ago(days=1), database=f"app{number}") for number in range(20)]
        groups = [APP._replace(database=f"app{number}") for number in range(20)]
        store = Counting(str(tmp_path))
        found = Catalog(store).newest_good([*groups, APP], NOW)
        assert [found[group].name.filename for group in groups] == newest
        assert (APP in found, store.listings) == (False, 1)

    def test_without_the_place_there_is_none(self, tmp_path: Path) -> None:
        assert Catalog(LocalStore(str(tmp_path / "missing"))).newest_good([APP], NOW) == {}

    def test_what_is_not_good_is_passed_over_and_what_is_older_is_not_read(self, store: WatchedStore, tmp_path: Path) -> None:
        corrupt = put_backup(tmp_path, ago(days=1))
        (tmp_path / corrupt).write_bytes(PAYLOAD[:-1])
        verdict = Verification("structure", "failed", NOW, "")
        suspect = put_backup(tmp_path, ago(days=2), verification=verdict)
        newer_version = put_backup(tmp_path, ago(days=3), manifest_version=2)
        unverified = put_payload(tmp_path, "backup_app_2026-02-25_00-00-00.dump")
        good, *_older = [put_backup(tmp_path, ago(days=days)) for days in range(5, 10)]
        assert newest_good(store) == good
        assert store.read_names == [manifest_name(name) for name in (corrupt, suspect, newer_version, unverified, good)]

    def test_a_backup_from_the_future_is_not_it(self, store: WatchedStore, tmp_path: Path) -> None:
        put_backup(tmp_path, datetime(2038, 1, 19, tzinfo=NOW.tzinfo))
        put_backup(tmp_path, NOW + timedelta(hours=1, seconds=1))
        name = put_backup(tmp_path, ago(days=400))
        assert newest_good(store) == name
        a_little_off = put_backup(tmp_path, NOW + timedelta(hours=1))
        assert newest_good(store) == a_little_off

    @pytest.mark.parametrize(
        "other", [{"origin": "db2"}, {"engine": "sqlite"}, {"instance": "7300000000000000002"}, {"manifest_version": None}]
    )
    def test_it_is_of_the_group_and_no_other(self, store: WatchedStore, tmp_path: Path, other: dict[str, Any]) -> None:
        put_backup(tmp_path, ago(days=1), **other)
        assert newest_good(store) is None
        name = put_backup(tmp_path, ago(days=2))
        assert newest_good(store) == name

    def test_globals_and_a_database_of_that_name_are_kept_apart(self, store: WatchedStore, tmp_path: Path) -> None:
        database = put_backup(tmp_path, ago(days=1), database="@globals")
        assert newest_good(store, GLOBALS) is None
        globals_backup = put_backup(tmp_path, ago(days=2), kind="globals", database=None)
        assert newest_good(store, GLOBALS) == globals_backup
        assert newest_good(store, APP._replace(database="@globals")) == database

    def test_names_that_were_cut_alike_are_kept_apart(self, store: WatchedStore, tmp_path: Path) -> None:
        one, other = (put_backup(tmp_path, ago(days=1), database="x" * 300 + ending) for ending in "12")
        assert newest_good(store, APP._replace(database="x" * 300 + "1")) == one
        assert newest_good(store, APP._replace(database="x" * 300 + "2")) == other

    def test_a_manifest_swapped_with_another_databases_does_not_make_it_good(self, store: WatchedStore, tmp_path: Path) -> None:
        app, other = (put_backup(tmp_path, ago(days=1), database=database) for database in ("app", "other"))
        one, two = (tmp_path / manifest_name(name) for name in (app, other))
        one_said, two_said = one.read_bytes(), two.read_bytes()
        one.write_bytes(two_said)
        two.write_bytes(one_said)
        assert newest_good(store) is None
        assert newest_good(store, APP._replace(database="other")) is None
        assert {backup.state for backup in Catalog(store).select(EVERYTHING)} == {"unverified"}

    def test_an_older_tools_backup_counts_once_it_has_a_manifest(self, store: WatchedStore, tmp_path: Path) -> None:
        older = put_backup(tmp_path, ago(days=9))
        put_payload(tmp_path, OLDER_TOOLS)
        assert newest_good(store) == older
        (tmp_path / manifest_name(OLDER_TOOLS)).write_bytes(manifest_of().to_bytes())
        assert newest_good(store) == OLDER_TOOLS

    def test_of_one_second_the_name_decides(self, store: WatchedStore, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=1))
        last = "backup_app_2026-02-28_12-00-01.dump.gz"
        put_payload(tmp_path, last)
        (tmp_path / manifest_name(last)).write_bytes(manifest_of(created_at=ago(days=1)).to_bytes())
        assert newest_good(store) == last
        [newest] = newest_of_each(Catalog(store).select(EVERYTHING), 1, NOW)
        assert newest.name.filename == last
