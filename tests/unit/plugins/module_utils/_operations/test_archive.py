"""Archives: what goes in, what stops them, what is known again, and what is left when something goes wrong."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import Member
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS, format_by_ending
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupMissing,
    DestinationUnusable,
    DirectoryUnusable,
    Locked,
    NoSpace,
    NothingFound,
    PayloadCorrupt,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification, from_bytes
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import archive_partial_name, manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection
from ansible_collections.lastgood.database.plugins.module_utils._operations.archive import ArchiveRequest, archive
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.contexts import context_at, diff_in
from ansible_collections.lastgood.database.tests.support.observe import state_of
from ansible_collections.lastgood.database.tests.support.places import common_directory, only_root, tiny_file_system
from ansible_collections.lastgood.database.tests.support.processes import as_unprivileged, child, hear

each_format = pytest.mark.parametrize("ending", FORMATS)


class WatchedStore(LocalStore):
    """Notes what is read from end to end, and does something before the first chunk."""

    before_reading: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.read_whole: list[str] = []

    def chunks(self, name: str) -> Any:
        self.read_whole.append(name)
        self.before_reading()
        return super().chunks(name)


class Place:
    """A directory of backups, and one for archives."""

    def __init__(self, top: Path) -> None:
        self.backups = top / "backups"
        self.archives = top / "archives"
        self.backups.mkdir(exist_ok=True)
        self.archives.mkdir(exist_ok=True)

    def archive(
        self, filename: str = "all.tar", selection: Selection = EVERYTHING, *, check_mode: bool = False, **over: Any
    ) -> Outcome:
        self.store = over.pop("store", None) or WatchedStore(str(self.backups))
        folder = over.pop("folder", None) or LocalStore(str(self.archives))
        kind = format_by_ending(filename) or FORMATS["tar"]
        try:
            request = ArchiveRequest(self.store, selection, folder, filename, kind, **over)
            return archive(request, context_at(NOW, check=check_mode))
        finally:
            self.store.close()
            folder.close()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.archives))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def content_of(path: Path) -> dict[str, bytes]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as found:
            return {name: found.read(name) for name in found.namelist()}
    with tarfile.open(path) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]


class TestContent:
    """What is in an archive."""

    @each_format
    def test_it_has_an_index_then_each_payload_with_its_manifest(self, place: Place, ending: str) -> None:
        second = put_backup(place.backups, ago(days=1), b"second")
        first = put_backup(place.backups, ago(days=2), b"first")
        report = place.archive(f"all.{ending}")
        path = place.archives / f"all.{ending}"
        content = content_of(path)
        assert list(content) == ["index.json", first, manifest_name(first), second, manifest_name(second)]
        for name in list(content)[1:]:
            assert content[name] == (place.backups / name).read_bytes()
        assert json.loads(content["index.json"]) == {"index_version": 1, "backups": list(report.values["members"])}
        assert path.stat().st_mode & 0o777 == 0o600
        values = report.values
        assert (values["changed"], values["dest"], values["missing"]) == (True, str(path), [])
        assert (values["bytes"], values["sha256"]) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        assert values["members"][0]["sha256"] == hashlib.sha256(b"first").hexdigest()
        assert place.names() == [path.name]

    @each_format
    def test_the_same_backups_give_the_same_bytes(self, place: Place, ending: str) -> None:
        for days in (1, 2, 3):
            put_backup(place.backups, ago(days=days), os.urandom(100))
        one, other = place.archive(f"one.{ending}"), place.archive(f"other.{ending}")
        assert one.values["sha256"] == other.values["sha256"]

    def test_unverified_and_suspect_ones_go_in_and_the_index_says_so(self, place: Place) -> None:
        suspect = put_backup(place.backups, ago(days=1), verification=Verification("restore", "failed", NOW, "words"))
        unverified = put_payload(place.backups, "backup_app_2026-02-20_12-00-00.dump")
        found = {record["filename"]: record for record in place.archive().values["members"]}
        assert (found[suspect]["state"], found[unverified]["state"]) == ("suspect", "unverified")
        assert found[unverified]["sha256"] == hashlib.sha256(PAYLOAD).hexdigest()
        assert found[unverified]["manifest"] is None

    def test_a_manifest_that_is_another_backups_makes_a_payload_unverified_and_does_not_stop_it(self, place: Place) -> None:
        names = [put_backup(place.backups, ago(days=1), name.encode(), database=name) for name in ("one", "two")]
        first, second = (place.backups / manifest_name(name) for name in names)
        said = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(said)
        found = [(record["state"], record["sha256"]) for record in place.archive().values["members"]]
        assert found == [("unverified", hashlib.sha256(data).hexdigest()) for data in (b"one", b"two")]

    def test_owner_and_mode_are_as_told(self, place: Place) -> None:
        put_backup(place.backups, ago(days=1))
        place.archive(folder=LocalStore(str(place.archives), FileAttributes(mode=0o640)))
        assert (place.archives / "all.tar").stat().st_mode & 0o777 == 0o640

    def test_names_with_anything_in_them_come_through(self, place: Place) -> None:
        names = {
            put_backup(place.backups, ago(days=1), database=name)
            for name in ("caf\u00e9 \u2713", "two\nlines", "../up", "y" * 300)
        }
        for ending in FORMATS:
            place.archive(f"new\nline \u00e9.{ending}")
            assert names <= set(content_of(place.archives / f"new\nline \u00e9.{ending}"))

    def test_a_link_and_a_directory_with_a_backups_name_are_no_backups(self, place: Place) -> None:
        name = put_backup(place.backups, ago(days=1))
        (place.backups / "backup_link_2026-02-28_12-00-00.dump").symlink_to(name)
        (place.backups / "backup_folder_2026-02-28_12-00-00.dump").mkdir()
        assert [record["filename"] for record in place.archive().values["members"]] == [name]


class TestSelection:
    """Which backups go in."""

    def test_names_databases_and_newest_are_taken(self, place: Place) -> None:
        old, new = (put_backup(place.backups, ago(days=days)) for days in (2, 1))
        other = put_backup(place.backups, ago(days=3), database="other")
        for selection, expected in (
            (Selection(names=(old,)), [old]),
            (Selection(databases=("other",)), [other]),
            (Selection(newest=1), [new, other]),
        ):
            assert [one["filename"] for one in place.archive("some.tar", selection).values["members"]] == expected

    def test_nothing_found_is_an_error_even_where_missing_ones_are_ignored(self, place: Place) -> None:
        for ignore_missing in (False, True):
            for selection in (EVERYTHING, Selection(names=("backup_app_2026-02-20_12-00-00.dump",))):
                with pytest.raises(NothingFound):
                    place.archive(selection=selection, ignore_missing=ignore_missing)
        assert place.names() == []

    def test_missing_ones_are_an_error_by_name_unless_ignored(self, place: Place) -> None:
        name = put_backup(place.backups, ago(days=1))
        selection = Selection(names=(name, "../etc/passwd", "gone"))
        with pytest.raises(BackupMissing, match=r"\.\./etc/passwd, gone"):
            place.archive(selection=selection)
        report = place.archive(selection=selection, ignore_missing=True)
        assert report.values["missing"] == ["../etc/passwd", "gone"]
        with pytest.raises(BackupMissing, match="nobodys"):
            place.archive(selection=Selection(databases=("app", "nobodys")))


class TestAgain:
    """A second run."""

    @each_format
    def test_the_same_selection_is_known_without_reading_a_payload(self, place: Place, ending: str) -> None:
        name = put_backup(place.backups, ago(days=1))
        first = place.archive(f"all.{ending}")
        (place.backups / name).chmod(0)
        before = state_of(place.archives)
        second = place.archive(f"all.{ending}")
        assert outcome_and_reads(place, second) == (False, [])
        assert (second.values["sha256"], second.values["bytes"]) == (first.values["sha256"], first.values["bytes"])
        assert state_of(place.archives) == before

    def test_one_without_a_manifest_is_read_and_a_change_in_it_is_seen(self, place: Place) -> None:
        name = put_payload(place.backups, "backup_app_2026-02-20_12-00-00.dump")
        place.archive()
        assert outcome_and_reads(place, place.archive()) == (False, [name])
        put_payload(place.backups, name, PAYLOAD[::-1])
        assert place.archive().values["changed"]

    def test_a_confirmation_is_no_change_and_a_verdict_is_one(self, place: Place) -> None:
        name = put_backup(place.backups, ago(days=2))
        place.archive()
        path = place.backups / manifest_name(name)
        confirmed = from_bytes(path.read_bytes())._replace(
            confirmed_at=NOW, verification=Verification("restore", "passed", NOW, "x" * 99)
        )
        path.write_bytes(confirmed.to_bytes())
        assert not place.archive().values["changed"]
        path.write_bytes(confirmed._replace(verification=Verification("restore", "failed", NOW, "")).to_bytes())
        assert place.archive().values["changed"]

    def test_one_more_one_less_and_another_payload_are_changes(self, place: Place) -> None:
        put_backup(place.backups, ago(days=2))
        place.archive()
        more = put_backup(place.backups, ago(days=1))
        assert place.archive().values["changed"]
        put_backup(place.backups, ago(days=1), b"another")
        assert place.archive().values["changed"]
        (place.backups / more).unlink()
        assert place.archive().values["changed"]
        assert not place.archive().values["changed"]

    @each_format
    def test_an_archive_that_was_cut_or_grew_is_made_anew(self, place: Place, ending: str) -> None:
        put_backup(place.backups, ago(days=1), os.urandom(5000))
        path = place.archives / f"all.{ending}"
        whole = place.archive(path.name).values["sha256"]
        for size in (path.stat().st_size - 1, path.stat().st_size + 1, 1000, 0):
            os.truncate(path, size)
            report = place.archive(path.name)
            assert (report.values["changed"], report.values["sha256"]) == (True, whole)

    @each_format
    def test_another_file_or_a_hostile_index_in_its_place_is_replaced(self, place: Place, ending: str) -> None:
        put_backup(place.backups, ago(days=1))
        path = place.archives / f"all.{ending}"
        whole = place.archive(path.name).values["sha256"]
        record = {"filename": "a", "bytes": 1, "created_at": "2026-01-01 00:00:00", "manifest": None}
        hostile: list[Any] = [
            [],
            {"index_version": 2},
            {"index_version": 1, "backups": []},
            {"index_version": 1, "backups": 5},
            *(
                {"index_version": 1, "backups": [{**record, key: value}]}
                for key in record
                for value in (None, -1, 1.5, 1 << 99, "\u00e9", [])
            ),
        ]
        for index in hostile:
            path.write_bytes(index_alone(ending, json.dumps(index).encode()))
            assert (place.archive(path.name).values["changed"], place.archive(path.name).values["sha256"]) == (True, whole)

    def test_check_mode_says_what_would_be_and_writes_nothing(self, place: Place) -> None:
        put_backup(place.backups, ago(days=1))
        predicted = place.archive(check_mode=True)
        assert (predicted.values["changed"], predicted.values["sha256"], place.names()) == (True, None, [])
        made = place.archive()
        assert predicted.values["bytes"] == made.values["bytes"]
        assert diff_in(predicted) == diff_in(made)
        assert diff_in(predicted)["before"] == ""
        again = place.archive(check_mode=True)
        assert (again.values["changed"], again.values["sha256"]) == (False, made.values["sha256"])
        assert diff_in(again)["before"] == diff_in(again)["after"] != ""


def index_alone(ending: str, data: bytes) -> bytes:
    class Memory(io.BytesIO):
        def write_at(self, offset: int, data: bytes) -> None:
            self.getbuffer()[offset : offset + len(data)] = data

    output = Memory()
    writer = FORMATS[ending].writer(output)  # type: ignore[arg-type]
    writer.add(Member("index.json", len(data), NOW), [data])
    writer.finish()
    return output.getvalue()


def outcome_and_reads(place: Place, report: Outcome) -> tuple[bool, list[str]]:
    return report.values["changed"], place.store.read_whole


class TestFaults:
    """The archive that was there stays, nothing half is left, and the next run finishes the job."""

    def fails(self, place: Place, error: type[Exception], words: str = "", **over: Any) -> None:
        before = state_of(place.archives)
        with pytest.raises(error, match=words):
            place.archive(**over)
        after = state_of(place.archives)
        assert {path: facts for path, facts in after.items() if path != str(place.archives)} == {
            path: facts for path, facts in before.items() if path != str(place.archives)
        }

    @pytest.fixture
    def name(self, place: Place) -> str:
        """A backup that came after the archive was made."""
        put_backup(place.backups, ago(days=2))
        place.archive()
        return put_backup(place.backups, ago(days=1), os.urandom(5000))

    def test_a_rotten_payload_stops_it_by_name(self, place: Place, name: str) -> None:
        with (place.backups / name).open("r+b") as file:
            file.write(b"rot")
        self.fails(place, PayloadCorrupt, name)

    def test_a_payload_known_to_be_corrupt_stops_it_by_name_before_anything_is_read(self, place: Place, name: str) -> None:
        os.truncate(place.backups / name, 10)
        self.fails(place, PayloadCorrupt, name)
        assert place.store.read_whole == []

    @pytest.mark.parametrize("size", [10, 9000])
    def test_a_payload_that_changes_its_size_after_the_plan_stops_it(self, place: Place, name: str, size: int) -> None:
        store = WatchedStore(str(place.backups))
        store.before_reading = lambda: os.truncate(place.backups / name, size)
        self.fails(place, PayloadCorrupt, name, store=store)

    def test_a_payload_that_vanishes_after_the_plan_stops_it(self, place: Place, name: str) -> None:
        store = WatchedStore(str(place.backups))
        store.before_reading = lambda: (place.backups / name).unlink(missing_ok=True)
        self.fails(place, BackupMissing, name, store=store)
        assert not place.archive().values["changed"]

    @pytest.mark.parametrize("ending", FORMATS)
    def test_a_run_that_is_killed_leaves_a_partial_and_the_next_one_sweeps_it(self, place: Place, name: str, ending: str) -> None:
        path = place.archives / f"all.{ending}"
        path.write_bytes(b"what was there")

        def work(talk: Any) -> None:
            store = WatchedStore(str(place.backups))

            def half() -> None:
                if len(store.read_whole) == 2:
                    talk.send("half")
                    talk.recv()

            store.before_reading = half
            place.archive(path.name, store=store)

        with child(work) as (process, talk):
            assert hear(talk) == "half"
            with pytest.raises(Locked):
                place.archive(path.name)
            process.kill()
            process.join()
        assert path.read_bytes() == b"what was there"
        assert f".lastgood.archive.{path.name}.partial" in place.names()
        assert place.archive(path.name).values["changed"]
        assert f".lastgood.archive.{path.name}.partial" not in place.names()
        assert name in content_of(path)

    def test_what_killed_runs_left_is_swept_whatever_their_archives_were_to_be_called(self, place: Place) -> None:
        put_backup(place.backups, ago(days=1))
        dead = [place.archives / archive_partial_name(f"2026-01-0{day}.zip") for day in (1, 2)]
        alive = place.archives / archive_partial_name("2026-01-03.zip")
        foreign = place.archives / ".2026-01-04.zip.partial"
        for path in (*dead, alive, foreign):
            path.write_bytes(b"half")
        with alive.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert place.archive("all.zip", check_mode=True).warnings == []
            assert [warning.rpartition(" ")[2] for warning in sorted(place.archive("all.zip").warnings)] == list(map(str, dead))
        assert place.names() == sorted([alive.name, foreign.name, "all.zip"])

    def test_a_name_that_could_be_taken_for_ours_is_refused(self, place: Place) -> None:
        name = put_backup(place.backups, ago(days=1))
        for filename in (name, manifest_name(name), f".{name}.partial", ".lastgood.lock", "backup_x_2026-02-28_12-00-00.dump"):
            self.fails(place, DestinationUnusable, "another", filename=filename)
        assert place.archive("inside.tar", folder=LocalStore(str(place.backups))).values["changed"]
        assert not place.archive("inside.tar", folder=LocalStore(str(place.backups))).values["changed"]

    def test_a_link_a_directory_and_a_pipe_are_not_written_to(self, place: Place, name: str) -> None:
        (place.archives / "link.tar").symlink_to(place.archives / "all.tar")
        (place.archives / "folder.tar").mkdir()
        os.mkfifo(place.archives / "pipe.tar")
        for filename in ("link.tar", "folder.tar", "pipe.tar"):
            self.fails(place, DestinationUnusable, filename, filename=filename)

    def test_a_link_in_the_partials_place_is_not_followed(self, place: Place, name: str) -> None:
        victim = place.backups / "victim"
        victim.write_bytes(b"keep")
        (place.archives / ".lastgood.archive.all.tar.partial").symlink_to(victim)
        with pytest.raises(Exception, match=r"\.lastgood\.archive\.all\.tar\.partial"):
            place.archive()
        assert victim.read_bytes() == b"keep"

    def test_a_missing_directory_and_one_that_is_a_link_are_errors(self, place: Place, tmp_path: Path, name: str) -> None:
        (tmp_path / "link").symlink_to(place.archives)
        for folder in ("missing", "link"):
            with pytest.raises(DirectoryUnusable):
                place.archive(folder=LocalStore(str(tmp_path / folder)))

    @only_root
    def test_a_full_disk_is_told_before_anything_is_written(self, place: Place, name: str, tmp_path: Path) -> None:
        put_backup(place.backups, ago(hours=1), os.urandom(200_000))
        with tiny_file_system(tmp_path / "tiny") as tiny:
            with pytest.raises(NoSpace, match="needs"):
                place.archive(folder=LocalStore(str(tiny)))
            assert list(tiny.iterdir()) == []

    @only_root
    @pytest.mark.parametrize("ending", FORMATS)
    def test_a_disk_that_fills_up_meanwhile_leaves_what_was_there(
        self, place: Place, name: str, tmp_path: Path, ending: str
    ) -> None:
        put_backup(place.backups, ago(hours=1), os.urandom(30_000))
        with tiny_file_system(tmp_path / "tiny") as tiny:
            (tiny / f"all.{ending}").write_bytes(b"before")
            store = WatchedStore(str(place.backups))
            store.before_reading = lambda: (tiny / "others").write_bytes(bytes(28 * 1024))
            with pytest.raises(NoSpace, match="No space left"):
                place.archive(f"all.{ending}", store=store, folder=LocalStore(str(tiny)))
            assert {path.name for path in tiny.iterdir()} == {f"all.{ending}", "others"}
            assert (tiny / f"all.{ending}").read_bytes() == b"before"


def test_a_directory_that_may_not_be_written_to_is_an_error_and_one_of_backups_need_not_be() -> None:
    with common_directory() as top:

        def work() -> None:
            place = Place(top)
            put_backup(place.backups, ago(days=1))
            place.backups.chmod(0o500)
            assert place.archive().values["changed"]
            put_again = place.archives / "all.tar"
            put_again.write_bytes(b"other")
            place.archives.chmod(0o500)
            for check_mode in (True, False):
                with pytest.raises(DirectoryUnusable, match="may not write"):
                    place.archive(check_mode=check_mode)
            place.archives.chmod(0o700)
            place.backups.chmod(0o700)

        as_unprivileged(work)
