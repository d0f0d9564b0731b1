"""What a disk that fails says of a backup, and for how long."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import itertools
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlExaminationOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import Examiners
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import relabelled
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Level, Manifest, from_bytes
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection
from ansible_collections.lastgood.database.plugins.module_utils._operations import verify as verify_module
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify import VerifyRequest, verify
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.contexts import Reported, reporting
from ansible_collections.lastgood.database.tests.support.observe import manifest_path, payloads
from ansible_collections.lastgood.database.tests.support.places import refuse_to_read

CONTENT = b"SQLite format 3\x00" + bytes(1000)

OPTIONS = {"postgresql": PostgresqlExaminationOptions(), "sqlite": None}


def look(folder: Path, runner: ModuleRunner, level: Level = "checksum") -> tuple[str, str, str]:
    """Return level, verdict and state of the only backup, as a run at that level tells them."""
    store = LocalStore(str(folder))
    try:
        report = verify(VerifyRequest(store, EVERYTHING, level, OPTIONS), Context(runner, lambda: NOW))
    finally:
        store.close()
    [one] = report.values["verified"]
    return one["level"], one["verdict"], one["state"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = {"content_bytes": len(CONTENT), "content_sha256": hashlib.sha256(CONTENT).hexdigest()}
    put_backup(tmp_path, ago(days=1), gzip.compress(CONTENT), engine="sqlite", **content)
    return tmp_path


@pytest.mark.parametrize(
    "number",
    [errno.EIO, errno.EBADMSG, errno.EACCES, errno.ESTALE, errno.EMFILE],
)
def test_a_disk_that_refuses_says_nothing_of_a_backup(folder: Path, runner: ModuleRunner, number: int) -> None:
    def refuse(store: LocalStore, name: str) -> object:
        raise StoreFailed("Reading it: no.", "See.") from OSError(number, "no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStore, "chunks", refuse)
        assert look(folder, runner) == ("checksum", "inconclusive", "good")
    assert look(folder, runner) == ("checksum", "passed", "good")


@pytest.mark.parametrize("level", ["checksum", "structure"])
def test_a_reading_that_goes_wrong_once_is_no_verdict(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    flip_readings(monkeypatch, [0])
    assert look(folder, runner)[1:] == ("passed", "good")


def test_readings_that_all_differ_are_no_verdict(folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    flip_readings(monkeypatch, [0, 1, 2])
    assert look(folder, runner)[1:] == ("inconclusive", "good")


def test_rot_that_two_readings_show_is_a_verdict(folder: Path, runner: ModuleRunner) -> None:
    [payload] = payloads(folder)
    payload.write_bytes(bytes(len(payload.read_bytes())))
    assert look(folder, runner) == ("checksum", "failed", "corrupt")


def flip_readings(monkeypatch: pytest.MonkeyPatch, wrong: list[int]) -> None:
    """Make these of the next readings of a payload go wrong, each in another way."""
    real, readings = LocalStore.chunks, itertools.count()

    def chunks(store: LocalStore, name: str) -> Iterator[memoryview]:
        number = next(readings, 0)
        for chunk in real(store, name):
            data = bytearray(chunk)
            if number in wrong:
                data[-1 - number] ^= 1
            yield memoryview(data)

    monkeypatch.setattr(LocalStore, "chunks", chunks)


@pytest.mark.parametrize("level", ["checksum", "structure"])
@pytest.mark.parametrize("names", [None, True])
def test_what_is_deleted_meanwhile_is_no_failure(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch, level: Level, names: bool | None
) -> None:
    [payload] = payloads(folder)
    real = verify_module._selected

    def delete_once_listed(*arguments: Any) -> list[Backup]:
        found = real(*arguments)
        payload.unlink()
        manifest_path(payload).unlink()
        return found

    monkeypatch.setattr(verify_module, "_selected", delete_once_listed)
    store = LocalStore(str(folder))
    selection = Selection(names=(payload.name,)) if names else EVERYTHING
    report = verify(VerifyRequest(store, selection, level, OPTIONS), Context(runner, lambda: NOW))
    store.close()
    assert (report.values["verified"], report.failure) == ([], None)
    assert report.warnings == ([f"{payload} was deleted before it was read."] if names else [])


def test_what_is_deleted_between_its_facts_and_its_manifest_is_no_failure(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [payload] = payloads(folder)
    real = LocalStore.read_many

    def delete_first(store: LocalStore, names: Iterable[str], limit: int) -> Iterator[Any]:
        payload.unlink(missing_ok=True)
        manifest_path(payload).unlink(missing_ok=True)
        return real(store, names, limit)

    monkeypatch.setattr(LocalStore, "read_many", delete_first)
    store = LocalStore(str(folder))
    report = verify(VerifyRequest(store, EVERYTHING, "structure", OPTIONS), Context(runner, lambda: NOW))
    store.close()
    assert (report.values["verified"], report.failure, report.warnings) == ([], None, [])


def test_a_manifest_that_can_not_be_read_is_no_verdict(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [payload] = payloads(folder)
    with pytest.MonkeyPatch.context() as patch:
        refuse_to_read(patch, manifest_name(payload.name))
        assert look(folder, runner, "structure") == ("structure", "inconclusive", "unverified")
    assert look(folder, runner) == ("checksum", "passed", "good")


def test_a_connection_that_is_lost_over_an_unread_manifest_leaves_earlier_verdicts_in_the_report(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [older] = payloads(folder)
    newer = put_backup(folder, ago(hours=1))
    real, lost, reads = LocalStore.read_many, ConnectionFailed("The connection was lost.", "Run it again."), itertools.count()

    def lose(store: LocalStore, names: Iterable[str], limit: int) -> Iterator[Any]:
        for name, data in zip(names := list(names), real(store, names, limit)):
            if name != manifest_name(newer):
                yield data
            elif next(reads, 0) == 0:
                yield StoreFailed(f"Reading {name}: Input/output error.", "See the disk.")
            else:
                raise lost

    monkeypatch.setattr(LocalStore, "read_many", lose)
    store = LocalStore(str(folder))
    report = verify(VerifyRequest(store, EVERYTHING, "checksum", OPTIONS), Context(runner, lambda: NOW))
    store.close()
    verdicts = [(one["filename"], one["verdict"]) for one in report.values["verified"]]
    assert (verdicts, report.failure) == ([(older.name, "passed"), (newer, "inconclusive")], lost)


def test_a_payload_without_a_manifest_that_can_not_be_read_is_no_verdict(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [payload] = payloads(folder)
    manifest_path(payload).unlink()
    refuse_to_read(monkeypatch, payload.name)
    assert look(folder, runner, "structure") == ("structure", "inconclusive", "unverified")


def test_a_backup_that_is_confirmed_while_it_is_read_gets_its_verdict(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [payload] = payloads(folder)
    real = LocalStore.chunks

    def confirm_first(store: LocalStore, name: str) -> Any:
        manifest = from_bytes(manifest_path(payload).read_bytes())
        manifest_path(payload).write_bytes(manifest._replace(confirmed_at=NOW).to_bytes())
        return real(store, name)

    monkeypatch.setattr(LocalStore, "chunks", confirm_first)
    assert look(folder, runner) == ("checksum", "passed", "good")
    noted = from_bytes(manifest_path(payload).read_bytes())
    assert (noted.confirmed_at, noted.verification and noted.verification.verdict) == (NOW, "passed")


def test_a_backup_that_is_pinned_and_labelled_while_it_is_read_gets_its_verdict_and_stays_so(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    [payload] = payloads(folder)
    real = LocalStore.chunks

    def label_first(store: LocalStore, name: str) -> Any:
        manifest = from_bytes(manifest_path(payload).read_bytes())
        manifest_path(payload).write_bytes(relabelled(manifest, True, {"app": "1"}, NOW).to_bytes())
        return real(store, name)

    monkeypatch.setattr(LocalStore, "chunks", label_first)
    assert look(folder, runner) == ("checksum", "passed", "good")
    noted = from_bytes(manifest_path(payload).read_bytes())
    assert (noted.pinned, noted.labels, noted.verification and noted.verification.verdict) == (True, {"app": "1"}, "passed")


def test_a_cause_that_repeats_is_reported_once(tmp_path: Path, runner: ModuleRunner) -> None:
    for day in range(1, 6):
        name = put_backup(tmp_path, ago(days=day))
        (tmp_path / name).write_bytes(bytes(len(PAYLOAD)))
    put_payload(tmp_path, "backup_other_2026-01-01_00-00-00.dump.age")
    put_payload(tmp_path, "backup_other_2026-01-02_00-00-00.dump.age")
    store = LocalStore(str(tmp_path))
    report = verify(VerifyRequest(store, EVERYTHING, "structure", OPTIONS), Context(runner, lambda: NOW))
    store.close()
    assert report.failure is not None
    assert report.failure.problem.startswith("5 of 7 backups failed. ")
    assert report.failure.problem.count("Its size or its SHA-256") == 1 and " and 4 older: " in report.failure.problem
    [warning] = report.warnings
    assert " and 1 older: " in warning


class Failing:
    """A look for which a disk of the host's own fails, at one of its steps."""

    def __init__(self, step: str) -> None:
        self._step = step

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest) -> Iterator[Failing]:
        self._fail_at("begin")
        yield self

    def write(self, data: bytes | memoryview) -> None:
        self._fail_at("write")

    def finish(self) -> None:
        self._fail_at("finish")

    def _fail_at(self, step: str) -> None:
        if step == self._step:
            raise StoreFailed("Unpacking the backup: Input/output error.", "See.") from OSError(errno.EIO, "no")


@pytest.mark.parametrize("step", ["begin", "write", "finish"])
def test_a_disk_that_fails_where_a_backup_is_unpacked_says_nothing_of_it(
    folder: Path, runner: ModuleRunner, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Examiners, "examiner_for", lambda examiner, manifest: Failing(step))
    assert look(folder, runner, "restore") == ("restore", "inconclusive", "good")


def test_to_learn_what_a_small_payload_is_no_more_of_it_is_unpacked_than_its_head(
    tmp_path: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = subprocess.run(("/usr/bin/zstd", "-1c"), input=bytes(100_000_000), capture_output=True, check=True).stdout
    assert len(bomb) < 4096
    put_payload(tmp_path, "backup_app_2026-02-01_12-00-00.dump.zst", bomb)
    for library in ("compression", "zstandard"):  # so that the other library reads it, then the program
        monkeypatch.setitem(sys.modules, library, None)
        tracemalloc.start()
        assert look(tmp_path, runner, "structure") == ("structure", "failed", "unverified")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 30_000_000


def test_the_bytes_that_are_read_are_reported_out_of_those_of_all_backups(folder: Path, runner: ModuleRunner) -> None:
    content = {"content_bytes": len(CONTENT), "content_sha256": hashlib.sha256(CONTENT).hexdigest()}
    put_backup(folder, ago(days=2), gzip.compress(CONTENT), engine="sqlite", **content)
    size = len(gzip.compress(CONTENT))
    assert _reported(folder, runner) == [
        ("verification", 0, 2 * size),
        ("app (1 of 2)", 0, 2 * size),
        ("app (1 of 2)", size, 2 * size),
        ("app (2 of 2)", size, 2 * size),
        ("app (2 of 2)", 2 * size, 2 * size),
    ]


def test_a_second_reading_is_reported_from_its_beginning(
    folder: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_readings(monkeypatch, [0])
    size = len(gzip.compress(CONTENT))
    assert [done for _title, done, _expected in _reported(folder, runner)] == [0, 0, size, 0, size]


def _reported(folder: Path, runner: ModuleRunner) -> Reported:
    context, reported = reporting(Context(runner, lambda: NOW))
    with contextlib.closing(LocalStore(str(folder))) as store:
        verify(VerifyRequest(store, EVERYTHING, "checksum", OPTIONS), context)
    return reported
