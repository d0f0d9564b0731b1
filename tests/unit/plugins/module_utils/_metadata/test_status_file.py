"""The status in a directory: read, updated, and without runs that are dead."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    EMPTY,
    STATUS_NAME,
    GroupStatus,
    Run,
    Status,
    StatusUnusable,
    Task,
    merged,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status_file import read_status, update_status
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW
from ansible_collections.lastgood.database.tests.support.memory_store import MemoryStore

APP = Group("db1", "postgresql", "73", "database", "app")
PARTIAL = ".backup_app_2026-03-01_12-00-00.dump.gz.partial"
RUNNING = Status({APP: GroupStatus(task=Task("one", NOW, partial=PARTIAL))}, (Run("one", NOW, NOW),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


def outcome_in(store: LocalStore) -> str:
    [run] = read_status(store).runs
    return run.outcome


def test_a_directory_without_a_status_or_without_a_directory_has_an_empty_one(store: LocalStore, tmp_path: Path) -> None:
    assert read_status(store) == EMPTY
    assert read_status(LocalStore(str(tmp_path / "missing"))) == EMPTY
    assert read_status(MemoryStore({STATUS_NAME: b"{}"})) == EMPTY


def test_a_store_elsewhere_keeps_none() -> None:
    files: dict[str, bytes] = {}
    assert update_status(MemoryStore(files), lambda status: RUNNING) is None
    assert files == {}


def test_updates_of_many_runs_at_a_time_are_all_there(store: LocalStore, tmp_path: Path) -> None:
    def update(number: int) -> None:
        own = LocalStore(str(tmp_path))
        change = Status({APP._replace(database=str(number)): GroupStatus(uploaded_at=NOW)})
        update_status(own, lambda status: merged(status, change), durable=False)
        own.close()

    threads = [threading.Thread(target=update, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {group.database for group in read_status(store).groups} == {str(number) for number in range(20)}


def test_garbage_is_replaced_and_reported(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / STATUS_NAME).write_bytes(b"garbage")
    with pytest.raises(StatusUnusable):
        read_status(store)
    assert isinstance(update_status(store, lambda status: merged(status, RUNNING)), StatusUnusable)
    assert set(read_status(store).groups) == {APP}


def test_a_newer_version_is_not_replaced(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / STATUS_NAME).write_bytes(b'{"status_version": 7}')
    with pytest.raises(StatusUnusable):
        update_status(store, lambda status: EMPTY)
    assert (tmp_path / STATUS_NAME).read_bytes() == b'{"status_version": 7}'


def test_a_file_that_can_not_be_read_is_not_replaced(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / STATUS_NAME).mkdir()
    with pytest.raises(StoreFailed):
        update_status(store, lambda status: EMPTY)
    assert (tmp_path / STATUS_NAME).is_dir()


class TestWhoIsAlive:
    """By locks alone."""

    @pytest.fixture(autouse=True)
    def running(self, store: LocalStore) -> None:
        update_status(store, lambda status: RUNNING)

    def test_in_a_deserted_directory_each_run_is_dead(self, store: LocalStore) -> None:
        assert outcome_in(store) == "died"

    def test_a_run_that_is_between_two_dumps_is_alive_while_any_is_present(self, store: LocalStore) -> None:
        with store.bookkeeping().mark_alive():
            assert outcome_in(store) == "running"

    def test_a_partial_without_a_lock_is_a_dead_runs_whoever_is_present(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / PARTIAL).touch()
        with store.bookkeeping().mark_alive():
            assert outcome_in(store) == "died"

    def test_a_locked_partial_is_a_living_runs_also_of_another_host(self, store: LocalStore, tmp_path: Path) -> None:
        with (tmp_path / PARTIAL).open("w") as partial:
            assert try_lock(partial.fileno())
            assert outcome_in(store) == "running"
