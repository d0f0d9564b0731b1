"""What a run of db_backup notes, and when: with an engine that fails as it is asked to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.dumping import Scope, Target, Unavailable
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ConnectionFailed,
    DatabaseMissing,
    Interrupted,
    ProgramFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import STATUS_NAME, GroupStatus, Run
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status_file import read_status
from ansible_collections.lastgood.database.plugins.module_utils._operations.run_record import RunRecord, Source
from ansible_collections.lastgood.database.plugins.module_utils._progress import Progress
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW
from ansible_collections.lastgood.database.tests.support.contexts import context_at

APP = Group("db1", "postgresql", "73", "database", "app")
SHOP = APP._replace(database="shop")
PARTIAL = ".backup_app_2026-03-01_12-00-00.dump.gz.partial"
REFUSED = ConnectionFailed("The server refused.", "Start it.")


def target_of(group: Group, source: str = "socket:5432") -> Target:
    assert group.instance is not None
    return Target("database", group.database, "postgresql", group.instance, source, "18", "pg_dump 18", "custom")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


class Clock:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def record_in(store: LocalStore, scope: Scope, *, check: bool = False, stopped: bool = False) -> RunRecord:
    return RunRecord(store, Source("db1", "postgresql", scope), context_at(Clock(), check=check, is_stopped=lambda: stopped))


ALL = Scope("default", None)


def begun(store: LocalStore, scope: Scope = ALL, *groups: Group, unavailable: tuple[Unavailable, ...] = ()) -> RunRecord:
    record = record_in(store, scope)
    record.begin({group: target_of(group) for group in groups}, groups, unavailable)
    return record


def known(store: LocalStore) -> dict[str | None, GroupStatus]:
    return {group.database: values for group, values in read_status(store).groups.items()}


def last(store: LocalStore) -> Run:
    return read_status(store).runs[-1]


def outcomes(store: LocalStore) -> dict[str | None, tuple[str, str | None]]:
    return {
        database: ("" if values.last_run is None else values.last_run.outcome, values.last_failure and values.last_failure.code)
        for database, values in known(store).items()
    }


def test_a_run_is_noted_from_its_beginning_to_its_end(store: LocalStore) -> None:
    record = begun(store, ALL, APP, SHOP)
    assert (last(store).outcome, last(store).ended_at) == ("running", None)
    assert {values.task is not None for values in known(store).values()} == {True}
    began = record.began(APP)
    record.ended(APP, began, "created", None, None)
    began = record.began(SHOP)
    record.ended(SHOP, began, "failed", None, ProgramFailed("It failed.", "Try."))
    record.end(ProgramFailed("It failed.", "Try."))
    assert outcomes(store) == {"app": ("created", None), "shop": ("failed", "program_failed")}
    assert (last(store).outcome, last(store).failed) == ("failed", 1)
    assert last(store).ended_at is not None and record.warnings == []
    assert store.bookkeeping().has_no_live_run()


def test_what_a_run_did_not_come_to_has_its_error(store: LocalStore) -> None:
    record = begun(store, ALL, APP, SHOP)
    record.ended(APP, record.began(APP), "unchanged", None, None)
    record.end(Interrupted("It was ended.", "Run it again."))
    assert outcomes(store) == {"app": ("unchanged", None), "shop": ("interrupted", "interrupted")}
    assert (last(store).outcome, last(store).failed) == ("interrupted", 1)


@pytest.mark.parametrize(("stopped", "outcome", "code"), [(False, "failed", "unexpected"), (True, "interrupted", "interrupted")])
def test_an_error_that_nobody_expected_is_noted_as_the_module_reports_it(
    store: LocalStore, stopped: bool, outcome: str, code: str
) -> None:
    record = record_in(store, ALL, stopped=stopped)
    record.begin({APP: target_of(APP)}, [APP], [])
    record.end(ZeroDivisionError("division by zero"))
    assert outcomes(store) == {"app": (outcome, code)}


def test_how_far_a_dump_is_is_written_while_it_runs(store: LocalStore) -> None:
    progress = Progress()
    record = begun(store, ALL, APP)
    record.began(APP)
    record.claimed(APP, PARTIAL, 120)
    subject = {**APP.facts(), "source": "socket"}
    with progress.reporting_to(record.progressed), progress.task("app", 120, subject) as task:
        task.advance(30)
    found = known(store)["app"].task
    assert found is not None and (found.read_bytes, found.expected_bytes, found.partial) == (0, 120, PARTIAL)
    with store.lock():  # another run commits: the next second will do
        record.progressed([])
    record.end(None)


def test_a_server_that_is_not_reached_fails_its_databases_and_no_others(store: LocalStore) -> None:
    other = Scope("default:5433", None)
    foreign = APP._replace(instance="74", database="other")
    begun(store, ALL, APP, SHOP).end(None)
    record = record_in(store, other)
    record.begin({foreign: target_of(foreign)}, [], [])
    record.end(None)
    record_in(store, Scope("default", None, exclude=("shop",))).end(REFUSED)
    assert outcomes(store) == {"app": ("failed", "connection_failed"), "shop": ("", None), "other": ("", None)}
    assert (last(store).outcome, last(store).failed) == ("failed", 1)


def test_databases_that_are_named_fail_by_name_where_their_server_was_never_reached(store: LocalStore) -> None:
    record_in(store, Scope("default", ("app", "shop", "test"), exclude=("te*",))).end(REFUSED)
    assert {group.database: group.instance for group in read_status(store).groups} == {"app": None, "shop": None}
    begun(store, Scope("default", ("app", "shop")), APP).end(None)
    assert {group.database: group.instance for group in read_status(store).groups} == {"app": "73", "shop": None}


def test_a_server_of_which_nothing_is_known_stands_for_itself_until_it_is_reached(store: LocalStore) -> None:
    record_in(store, ALL).end(REFUSED)
    [(group, values)] = read_status(store).groups.items()
    assert (group.database, group.instance, values.source) == (None, None, "default")
    begun(store, ALL, APP).end(None)
    assert set(read_status(store).groups) == {APP}


def test_a_database_that_is_missing_is_the_one_that_was_known(store: LocalStore) -> None:
    begun(store, Scope("default", ("app",)), APP).end(None)
    missing = Unavailable("app", DatabaseMissing("It is missing.", "Make it."))
    error = DatabaseMissing("It is missing.", "Make it.")
    begun(store, Scope("default", ("app",)), unavailable=(missing,)).end(error)
    assert set(read_status(store).groups) == {APP}
    assert outcomes(store) == {"app": ("failed", "database_missing")}
    assert last(store).failed == 1


def test_files_of_one_name_are_distinguished_by_their_paths(store: LocalStore) -> None:
    one, other = (Group("db1", "sqlite", path, "database", "app.db") for path in ("/a/app.db", "/b/app.db"))
    scope = Scope("files", ("app.db",))
    record = RunRecord(store, Source("db1", "sqlite", scope), context_at(Clock()))
    record.begin({one: target_of(one, "/a/app.db"), other: target_of(other, "/b/app.db")}, [], [])
    record.end(None)
    record = RunRecord(store, Source("db1", "sqlite", scope), context_at(Clock()))
    record.begin({one: target_of(one, "/a/app.db")}, [], [Unavailable("app.db", REFUSED, "/b/app.db")])
    record.end(REFUSED)
    failures = {group.instance: values.last_failure for group, values in read_status(store).groups.items()}
    assert failures["/a/app.db"] is None and failures["/b/app.db"] is not None


def test_check_mode_writes_nothing(store: LocalStore, tmp_path: Path) -> None:
    record = record_in(store, ALL, check=True)
    record.begin({APP: target_of(APP)}, [APP], [])
    record.progressed([])
    record.end(REFUSED)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "missing"))
    record = record_in(store, ALL)
    record.end(REFUSED)
    assert record.warnings == [] and not (tmp_path / "missing").exists()


def test_what_can_not_be_written_is_one_warning(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / STATUS_NAME).mkdir()
    record = begun(store, ALL, APP)
    record.ended(APP, record.began(APP), "created", None, None)
    record.end(None)
    assert len(record.warnings) == 1 and STATUS_NAME in record.warnings[0]


def test_garbage_is_replaced_with_a_warning(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / STATUS_NAME).write_text("garbage")
    record = begun(store, ALL, APP)
    record.end(None)
    assert len(record.warnings) == 1 and "lost" in record.warnings[0]
    assert set(read_status(store).groups) == {APP}


def test_a_run_holds_the_directory_until_its_end(store: LocalStore) -> None:
    before = set(os.listdir("/proc/self/fd"))
    record = begun(store, ALL, APP)
    assert not store.bookkeeping().has_no_live_run()
    record.end(None)
    assert store.bookkeeping().has_no_live_run()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the store's


def test_a_database_that_left_its_server_is_no_more_expected(store: LocalStore) -> None:
    record = begun(store, ALL, APP, SHOP)
    for group in (APP, SHOP):
        record.ended(group, record.began(group), "created", None, None)
    record.end(None)
    begun(store, ALL, APP).end(None)
    record_in(store, ALL).end(REFUSED)
    assert outcomes(store) == {"app": ("failed", "connection_failed"), "shop": ("created", None)}
