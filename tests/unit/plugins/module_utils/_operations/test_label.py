"""Pins and labels in manifests: what changes, what others do in between, and what goes wrong in the middle of it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ArgumentInvalid,
    BackupMissing,
    DirectoryMissing,
    Interrupted,
    ManifestUnusable,
    NoSpace,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification, from_bytes
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._operations.label import LabelRequest, label
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import LOCK_SECONDS
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, manifest_of, put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.contexts import context_at, diff_in
from ansible_collections.lastgood.database.tests.support.memory_store import MemoryStore
from ansible_collections.lastgood.database.tests.support.observe import assert_whole, state_of


def run(folder: Path, *names: str, context: Context | None = None, store: LocalStore | None = None, **over: Any) -> Outcome:
    store = store or LocalStore(str(folder))
    try:
        return label(LabelRequest(store, names, **over), context or context_at(NOW))
    finally:
        store.close()


def marks(folder: Path, name: str) -> tuple[bool | None, Any]:
    found = from_bytes((folder / manifest_name(name)).read_bytes())
    return found.pinned, found.labels


class Disturbed(LocalStore):
    """A store in which something happens between the plan and its execution."""

    def __init__(self, folder: Path, disturb: Callable[[], object]) -> None:
        super().__init__(str(folder))
        self._disturb = disturb

    def lock(self, seconds: float = LOCK_SECONDS) -> Any:
        self._disturb()
        return super().lock(seconds)


def test_it_pins_and_labels_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    name, other = (put_backup(tmp_path, ago(days=day)) for day in (1, 2))
    before = (tmp_path / manifest_name(other)).read_bytes()
    (tmp_path / manifest_name(name)).chmod(0o640)
    (tmp_path / name).chmod(0o640)
    foretold = run(tmp_path, name, context=context_at(NOW, check=True), pinned=True, labels={"app": "1"})
    assert marks(tmp_path, name) == (None, None)
    done = run(tmp_path, name, pinned=True, labels={"app": "1"})
    assert (done.values, diff_in(done)) == (foretold.values, diff_in(foretold))
    assert (done.values["changed"], done.failure) == (True, None)
    [record] = done.values["backups"]
    assert (record["filename"], record["pinned"], record["labels"]) == (name, True, {"app": "1"})
    assert diff_in(done)["before"] == f"{name}  (not pinned, labels: {{}})\n"
    assert diff_in(done)["after"] == f'{name}  (pinned, labels: {{"app": "1"}})\n'
    assert marks(tmp_path, name) == (True, {"app": "1"})
    assert (tmp_path / manifest_name(name)).stat().st_mode & 0o777 == 0o640
    assert (tmp_path / manifest_name(other)).read_bytes() == before
    assert_whole(tmp_path)
    unchanged = state_of(tmp_path)
    again = run(tmp_path, name, pinned=True, labels={"app": "1", "never": None})
    assert (again.values["changed"], diff_in(again)["before"]) == (False, diff_in(again)["after"])
    assert state_of(tmp_path) == unchanged


def test_the_rest_of_the_manifest_stays(tmp_path: Path) -> None:
    verdict = Verification("restore", "passed", ago(hours=1), "42 tables")
    name = put_backup(tmp_path, ago(days=1), verification=verdict, confirmed_at=ago(hours=2))
    before = json.loads((tmp_path / manifest_name(name)).read_bytes())
    run(tmp_path, name, pinned=True)
    after = json.loads((tmp_path / manifest_name(name)).read_bytes())
    assert after == {**before, "pinned": True, "pinned_at": "2026-03-01T12:00:00Z"}


@pytest.mark.parametrize("state", ["suspect", "corrupt"])
def test_a_backup_that_is_not_good_can_be_pinned(tmp_path: Path, state: str) -> None:
    name = put_backup(tmp_path, ago(days=1), verification=Verification("structure", "failed", NOW, "words"))
    if state == "corrupt":
        (tmp_path / name).write_bytes(b"x")
    [record] = run(tmp_path, name, pinned=True).values["backups"]
    assert (record["state"], record["pinned"]) == (state, True)


class TestRefusals:
    """Where one can't be labelled, none is."""

    @pytest.mark.parametrize("check", [True, False])
    @pytest.mark.parametrize("missing", ["backup_app_2020-01-01_00-00-00.dump.gz", "notes.txt", "../x", "", ".lastgood.lock"])
    def test_a_name_without_a_backup(self, tmp_path: Path, missing: str, check: bool) -> None:
        name = put_backup(tmp_path, ago(days=1))
        (tmp_path / "notes.txt").touch()
        with pytest.raises(BackupMissing) as raised:
            run(tmp_path, name, missing, context=context_at(NOW, check=check), pinned=True)
        assert raised.value.details == {"missing": [missing]}
        assert marks(tmp_path, name) == (None, None)

    def test_a_link_is_no_backup(self, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))
        link = "backup_app_2020-01-01_00-00-00.dump.gz"
        (tmp_path / link).symlink_to(name)
        with pytest.raises(BackupMissing):
            run(tmp_path, link, pinned=True)

    def test_a_directory_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DirectoryMissing):
            run(tmp_path / "missing", "backup_app_2020-01-01_00-00-00.dump.gz", pinned=True)

    def test_a_backup_without_a_manifest_of_its_own(self, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))
        alone = put_payload(tmp_path, "backup_app_2020-01-01_00-00-00.dump.gz")
        newer = put_backup(tmp_path, ago(days=3), manifest_version=2)
        for one in (alone, newer):
            with pytest.raises(ManifestUnusable, match=one):
                run(tmp_path, name, one, pinned=True)
        assert marks(tmp_path, name) == (None, None)
        assert marks(tmp_path, newer) == (None, None)

    def test_a_manifest_that_can_not_be_read(self, tmp_path: Path) -> None:
        class Failing(LocalStore):
            def read(self, name: str, limit: int) -> bytes | None:
                raise StoreFailed("Reading: Input/output error.", "Check the disk.")

        name = put_backup(tmp_path, ago(days=1))
        with pytest.raises(StoreFailed, match="Input/output"):
            run(tmp_path, name, store=Failing(str(tmp_path)), pinned=True)

    def test_too_many_labels(self, tmp_path: Path) -> None:
        name, full = put_backup(tmp_path, ago(days=1)), put_backup(tmp_path, ago(days=2), labels={str(n): "" for n in range(32)})
        with pytest.raises(ArgumentInvalid):
            run(tmp_path, name, full, labels={"more": ""})
        assert marks(tmp_path, name) == (None, None)


class TestInBetween:
    """Other runs between the plan and the lock."""

    def test_what_another_run_writes_into_the_manifest_stays(self, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))
        confirmed = manifest_of(created_at=ago(days=1), confirmed_at=NOW, labels={"why": "kept"})

        def confirm() -> None:
            (tmp_path / manifest_name(name)).write_bytes(confirmed.to_bytes())

        run(tmp_path, name, store=Disturbed(tmp_path, confirm), pinned=True, labels={"app": "1"})
        found = from_bytes((tmp_path / manifest_name(name)).read_bytes())
        assert (found.confirmed_at, found.pinned, found.labels) == (NOW, True, {"why": "kept", "app": "1"})

    def test_one_that_is_pruned_meanwhile_is_missing_and_gets_no_manifest(self, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))

        def delete() -> None:
            (tmp_path / name).unlink()
            (tmp_path / manifest_name(name)).unlink()

        with pytest.raises(BackupMissing):
            run(tmp_path, name, store=Disturbed(tmp_path, delete), pinned=True)
        assert not (tmp_path / manifest_name(name)).exists()

    def test_a_store_without_locks_in_which_it_is_deleted_at_the_last_moment_has_no_manifest_of_it(self) -> None:
        name = "backup_app_2026-02-28_12-00-00.dump.gz"
        files = {name: b"what pg_dump said", manifest_name(name): manifest_of().to_bytes()}

        class Lockless(MemoryStore):
            def replace(self, name: str, data: bytes, like: str | None = None) -> None:
                files.clear()
                super().replace(name, data, like)

        report = label(LabelRequest(Lockless(files), (name,), pinned=True), context_at(NOW))
        assert (report.values["changed"], isinstance(report.failure, BackupMissing), files) == (False, True, {})


class TestFailures:
    """What was done is reported, and the rest is as it was."""

    def fail_at_the_second(self, folder: Path, error: Exception) -> tuple[list[str], Outcome]:
        class Full(LocalStore):
            count = 0

            def replace(self, name: str, data: bytes, like: str | None = None) -> None:
                self.count += 1
                if self.count == 2:
                    raise error
                super().replace(name, data, like)

        names = [put_backup(folder, ago(days=day)) for day in (1, 2, 3)]
        return names, run(folder, *names, store=Full(str(folder)), pinned=True)

    def test_a_full_disk_in_the_middle(self, tmp_path: Path) -> None:
        names, report = self.fail_at_the_second(tmp_path, NoSpace("Writing: no space left.", "Make room."))
        assert isinstance(report.failure, NoSpace)
        assert report.values["changed"]
        assert [record["pinned"] for record in report.values["backups"]] == [True, False, False]
        assert [marks(tmp_path, name)[0] for name in names] == [True, None, None]
        assert_whole(tmp_path)

    def test_a_run_that_is_stopped_in_the_middle(self, tmp_path: Path) -> None:
        names = [put_backup(tmp_path, ago(days=day)) for day in (1, 2, 3)]
        stopped: list[bool] = []

        class Stopping(LocalStore):
            def replace(self, name: str, data: bytes, like: str | None = None) -> None:
                super().replace(name, data, like)
                stopped.append(True)

        context = context_at(NOW, is_stopped=lambda: bool(stopped))
        report = run(tmp_path, *names, store=Stopping(str(tmp_path)), context=context, pinned=True)
        assert isinstance(report.failure, Interrupted)
        assert [record["pinned"] for record in report.values["backups"]] == [True, False, False]
