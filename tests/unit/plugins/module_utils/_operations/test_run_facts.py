"""What backup_facts reports of runs, by the status and by the backups, which prove more."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import (
    STATUS_NAME,
    Attempt,
    Failure,
    GroupStatus,
    Run,
    Status,
    Task,
    to_bytes,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import InventoryRequest, inventory
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.contexts import context_at

APP = Group("db1", "postgresql", "7300000000000000001", "database", "app")
DIED = Attempt("died", ago(hours=2), code="run_died", msg="It ended.")


def ask(folder: Path, status: Status | None = None) -> dict[str, Any]:
    if status is not None:
        (folder / STATUS_NAME).write_bytes(to_bytes(status))
    store = LocalStore(str(folder))
    try:
        facts = inventory(InventoryRequest(store), context_at(NOW)).values["ansible_facts"]["database_backups"]
        assert isinstance(facts, dict)
        return facts
    finally:
        store.close()


def app_of(folder: Path, **known: Any) -> dict[str, Any]:
    [entry] = ask(folder, Status({APP: GroupStatus(**known)}, (Run("one", ago(hours=3), ago(hours=1)),)))["databases"]
    assert isinstance(entry, dict)
    return entry


# --- Sizes and times of the backups ---------------------------------------------------------------


def test_the_sizes_are_those_of_the_last_30_good_ones_oldest_first(tmp_path: Path) -> None:
    for number in range(40):
        put_backup(tmp_path, ago(days=number), b"x" * (100 + number))
    put_backup(tmp_path, ago(hours=1), b"bad", verification=Verification("structure", "failed", NOW, "no"))
    put_backup(tmp_path, NOW.replace(year=2038), b"from the future")
    put_payload(tmp_path, "backup_app_2026-02-01_00-00-00.dump.gz")
    entries = ask(tmp_path)["databases"]
    [entry] = [entry for entry in entries if entry["origin"] == "db1"]
    assert entry["sizes"] == [100 + number for number in range(29, -1, -1)]
    assert entry["newest_good_bytes"] == 100


def test_the_size_is_the_contents_where_a_manifest_has_it(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=2), b"x" * 10, content_bytes=1000)
    put_backup(tmp_path, ago(days=1), b"x" * 10, content_bytes=None)
    [entry] = ask(tmp_path)["databases"]
    assert (entry["sizes"], entry["newest_good_bytes"]) == ([1000, 10], 10)


def test_a_verification_is_the_latest_of_the_manifests_and_the_status(tmp_path: Path) -> None:
    def verified(level: Any, verdict: Any, at: datetime) -> dict[str, Any]:
        return {"verification": Verification(level, verdict, at, "")}

    put_backup(tmp_path, ago(days=9), **verified("restore", "passed", ago(days=8)))
    put_backup(tmp_path, ago(days=5), **verified("checksum", "passed", ago(days=4)))
    put_backup(tmp_path, ago(days=3), **verified("restore", "failed", ago(days=2)))
    entry = app_of(tmp_path)
    assert (entry["verified_at"], entry["drilled_at"]) == ("2026-02-25 12:00:00", "2026-02-21 12:00:00")
    assert entry["verified_at_epoch"] == int(ago(days=4).timestamp())
    entry = app_of(tmp_path, verified_at=ago(days=1), drilled_at=ago(days=6), uploaded_at=ago(days=7))
    assert (entry["verified_at"], entry["drilled_at"]) == ("2026-02-28 12:00:00", "2026-02-23 12:00:00")
    assert entry["uploaded_at"] == "2026-02-22 12:00:00"


# --- What backups prove ---------------------------------------------------------------------------


def test_a_run_that_stored_a_backup_before_it_died_created_it(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(hours=1))
    entry = app_of(tmp_path, last_run=DIED, last_failure=Failure(ago(minutes=50), "run_died", "It ended."))
    assert (entry["last_run"]["outcome"], entry["last_run"]["code"], entry["last_failure"]) == ("created", None, None)


def test_a_run_that_confirmed_a_backup_before_it_died_found_it_unchanged(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=1), confirmed_at=ago(hours=1))
    assert app_of(tmp_path, last_run=DIED)["last_run"]["outcome"] == "unchanged"


def test_a_run_that_died_without_a_backup_died(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=1))
    assert app_of(tmp_path, last_run=DIED)["last_run"]["outcome"] == "died"


def died_writing(folder: Path, began_at: datetime, stamp: datetime) -> dict[str, Any]:
    partial = f".backup_app_{stamp:%Y-%m-%d_%H-%M-%S}.dump.gz.partial"
    return app_of(folder, last_run=DIED._replace(began_at=began_at, partial=partial))["last_run"]


def test_a_run_that_died_in_the_second_of_the_backup_before_it_died(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(hours=2))
    assert died_writing(tmp_path, ago(hours=2), ago(hours=2) + timedelta(seconds=1))["outcome"] == "died"
    assert app_of(tmp_path, last_run=DIED)["last_run"]["outcome"] == "died"  # it had recorded no partial


def test_the_name_of_the_partial_decides_whatever_the_times(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(hours=2))
    assert died_writing(tmp_path, ago(hours=2), ago(hours=2))["outcome"] == "created"
    put_backup(tmp_path, ago(hours=1), confirmed_at=ago(minutes=5))
    assert died_writing(tmp_path, ago(minutes=5), ago(minutes=5))["outcome"] == "unchanged"
    assert died_writing(tmp_path, ago(minutes=9), ago(minutes=4))["outcome"] == "died"


def test_a_failure_before_the_last_good_backup_is_none(tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=1), confirmed_at=ago(hours=1))
    failure = Failure(ago(hours=2), "no_space", "Full.")
    assert app_of(tmp_path, last_failure=failure)["last_failure"] is None
    assert app_of(tmp_path, last_failure=failure._replace(at=ago(minutes=1)))["last_failure"]["code"] == "no_space"


# --- Runs under way -------------------------------------------------------------------------------


def test_only_what_is_being_dumped_runs_and_what_waits_has_its_last_run(tmp_path: Path) -> None:
    done = Attempt("created", ago(days=1), ago(days=1), 3.5, 100, 50)
    waits, new = (APP._replace(database=name) for name in ("waits", "new"))
    status = Status(
        {
            APP: GroupStatus("socket", task=Task("one", ago(hours=2), 30, 120, "partial"), last_run=done),
            waits: GroupStatus(task=Task("one"), last_run=done),
            new: GroupStatus(task=Task("one")),
        },
        (Run("one", ago(hours=3), ago(hours=1)),),
    )
    store = LocalStore(str(tmp_path))
    with store.bookkeeping().mark_alive():
        facts = ask(tmp_path, status)
        outcomes = {entry["database"]: entry["last_run"]["outcome"] for entry in facts["databases"]}
        assert outcomes == {"app": "running", "waits": "created", "new": "running"}
        [running] = facts["running"]
        assert running == {
            "origin": "db1",
            "engine": "postgresql",
            "instance": "7300000000000000001",
            "kind": "database",
            "database": "app",
            "partial": False,
            "partial_arguments": [],
            "source": "socket",
            "began_at": "2026-03-01 10:00:00",
            "began_at_epoch": int(ago(hours=2).timestamp()),
            "updated_at": "2026-03-01 11:00:00",
            "updated_at_epoch": int(ago(hours=1).timestamp()),
            "read_bytes": 30,
            "expected_bytes": 120,
        }
        assert (facts["last_run"]["outcome"], facts["last_run"]["failed"]) == ("running", 0)
    facts = ask(tmp_path)
    assert {entry["last_run"]["outcome"] for entry in facts["databases"]} == {"died"}
    assert (facts["last_run"]["outcome"], facts["last_run"]["failed"], facts["running"]) == ("died", 3, [])
    store.close()


def test_a_task_of_a_run_that_is_not_in_the_file_is_ignored(tmp_path: Path) -> None:
    facts = ask(tmp_path, Status({APP: GroupStatus(task=Task("lost", NOW))}))
    assert (facts["running"], facts["databases"][0]["last_run"], facts["last_run"]) == ([], None, None)


def test_of_several_runs_the_last_to_begin_is_the_last_whatever_the_clock_was(tmp_path: Path) -> None:
    runs = (Run("a", ago(days=-90), NOW, NOW, "succeeded"), Run("b", ago(hours=2), NOW, ago(hours=1), "failed", 2))
    last = ask(tmp_path, Status({}, runs))["last_run"]
    assert (last["outcome"], last["failed"], last["seconds"]) == ("failed", 2, 3600)
