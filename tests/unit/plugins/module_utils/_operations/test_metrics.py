"""The file of metrics: whole or as it was, written where something is new, and a change only where more than times is new."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DestinationUnusable,
    DirectoryMissing,
    DirectoryUnusable,
    Interrupted,
    Locked,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations import metrics as operation
from ansible_collections.lastgood.database.plugins.module_utils._operations.metrics import MetricsRequest, metrics
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, put_backup
from ansible_collections.lastgood.database.tests.support.contexts import context_at, diff_in
from ansible_collections.lastgood.database.tests.support.observe import state_of

MODE = FileAttributes(mode=0o644)


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    path = tmp_path / "backups"
    path.mkdir()
    put_backup(path, ago(days=1))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "collector").mkdir()
    return tmp_path / "collector" / "lastgood.prom"


def write(file: Path, *directories: Path, context: Context | None = None, **over: Any) -> Outcome:
    attributes = over.pop("attributes", MODE)
    request = MetricsRequest(
        [LocalStore(str(path)) for path in directories], LocalStore(str(file.parent), attributes), file.name, over
    )
    try:
        return metrics(request, context or context_at(NOW))
    finally:
        for store in (*request.stores, request.folder):
            store.close()


def changed(outcome: Outcome) -> bool:
    assert outcome.failure is None
    return bool(outcome.values["changed"])


def value(file: Path, metric: str, *, containing: str = "") -> str:
    [line] = [line for line in file.read_text().splitlines() if line.startswith(f"{metric}{{") and containing in line]
    return line.rpartition(" ")[2]


def test_it_is_written_once_for_all_to_read(file: Path, backups: Path) -> None:
    outcome = write(file, backups)
    assert outcome.values == {"changed": True, "dest": str(file)}
    assert value(file, "lastgood_backup_last_success_timestamp_seconds") == str(int(ago(days=1).timestamp()))
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_where_nothing_is_new_the_file_is_untouched(file: Path, backups: Path) -> None:
    write(file, backups)
    before = state_of(file.parent)
    outcome = write(file, backups, context=context_at(NOW + timedelta(days=3)))
    assert not changed(outcome)
    assert state_of(file.parent) == before


def test_a_confirmation_is_written_and_is_no_change(file: Path, backups: Path) -> None:
    write(file, backups)
    put_backup(backups, ago(days=1), confirmed_at=ago(hours=1))
    assert not changed(write(file, backups))
    assert value(file, "lastgood_backup_last_success_timestamp_seconds") == str(int(ago(hours=1).timestamp()))


def test_another_backup_is_a_change(file: Path, backups: Path) -> None:
    write(file, backups)
    put_backup(backups, ago(hours=1))
    assert changed(write(file, backups))
    assert value(file, "lastgood_backups", containing='state="good"') == "2"


def test_a_mode_that_is_not_the_one_asked_for_is_set(file: Path, backups: Path) -> None:
    write(file, backups, attributes=FileAttributes())
    assert file.stat().st_mode & 0o777 == 0o600
    assert changed(write(file, backups))
    assert file.stat().st_mode & 0o777 == 0o644
    assert not changed(write(file, backups))


def test_check_mode_writes_nothing_and_predicts(file: Path, backups: Path) -> None:
    outcome = write(file, backups, context=context_at(NOW, check=True))
    assert changed(outcome)
    assert not file.exists()
    assert diff_in(outcome)["before"] == ""
    assert "lastgood_backups{" in diff_in(outcome)["after"]
    write(file, backups)
    assert diff_in(outcome)["after"] == file.read_text()
    assert not changed(write(file, backups, context=context_at(NOW, check=True)))


def test_a_directory_that_does_not_exist_is_no_failure(file: Path, backups: Path, tmp_path: Path) -> None:
    assert changed(write(file, tmp_path / "missing", backups))
    assert value(file, "lastgood_backup_directory_readable", containing="missing") == "0"
    assert value(file, "lastgood_backup_directory_readable", containing="/backups") == "1"


def test_a_directory_that_cannot_be_read_is_a_failure_and_the_others_are_written(file: Path, backups: Path) -> None:
    link, other = backups.with_name("link"), backups.with_name("other")
    link.symlink_to(backups)
    other.symlink_to(backups)
    outcome = write(file, link, other, backups)
    assert isinstance(outcome.failure, DirectoryUnusable)
    assert str(link) in outcome.failure.problem
    assert any(str(other) in warning for warning in outcome.warnings)
    assert outcome.values["changed"] is True
    assert value(file, "lastgood_backup_directory_readable", containing="link") == "0"
    assert value(file, "lastgood_backup_expected") == "1"


def test_a_directory_that_is_named_twice_has_its_series_once(file: Path, backups: Path) -> None:
    write(file, backups, Path(f"{backups}/../backups"), backups)
    lines = [line.rpartition(" ")[0] for line in file.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_labels_are_added(file: Path, backups: Path) -> None:
    write(file, backups, team='stor"age')
    assert 'team="stor\\"age"} ' in file.read_text()
    assert changed(write(file, backups))


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_what_is_no_regular_file_is_not_replaced(file: Path, backups: Path, kind: str) -> None:
    if kind == "link":
        file.symlink_to(backups / "elsewhere")
    else:
        file.mkdir()
    with pytest.raises(DestinationUnusable):
        write(file, backups)
    assert not (backups / "elsewhere").exists()


def test_without_its_directory_it_is_an_error_in_check_mode_as_well(tmp_path: Path, backups: Path) -> None:
    for check in (True, False):
        with pytest.raises(DirectoryMissing):
            write(tmp_path / "missing" / "x.prom", backups, context=context_at(NOW, check=check))


def test_a_file_of_others_content_is_replaced(file: Path, backups: Path) -> None:
    file.write_bytes(b"\xff\x00 no metrics")
    file.chmod(0o644)
    assert changed(write(file, backups))
    assert value(file, "lastgood_backup_expected") == "1"


def test_what_a_dead_run_left_is_no_obstacle_and_a_living_one_is_waited_for(
    file: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text("half")
    assert changed(write(file, backups))
    assert not partial.exists()
    monkeypatch.setattr(operation, "_PATIENCE", 0.2)
    with partial.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Locked):
            write(file, backups, team="new")
    assert "team=" not in file.read_text()


def test_a_write_that_fails_leaves_the_file_as_it_was(file: Path, backups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, backups)
    before = file.read_text()

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(operation, "write_all", full)
    with pytest.raises(Exception, match="No space left"):
        write(file, backups, team="new")
    assert (file.read_text(), list(file.parent.iterdir())) == (before, [file])


def test_a_run_that_was_stopped_writes_nothing(file: Path, backups: Path) -> None:
    with pytest.raises(Interrupted):
        write(file, backups, context=context_at(NOW, is_stopped=lambda: True))
    assert not file.exists()
