"""Which backup "latest" is, and which newer ones it passes over."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Swapped, TargetState
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupMissing, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest, Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._operations.restore import RestoreRequest, restore
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, put_backup
from ansible_collections.lastgood.database.tests.support.contexts import context_at, reporting
from ansible_collections.lastgood.database.tests.support.places import refuse_to_read


class Engine:
    """An engine whose database does not exist yet. No test comes further than the plan."""

    name = "sqlite"
    database = "app"
    unpacks = False

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def examine_target(self, manifest: Manifest) -> TargetState:
        return TargetState(exists=False)


def plan(folder: Path, backup: str = "latest", database: str = "app") -> Outcome:
    store = LocalStore(str(folder))
    engine: Any = Engine()
    request = RestoreRequest(engine, store, store, backup, source_database=database)
    try:
        return restore(request, context_at(NOW, check=True))
    finally:
        store.close()


def put(folder: Path, **over: Any) -> str:
    return put_backup(folder, engine="sqlite", **over)


def make_suspect(folder: Path) -> str:
    return put(folder, created_at=ago(days=1), verification=Verification("structure", "failed", NOW, "words"))


def make_corrupt(folder: Path) -> str:
    name = put(folder, created_at=ago(days=1))
    (folder / name).write_bytes(PAYLOAD[:-1])
    return name


def make_unverified(folder: Path) -> str:
    name = put(folder, created_at=ago(days=1))
    (folder / manifest_name(name)).write_bytes(b"\0")
    return name


def make_future(folder: Path) -> str:
    return put(folder, created_at=ago(hours=-2))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_suspect, "suspect"),
        (make_corrupt, "corrupt"),
        (make_unverified, "unverified"),
        (make_future, "its time is more than an hour in the future"),
    ],
)
def test_a_newer_one_that_is_passed_over_is_named_with_the_reason(tmp_path: Path, make: Any, why: str) -> None:
    good = put(tmp_path, created_at=ago(days=2))
    newer = make(tmp_path)
    found = plan(tmp_path)
    assert found.values["restored"]["filename"] == good
    assert found.warnings == [f"The newest good backup is restored, and newer ones are not: {newer} ({why})."]


def test_one_whose_manifest_can_not_be_read_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, newer = put(tmp_path, created_at=ago(days=2)), put(tmp_path, created_at=ago(days=1))
    refuse_to_read(monkeypatch, manifest_name(newer))
    found = plan(tmp_path)
    assert found.values["restored"]["filename"] == good
    [warning] = found.warnings
    assert newer in warning and "Input/output error" in warning
    with pytest.raises(StoreFailed, match="Input/output error"):
        plan(tmp_path, newer)
    refuse_to_read(monkeypatch, manifest_name(good))
    with pytest.raises(BackupMissing, match="Input/output error"):
        plan(tmp_path)


def test_nothing_is_said_of_older_ones_and_of_other_databases(tmp_path: Path) -> None:
    good = put(tmp_path, created_at=ago(hours=1))
    make_suspect(tmp_path)
    make_corrupt(tmp_path)
    put(tmp_path, created_at=ago(minutes=1), database="other", verification=Verification("structure", "failed", NOW, ""))
    found = plan(tmp_path)
    assert (found.values["restored"]["filename"], found.warnings) == (good, [])


def test_one_that_is_named_is_restored_without_a_word(tmp_path: Path) -> None:
    older, _newer = put(tmp_path, created_at=ago(days=2)), make_suspect(tmp_path)
    assert plan(tmp_path, older).warnings == []


def test_a_restore_reports_what_it_reads_and_then_that_it_fills_the_database(tmp_path: Path) -> None:
    content = b"SQLite format 3\x00" + bytes(1000)
    data = gzip.compress(content)
    put_backup(
        tmp_path,
        ago(days=1),
        data,
        engine="sqlite",
        content_bytes=len(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
    )
    written = bytearray()

    class Filling(Engine):
        @contextlib.contextmanager
        def restoring(self, *_arguments: Any) -> Iterator[Filling]:
            yield self

        def write(self, piece: bytes) -> None:
            written.extend(piece)

        def fill(self) -> None:
            reported.append(("fill", 0, None))

        def swap(self) -> Swapped:
            return Swapped(None, 0.0)

    engine: Any = Filling()
    context, reported = reporting(context_at(NOW))
    with contextlib.closing(LocalStore(str(tmp_path))) as store:
        assert restore(RestoreRequest(engine, store, store, source_database="app"), context).values["changed"]
    assert written == content
    size = len(data)
    assert reported == [("app", 0, size), ("app", size, size), ("app (filling)", size, size), ("fill", 0, None)]
