"""What one database's trouble with the host, a wrong clock and a failing disk do to backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Encoder
from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding, PayloadCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import SqliteDumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, SeveralFailed, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import relabelled
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name, upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection, newest_of_each
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump import DumpRequest, dump
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from ansible_collections.lastgood.database.tests.support.places import refuse_to_read


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_a_host_that_gives_out_at_one_database_loses_no_other_s_result(tmp_path: Path, error: Exception) -> None:
    class Greedy(PlainCodec):
        """Asks for too much, once."""

        has_asked = False

        @contextlib.contextmanager
        def encoding(self, write: Callable[[bytes | memoryview], object]) -> Iterator[Encoder]:
            if not self.has_asked:
                self.has_asked = True
                raise error
            with super().encoding(write) as encoder:
                yield encoder

    paths = []
    for number in range(3):
        path = tmp_path / f"app{number}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("create table t (n int)")
        paths.append(str(path))
    engine, store = SqliteDumper(SqliteDumpOptions(tuple(paths)), lambda: False), LocalStore(str(tmp_path / "backups"))
    report = dump(DumpRequest(engine, store, "here", PayloadCodec(Encoding("none"), Greedy())), context_at(NOW))
    assert [result["outcome"] for result in report.values["backups"]] == ["failed", "created", "created"]
    assert isinstance(report.failure, SeveralFailed)
    assert report.failure.code == "host_exhausted"
    store.close()


@dataclass(frozen=True)
class Result:
    """The record of one database, the backup that is stored of it, and the warnings and the failure of the run."""

    record: dict[str, Any]
    backup: Backup | None
    warnings: tuple[str, ...]
    error: BackupError | None

    @property
    def outcome(self) -> str:
        return str(self.record["outcome"])

    @property
    def clock_behind(self) -> int:
        return int(self.record["clock_behind"])


@contextlib.contextmanager
def database(folder: Path) -> Iterator[Callable[..., Result]]:
    """Make a database, and return what adds a row to it and backs it up at a time; the row says at which."""
    path, store = folder / "app.db", LocalStore(str(folder / "backups"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (at text)")

    def back_up(now: datetime, *, changed: bool = True, check: bool = False, **over: Any) -> Result:
        if changed:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("insert into t values (?)", (now.isoformat(),))
                connection.commit()
        codec = PayloadCodec(Encoding("none"), PlainCodec())
        request = DumpRequest(SqliteDumper(SqliteDumpOptions((str(path),)), lambda: False), store, "here", codec, **over)
        store.warnings.clear()
        report = dump(request, context_at(now, check=check))
        [record] = report.values["backups"]
        found = Catalog(store).select(Selection(names=(str(record["filename"]),)))
        return Result(record, next(iter(found), None), tuple(report.warnings), report.failure)

    yield back_up
    store.close()


def newest_in(folder: Path) -> str:
    store = LocalStore(str(folder / "backups"))
    [newest] = newest_of_each(Catalog(store).select(EVERYTHING), 1, NOW)
    store.close()
    return newest.name.filename


@pytest.mark.parametrize("ahead", [timedelta(seconds=6), timedelta(minutes=30), timedelta(minutes=59)])
def test_what_is_made_after_a_clock_was_set_back_is_the_newest(tmp_path: Path, ahead: timedelta) -> None:
    with database(tmp_path) as back_up:
        first = back_up(NOW + ahead)
        predicted = back_up(NOW, changed=False, check=True)
        second, third = back_up(NOW), back_up(NOW)
    assert (first.clock_behind, first.warnings) == (0, ())
    assert predicted.clock_behind == second.clock_behind == ahead.total_seconds()
    assert second.backup is not None and third.backup is not None
    assert second.backup.created_at == NOW + ahead + timedelta(seconds=1)
    assert third.backup.created_at == NOW + ahead + timedelta(seconds=2)
    assert f"{int(ahead.total_seconds())} seconds behind" in second.warnings[0]
    assert second.record["clock_behind"] == ahead.total_seconds()
    assert newest_in(tmp_path) == third.backup.name.filename


def test_a_new_backup_gets_the_labels_and_an_unchanged_one_keeps_its_own_and_its_pin(tmp_path: Path) -> None:
    with database(tmp_path) as back_up:
        first = back_up(NOW - timedelta(days=1), labels={"app": "1"}).backup
        assert first is not None
        assert first.manifest.labels == {"app": "1"}
        sidecar = tmp_path / "backups" / manifest_name(first.filename)
        sidecar.write_bytes(relabelled(first.manifest, True, {"why": "release"}, NOW).to_bytes())
        same = back_up(NOW, changed=False, labels={"app": "2"})
        assert (same.outcome, same.record["labels"], same.record["pinned"]) == ("unchanged", {"app": "1", "why": "release"}, True)
        assert same.record["confirmed_at"] == "2026-03-01 12:00:00"
        new = back_up(NOW, labels={"app": "2"})
        assert (new.outcome, new.record["labels"], new.record["pinned"]) == ("created", {"app": "2"}, False)
        assert back_up(NOW + timedelta(seconds=9)).record["labels"] == {}


def test_the_time_of_confirmation_never_moves_backwards(tmp_path: Path) -> None:
    with database(tmp_path) as back_up:
        back_up(NOW - timedelta(days=1))
        confirmed = back_up(NOW + timedelta(minutes=30), changed=False)
        again = back_up(NOW, changed=False)
    assert (confirmed.outcome, again.outcome) == ("unchanged", "unchanged")
    assert again.backup is not None
    assert again.backup.confirmed_at == NOW + timedelta(minutes=30)


def test_a_confirmation_from_the_future_is_corrected(tmp_path: Path) -> None:
    with database(tmp_path) as back_up:
        back_up(NOW - timedelta(days=1))
        back_up(NOW + timedelta(days=4000), changed=False)
        again = back_up(NOW, changed=False)
    assert again.backup is not None
    assert again.backup.confirmed_at == NOW


def test_what_is_stored_is_reported_where_it_can_not_be_examined_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(tmp_path) as back_up:

        def refuse(catalog: Catalog, filename: str) -> None:
            raise StoreFailed("Examining it: Too many open files.", "See.")

        monkeypatch.setattr(Catalog, "find", refuse)
        result = back_up(NOW)
    assert (result.outcome, result.error) == ("created", None)
    assert result.record["state"] == "good"
    assert "was stored" in result.warnings[0] and "Too many open files" in result.warnings[0]


def test_a_newest_whose_manifest_can_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(tmp_path) as back_up:
        first = back_up(NOW - timedelta(days=1))
        assert first.backup is not None
        refuse_to_read(monkeypatch, manifest_name(first.backup.name.filename))
        second = back_up(NOW, changed=False)
    assert second.outcome == "created"
    assert first.backup.name.filename in second.warnings[0] and "Input/output error" in second.warnings[0]


@pytest.mark.parametrize(("age", "stays"), [(timedelta(minutes=1), True), (timedelta(days=2), False)])
def test_a_partial_that_is_sent_from_elsewhere_is_left_alone_while_it_grows(tmp_path: Path, age: timedelta, stays: bool) -> None:
    with database(tmp_path) as back_up:
        back_up(NOW)
        sent = [tmp_path / "backups" / name for name in (upload_name("backup_app_2026-01-01_00-00-00.dump", "0" * 64),)]
        sent.append(tmp_path / "backups" / ".backup_app_2026-01-01_00-00-00.dump.manifest.json.0123456789abcdef.partial")
        for path in sent:
            path.touch()
            os.utime(path, ((NOW - age).timestamp(),) * 2)
        assert len(back_up(NOW).warnings) == (0 if stays else len(sent))
    assert [path.exists() for path in sent] == [stays] * len(sent)


def content_algorithm(result: Result) -> str:
    assert result.backup is not None and result.backup.manifest.content_digest is not None
    return result.backup.manifest.content_digest.algorithm


def test_the_content_is_compared_by_the_algorithm_of_the_last_good_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(tmp_path) as back_up:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "blake3", None)  # a host without the library
            first = back_up(NOW - timedelta(days=2))
        unchanged = back_up(NOW - timedelta(days=1), changed=False)
        changed = back_up(NOW)
    assert (content_algorithm(first), unchanged.outcome) == ("sha256", "unchanged")
    assert content_algorithm(changed) == "sha256"


def test_a_content_that_can_not_be_compared_is_stored_anew_and_the_reason_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(tmp_path) as back_up:
        first = back_up(NOW - timedelta(days=1))
        monkeypatch.setitem(sys.modules, "blake3", None)
        second = back_up(NOW, changed=False)
        third = back_up(NOW + timedelta(minutes=1), changed=False)
    assert content_algorithm(first) == "blake3"
    assert (second.outcome, content_algorithm(second)) == ("created", "sha256")
    assert "no Python library for its digest, blake3" in second.record["reason"]
    assert third.outcome == "unchanged"


# --- Size -----------------------------------------------------------------------------------------


class Sizes:
    """A database whose dumps have the sizes that a test gives, each in a run of its own."""

    def __init__(self, folder: Path) -> None:
        self.path, self.store = folder / "app.db", LocalStore(str(folder / "backups"))
        self.number = 0

    def back_up(self, rows: int, shrink_warning: int = 50, *, check: bool = False) -> Result:
        self.number += 1
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("create table if not exists t (data text)")
            connection.execute("delete from t")
            connection.executemany("insert into t values (?)", [(f"{self.number:1000}",)] * rows)
            connection.commit()
            connection.execute("vacuum")
        codec = PayloadCodec(Encoding("none"), PlainCodec())
        dumper = SqliteDumper(SqliteDumpOptions((str(self.path),)), lambda: False)
        request = DumpRequest(dumper, self.store, "here", codec, shrink_warning=shrink_warning)
        report = dump(request, context_at(NOW + timedelta(hours=self.number), check=check))
        [record] = report.values["backups"]
        return Result(record, None, tuple(report.warnings), report.failure)


@pytest.fixture
def sizes(tmp_path: Path) -> Iterator[Sizes]:
    database_of_sizes = Sizes(tmp_path)
    yield database_of_sizes
    database_of_sizes.store.close()


def test_a_backup_that_is_much_smaller_than_usual_gets_a_warning_and_is_stored(sizes: Sizes) -> None:
    for rows in (1000, 1100, 900):
        usual = sizes.back_up(rows)
        assert (usual.warnings, usual.record["shrunk"]) == ((), None)
    small = sizes.back_up(10)
    shrunk = small.record["shrunk"]
    assert small.outcome == "created" and small.error is None
    assert shrunk["content_bytes"] < 50000 and 900000 < shrunk["usual_bytes"] < 1300000
    assert shrunk["percent"] == shrunk["content_bytes"] * 100 // shrunk["usual_bytes"]
    [warning] = small.warnings
    assert warning == (
        f"The new backup of app.db has {shrunk['content_bytes']} bytes of content, {shrunk['percent']} % of the usual "
        f"{shrunk['usual_bytes']}: see whether the database lost data, as long as older backups exist."
    )


def test_the_limit_can_be_set_and_0_is_none(sizes: Sizes) -> None:
    sizes.back_up(1000)
    assert sizes.back_up(300, shrink_warning=20).record["shrunk"] is None
    assert sizes.back_up(1, shrink_warning=0).record["shrunk"] is None
    assert sizes.back_up(100, shrink_warning=90).record["shrunk"] is not None


def test_a_backup_that_is_not_good_does_not_count_as_usual(sizes: Sizes, tmp_path: Path) -> None:
    sizes.back_up(100)
    sizes.back_up(1000)
    sizes.back_up(1000)
    [_first, *large] = sorted((tmp_path / "backups").glob("backup_app.db_*.dump"))
    for path in large:
        path.write_bytes(path.read_bytes()[:-1])
    assert sizes.back_up(100).record["shrunk"] is None


def test_check_mode_has_no_size_to_compare(sizes: Sizes) -> None:
    sizes.back_up(1000)
    assert sizes.back_up(1, check=True).record["shrunk"] is None
