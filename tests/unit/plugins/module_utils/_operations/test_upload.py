"""An upload to a store in memory: what is sent, what is not, and what a connection that fails costs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionLost,
    DirectoryMissing,
    NoSpace,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import relabelled
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import from_bytes
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name, upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.upload import UploadRequest, upload
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import NewPayload, Store, Written
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, manifest_of, put_backup
from ansible_collections.lastgood.database.tests.support.contexts import context_at, diff_in, reporting
from ansible_collections.lastgood.database.tests.support.memory_store import MemoryStore

Files = dict[str, bytes]

NIGHT = context_at(NOW)


def send(folder: Path, connect: Callable[[], Store], context: Context = NIGHT, **over: Any) -> Outcome:
    request = UploadRequest(source=LocalStore(str(folder)), selection=EVERYTHING, connect=connect, **over)
    return upload(request, context)


def failures_in(outcome: Outcome) -> dict[str, str]:
    """Return the code of the error of each backup that was not sent."""
    return {one["filename"]: one["error"]["code"] for one in outcome.values["failed_uploads"]}


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Three backups, the oldest first."""
    return [put_backup(tmp_path, ago(days=days), str(days).encode() * 100_000) for days in (3, 2, 1)]


def test_what_is_sent_is_good_there_and_a_second_run_sends_nothing(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    report = send(tmp_path, lambda: MemoryStore(files))
    assert report.failure is None
    values = report.values
    assert (values["changed"], values["uploaded"], values["bytes"]) == (True, names, 300_000)
    copies = list(Catalog(MemoryStore(files)).select(EVERYTHING))
    assert [(copy.name.filename, copy.state) for copy in copies] == [(name, "good") for name in names]
    again = send(tmp_path, lambda: MemoryStore(files)).values
    assert (again["changed"], again["up_to_date"], again["bytes"]) == (False, names, 0)


def test_check_mode_says_the_same_and_writes_nothing(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    foretold = send(tmp_path, lambda: MemoryStore(files), context_at(NOW, check=True))
    assert files == {}
    assert foretold.values["uploaded"] == send(tmp_path, lambda: MemoryStore(files)).values["uploaded"] == names


def test_a_missing_place_is_made_where_the_store_allows_it(tmp_path: Path, names: list[str]) -> None:
    class Careful(MemoryStore):
        creates_directory = False

    with pytest.raises(DirectoryMissing):
        send(tmp_path, lambda: Careful(None))
    assert send(tmp_path, lambda: MemoryStore(None), connections=1).values["uploaded"] == names


def test_a_store_that_fails_at_one_backup_sends_the_others(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}

    class Full(MemoryStore):
        def put(self, payload: NewPayload, before_chunk: Callable[[int], None], *, reads_back: bool) -> Written:
            if payload.name == names[1]:
                raise NoSpace("Writing: the disk is full.", "Make room.")
            return super().put(payload, before_chunk, reads_back=reads_back)

    report = send(tmp_path, lambda: Full(files))
    assert report.values["uploaded"] == [names[0], names[2]]
    assert report.failure is not None
    assert report.failure.code == "no_space"


def test_a_connection_that_is_lost_is_opened_anew_for_the_next_backup(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    closed: list[bool] = []

    class Shaky(MemoryStore):
        def put(self, payload: NewPayload, before_chunk: Callable[[int], None], *, reads_back: bool) -> Written:
            if payload.name == names[0]:
                raise ConnectionLost("The connection was cut.", "Run it again.")
            return super().put(payload, before_chunk, reads_back=reads_back)

        def close(self) -> None:
            closed.append(True)

    report = send(tmp_path, lambda: Shaky(files), connections=1)
    assert report.values["uploaded"] == names[1:]
    assert list(failures_in(report)) == names[:1]
    assert len(closed) == 2  # after the failure, and at the end


def test_no_more_connections_are_made_than_there_are_backups(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    made: list[Store] = []

    def connect() -> Store:
        made.append(MemoryStore(files))
        return made[-1]

    assert send(tmp_path, connect, connections=8).values["uploaded"] == names
    assert len(made) == 3


def test_a_run_that_is_stopped_says_so_of_all_that_was_not_sent(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    stopped = threading.Event()

    class Stopping(MemoryStore):
        def put(self, payload: NewPayload, before_chunk: Callable[[int], None], *, reads_back: bool) -> Written:
            written = super().put(payload, before_chunk, reads_back=reads_back)
            stopped.set()
            return written

    report = send(tmp_path, lambda: Stopping(files), context_at(NOW, is_stopped=stopped.is_set), connections=1)
    assert report.values["uploaded"] == names[:1]
    assert failures_in(report) == dict.fromkeys(names[1:], "interrupted")
    assert report.failure is not None
    assert report.failure.code == "interrupted"


def test_a_copy_without_a_manifest_gets_one_and_an_older_confirmation_is_renewed(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    send(tmp_path, lambda: MemoryStore(files))
    del files[manifest_name(names[0])]
    files[manifest_name(names[1])] = manifest_of(b"2" * 100_000, created_at=ago(days=2), confirmed_at=ago(days=2)).to_bytes()
    (tmp_path / manifest_name(names[1])).write_bytes(
        manifest_of(b"2" * 100_000, created_at=ago(days=2), confirmed_at=ago(days=1)).to_bytes()
    )
    report = send(tmp_path, lambda: MemoryStore(files))
    assert (report.values["refreshed"], report.values["uploaded"]) == (names[:2], [])
    assert report.values["changed"]  # by the manifest that was missing: a newer confirmation alone is no change
    assert files[manifest_name(names[0])] == (tmp_path / manifest_name(names[0])).read_bytes()


def change(manifest: bytes, pinned: bool | None = None, at: datetime = NOW, **labels: str | None) -> bytes:
    """Return a manifest with another pin and labels."""
    return relabelled(from_bytes(manifest), pinned, labels, at).to_bytes()


def marks(manifest: bytes) -> tuple[bool, dict[str, str]]:
    found = from_bytes(manifest)
    return bool(found.pinned), dict(found.labels or {})


class TestPinsAndLabels:
    """What changed later counts, of the pin and of the labels."""

    @pytest.fixture
    def files(self, tmp_path: Path, names: list[str]) -> Files:
        files: Files = {}
        send(tmp_path, lambda: MemoryStore(files))
        return files

    def label(self, folder: Path, name: str, *args: Any, **labels: str | None) -> None:
        path = folder / manifest_name(name)
        path.write_bytes(change(path.read_bytes(), *args, **labels))

    def test_those_of_a_backup_are_carried_to_its_copy_and_a_second_run_changes_nothing(
        self, tmp_path: Path, names: list[str], files: Files
    ) -> None:
        for pinned, labels in ((True, {"app": "1"}), (False, {"app": None})):
            self.label(tmp_path, names[0], pinned, **labels)  # both times in one second
            foretold = send(tmp_path, lambda: MemoryStore(files), context_at(NOW, check=True))
            before = dict(files)
            report = send(tmp_path, lambda: MemoryStore(files))
            assert {**report.values, "seconds": 0} == {**foretold.values, "seconds": 0}
            assert (report.values["changed"], report.values["refreshed"]) == (True, [names[0]])
            assert f"{names[0]}  (an older pin or labels)" in diff_in(report)["before"]
            assert f"{names[0]}\n" in diff_in(report)["after"]
            assert files != before
            assert marks(files[manifest_name(names[0])]) == (pinned, {key: one for key, one in labels.items() if one})
            again = send(tmp_path, lambda: MemoryStore(files))
            assert (again.values["changed"], again.values["refreshed"]) == (False, [])

    def test_a_pin_that_was_made_on_the_server_stays_though_labels_changed_later(
        self, tmp_path: Path, names: list[str], files: Files
    ) -> None:
        remote = manifest_name(names[0])
        files[remote] = change(files[remote], True, ago(hours=1))
        assert not send(tmp_path, lambda: MemoryStore(files)).values["changed"]
        self.label(tmp_path, names[0], app="1")
        assert send(tmp_path, lambda: MemoryStore(files)).values["changed"]
        assert marks(files[remote]) == (True, {"app": "1"})

    def test_a_newer_confirmation_takes_no_pin_from_the_server(self, tmp_path: Path, names: list[str], files: Files) -> None:
        remote = manifest_name(names[2])
        files[remote] = change(files[remote], True, ago(hours=1))
        path = tmp_path / manifest_name(names[2])
        path.write_bytes(from_bytes(path.read_bytes())._replace(confirmed_at=NOW).to_bytes())
        assert send(tmp_path, lambda: MemoryStore(files)).values["refreshed"] == [names[2]]
        assert (marks(files[remote]), from_bytes(files[remote]).confirmed_at) == ((True, {}), NOW)

    def test_a_pin_that_comes_to_the_server_after_the_plan_stays(self, tmp_path: Path, names: list[str], files: Files) -> None:
        remote = manifest_name(names[0])

        class Disturbed(MemoryStore):
            reads = 0

            def read_many(self, names: Iterable[str], limit: int) -> Iterator[bytes | StoreFailed | None]:
                names = list(names)
                found = list(super().read_many(names, limit))
                if remote in names and not self.reads:
                    self.reads += 1
                    files[remote] = change(files[remote], True)
                return iter(found)

        self.label(tmp_path, names[0], app="1")
        send(tmp_path, lambda: Disturbed(files))
        assert marks(files[remote]) == (True, {"app": "1"})

    def test_a_copy_that_is_sent_anew_keeps_the_pin_that_it_had(self, tmp_path: Path, names: list[str], files: Files) -> None:
        remote = manifest_name(names[0])
        files[remote] = change(files[remote], True)
        files[names[0]] = b"rotten"
        assert send(tmp_path, lambda: MemoryStore(files)).values["uploaded"] == [names[0]]
        assert marks(files[remote]) == (True, {})

    @pytest.mark.parametrize("over", [{"manifest_version": 2}, {"origin": None}, {"payload_sha256": None}])
    def test_a_copy_whose_manifest_is_mended_keeps_the_pin_that_it_had(
        self, tmp_path: Path, names: list[str], files: Files, over: dict[str, Any]
    ) -> None:
        remote = manifest_name(names[0])
        files[remote] = from_bytes(change(files[remote], True))._replace(**over).to_bytes()
        assert send(tmp_path, lambda: MemoryStore(files)).values["refreshed"] == [names[0]]
        assert (marks(files[remote]), from_bytes(files[remote]).usable) == ((True, {}), True)

    def test_another_backup_of_the_name_that_is_pinned_is_not_replaced(
        self, tmp_path: Path, names: list[str], files: Files
    ) -> None:
        files[manifest_name(names[0])] = manifest_of(b"other", created_at=ago(days=3), pinned=True).to_bytes()
        assert failures_in(send(tmp_path, lambda: MemoryStore(files))) == {names[0]: "name_conflict"}

    def test_a_pinned_one_that_the_server_lacks_is_sent_whatever_is_newer_there(
        self, tmp_path: Path, names: list[str], files: Files
    ) -> None:
        for retention in (None, Rules(last=1)):
            for name in names[:2]:
                files.pop(name, None), files.pop(manifest_name(name), None)
            self.label(tmp_path, names[0], True)
            report = send(tmp_path, lambda: MemoryStore(files), retention=retention)
            assert report.values["uploaded"] == [names[0]]
            assert marks(files[manifest_name(names[0])]) == (True, {})

    def test_an_account_that_may_replace_nothing_is_an_error(self, tmp_path: Path, names: list[str], files: Files) -> None:
        class AppendOnly(MemoryStore):
            def replace(self, name: str, data: bytes, like: str | None = None) -> None:
                if name in files:
                    raise StoreFailed(f"Writing {name}: permission denied.", "Check the account.")
                super().replace(name, data, like)

        self.label(tmp_path, names[0], True)
        new = put_backup(tmp_path, NOW)
        report = send(tmp_path, lambda: AppendOnly(files))
        assert (failures_in(report), report.values["uploaded"]) == ({names[0]: "store_failed"}, [new])


def test_an_older_backup_that_the_server_lacks_is_sent_only_where_a_run_had_begun_to(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    send(tmp_path, lambda: MemoryStore(files))
    for name in names[:2]:
        del files[name], files[manifest_name(name)]
    begun = manifest_of(b"2" * 100_000).payload_sha256
    files[upload_name(names[1], str(begun))] = b"2" * 50_000
    report = send(tmp_path, lambda: MemoryStore(files))
    assert tuple(report.values[key] for key in ("uploaded", "resumed", "bytes")) == ([names[1]], [names[1]], 50_000)
    assert [one["filename"] for one in report.values["not_sent"]] == [names[0]]


def test_a_limit_of_the_bandwidth_holds_over_all_connections(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    report = send(tmp_path, lambda: MemoryStore(files), bandwidth_limit=600_000)
    assert report.values["uploaded"] == names
    assert report.values["seconds"] >= 0.3  # the first piece goes at once, and each of the others after those before it


@pytest.mark.parametrize("connections", [1, 3])
def test_the_bytes_that_are_sent_are_reported_out_of_those_of_all_backups(
    tmp_path: Path, names: list[str], connections: int
) -> None:
    context, reported = reporting(NIGHT)
    files: Files = {}
    send(tmp_path, lambda: MemoryStore(files), context, connections=connections)
    assert {(title, expected) for title, _done, expected in reported} == {("3 backups", 300_000)}
    assert max(done for _title, done, _expected in reported) == 300_000
    assert {100_000, 200_000} <= {done for _title, done, _expected in reported}


def test_what_an_earlier_run_sent_is_reported_as_done(tmp_path: Path) -> None:
    data = b"1" * 100_000
    name = put_backup(tmp_path, ago(days=1), data)
    files: Files = {upload_name(name, str(manifest_of(data).payload_sha256)): data[:60_000]}
    context, reported = reporting(NIGHT)
    assert send(tmp_path, lambda: MemoryStore(files), context).values["resumed"] == [name]
    assert reported[0] == ("app", 0, 100_000)
    assert reported[-1] == ("app", 100_000, 100_000)


def test_where_nothing_is_sent_nothing_is_reported(tmp_path: Path, names: list[str]) -> None:
    files: Files = {}
    send(tmp_path, lambda: MemoryStore(files))
    context, reported = reporting(NIGHT)
    send(tmp_path, lambda: MemoryStore(files), context)
    assert reported == []
