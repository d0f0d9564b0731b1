"""What a run of db_backup leaves in the status, whatever it comes to, and what backup_facts reports of it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.impostor import HALF, Impostor
from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import Host, ModuleProcess, run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    STATUS,
    assert_whole,
    payload,
    payloads,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on, facts_of

TIMES = ("began_at", "began_at_epoch", "ended_at", "ended_at_epoch", "seconds")


def without_times(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in TIMES}


def database_facts(site: Site) -> dict[str, Any]:
    found = {entry["database"]: entry for entry in site.facts()["databases"]}
    entry = found[site.database]
    assert isinstance(entry, dict)
    return entry


def make_database(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table t (n)")
    return path


def back_up(path: Path, directory: Path, **over: Any) -> Any:
    return run_module("db_backup", engine="sqlite", directory=str(directory), databases=[str(path)], origin="db1", **over)


@contextlib.contextmanager
def half_dumped(site: Site, folder: Path, **over: Any) -> Iterator[tuple[ModuleProcess, Impostor]]:
    """A run whose pg_dump has written a part of a large database, and waits for ``say("go")``."""
    impostor = Impostor(folder, site.server.bin_directory, HALF.format(count=1 << 20))
    with site.backing_up(bin_directory=str(impostor.bin_directory), **over) as process:
        impostor.wait_for("half", unless=lambda: process.ended)
        yield process, impostor
        impostor.say("go")


# --- How it went ----------------------------------------------------------------------------------


def test_a_run_that_succeeds_leaves_how_it_went(site: Site) -> None:
    [record] = site.back_up().backups
    facts = site.facts()
    assert without_times(facts["last_run"]) == {"outcome": "succeeded", "failed": 0}
    assert facts["last_run"]["began_at"] <= facts["last_run"]["ended_at"]
    assert facts["running"] == []
    [entry] = facts["databases"]
    content_bytes = entry["last_run"]["content_bytes"]
    assert without_times(entry["last_run"]) == {
        "outcome": "created",
        "content_bytes": content_bytes,
        "payload_bytes": record["size_bytes"],
        "code": None,
        "msg": None,
    }
    assert entry["last_run"]["began_at_epoch"] <= entry["last_run"]["ended_at_epoch"]
    assert entry["last_run"]["seconds"] >= 0
    assert (entry["newest_good_bytes"], entry["sizes"], entry["last_failure"]) == (content_bytes, [content_bytes], None)
    assert {entry[key] for key in ("uploaded_at", "verified_at", "drilled_at")} == {None}
    assert facts["files"][0]["uploaded_at"] is None
    assert site.back_up().outcomes == ["unchanged"]
    assert database_facts(site)["last_run"]["outcome"] == "unchanged"
    assert site.back_up(interval="1d").outcomes == ["fresh"]
    assert database_facts(site)["last_run"]["outcome"] == "fresh"


def test_it_is_private_and_for_people_with_jq(site: Site) -> None:
    site.back_up()
    path = site.directory / STATUS
    assert path.stat().st_mode & 0o777 == 0o600
    values = json.loads(path.read_text(encoding="ascii"))
    assert values["status_version"] == 1
    [entry] = values["databases"]
    assert (entry["database"], entry["last_run"]["outcome"]) == (site.database, "created")


def test_a_failure_stays_until_the_next_success(site: Site, tmp_path: Path) -> None:
    site.back_up()
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, "sys.stderr.write('no way'); sys.exit(1)")
    failed = site.back_up(bin_directory=str(impostor.bin_directory))
    entry = database_facts(site)
    assert without_times(entry["last_run"]) == {
        "outcome": "failed",
        "content_bytes": None,
        "payload_bytes": None,
        "code": "program_failed",
        "msg": failed.backups[0]["msg"],
    }
    assert (entry["last_failure"]["code"], entry["last_failure"]["msg"]) == ("program_failed", failed.backups[0]["msg"])
    assert entry["newest_good"] == payload(site.directory).name
    assert without_times(site.facts()["last_run"]) == {"outcome": "failed", "failed": 1}
    site.back_up(interval="1d")
    assert database_facts(site)["last_failure"]["code"] == "program_failed"
    site.sql("insert into t values (3)")
    site.back_up()
    assert database_facts(site)["last_failure"] is None


def test_a_database_that_never_had_a_backup_is_listed(site: Site, tmp_path: Path) -> None:
    site.directory.mkdir(mode=0o700)
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, "sys.exit(1)")
    site.back_up(bin_directory=str(impostor.bin_directory))
    entry = database_facts(site)
    assert (entry["count"], entry["newest_good"], entry["age_seconds"], entry["sizes"]) == (0, None, None, [])
    assert entry["source"].endswith(f":{site.server.port}")
    assert entry["last_failure"]["code"] == "program_failed"
    assert site.facts(databases=["other"])["databases"] == []
    assert site.facts(state=["good"])["databases"] == []
    assert site.facts()["count"] == 0


def test_a_database_that_does_not_exist_fails_and_is_the_known_one_again_when_it_does(site: Site) -> None:
    site.back_up()
    site.back_up(databases=[site.database, "no such"])
    facts = {entry["database"]: entry for entry in site.facts()["databases"]}
    assert (facts["no such"]["instance"], facts["no such"]["last_failure"]["code"]) == (None, "database_missing")
    assert facts[site.database]["last_run"]["outcome"] == "unchanged"
    with database_on(site.server, "no such"):
        site.back_up(databases=[site.database, "no such"])
        facts = {entry["database"]: entry for entry in site.facts()["databases"]}
        assert facts["no such"]["instance"] == facts[site.database]["instance"]
        assert (len(facts), facts["no such"]["last_failure"]) == (2, None)
    site.back_up(databases=[site.database, "no such"])
    entries = [entry for entry in site.facts()["databases"] if entry["database"] == "no such"]
    assert [entry["last_failure"]["code"] for entry in entries] == ["database_missing"]
    assert entries[0]["newest_good"] is not None


# --- Servers that are not reached -----------------------------------------------------------------


def test_a_server_that_is_not_reached_is_a_failure_of_all_its_databases(site: Site, tmp_path: Path) -> None:
    with database_on(site.server) as second:
        site.back_up(databases=[site.database, second])
        back_up(make_database(tmp_path / "other.db"), site.directory)
        outcome = site.back_up(databases=[site.database, second], login_user="nobody there")
    assert outcome.status != 0
    facts = site.facts()
    entries = {entry["database"]: entry for entry in facts["databases"]}
    assert set(entries) == {site.database, second, "other.db"}
    for name in (site.database, second):
        assert entries[name]["last_failure"]["code"] == outcome.error_code
        assert entries[name]["newest_good"] is not None
    assert entries["other.db"]["last_failure"] is None
    assert without_times(facts["last_run"]) == {"outcome": "failed", "failed": 2}


def test_a_server_that_was_never_reached_stands_for_itself(site: Site) -> None:
    site.directory.mkdir(mode=0o700)
    nowhere = {"login_unix_socket": "/nonexistent", "databases": None}
    code = site.back_up(**nowhere).error_code
    [entry] = site.facts()["databases"]
    assert (entry["database"], entry["instance"], entry["source"]) == (None, None, f"/nonexistent:{site.server.port}")
    assert entry["last_failure"]["code"] == code
    named = {"login_unix_socket": "/nonexistent", "databases": ["app"]}
    site.back_up(**named)
    assert [entry["database"] for entry in site.facts()["databases"]] == ["app"]


def test_a_directory_that_does_not_exist_is_not_made_for_a_failure(site: Site) -> None:
    site.back_up(login_unix_socket="/nonexistent")
    assert not site.directory.exists()


def test_a_database_that_was_dropped_is_no_more_expected(site: Site) -> None:
    others = {"databases": None, "include_globals": False}
    with database_on(site.server) as second:
        site.back_up(**others)
        assert second in {entry["database"] for entry in site.facts()["databases"]}
    site.back_up(**others)
    site.back_up(**others, login_user="nobody there")
    entries = {entry["database"]: entry for entry in site.facts()["databases"]}
    assert entries[site.database]["last_failure"] is not None
    assert entries[second]["last_failure"] is None
    assert (entries[site.database]["expected"], entries[second]["expected"]) == (True, False)


# --- Runs under way, and their ends ---------------------------------------------------------------


def test_while_it_runs_it_shows_how_far_it_is(site: Site, tmp_path: Path) -> None:
    site.grow(6)
    site.back_up()
    expected = database_facts(site)["newest_good_bytes"]
    site.sql("insert into t values (5)")
    with half_dumped(site, tmp_path / "fake") as (process, impostor):
        wait_until(lambda: bool(site.facts()["running"]))
        facts = site.facts()
        [running] = facts["running"]
        assert (running["database"], running["expected_bytes"]) == (site.database, expected)
        assert 0 <= running["read_bytes"] < expected
        assert running["began_at"] <= running["updated_at"]
        assert (facts["last_run"]["outcome"], facts["last_run"]["ended_at"]) == ("running", None)
        entry = database_facts(site)
        assert (entry["last_run"]["outcome"], entry["last_failure"]) == ("running", None)
        impostor.say("go")
        assert process.wait().outcomes == ["created"]
    assert site.facts()["running"] == []
    assert_whole(site.directory)


def test_it_is_not_written_for_every_piece(site: Site, tmp_path: Path) -> None:
    site.grow(24)
    path = site.directory / STATUS
    seen: set[int] = set()
    began = time.monotonic()
    with site.backing_up() as process:
        while not process.ended:
            with contextlib.suppress(FileNotFoundError):
                seen.add(path.stat().st_mtime_ns)
    # As it begins, with its first bytes, and at its end; about a hundred pieces were read.
    assert 2 <= len(seen) <= 3 + (time.monotonic() - began)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_says_so(site: Site, tmp_path: Path, number: signal.Signals) -> None:
    site.grow(6)
    with database_on(site.server) as second:
        with half_dumped(site, tmp_path / "fake", databases=[site.database, second]) as (process, _impostor):
            process.send_signal(number)
            assert process.wait().error_code == "interrupted"
        entries = {entry["database"]: entry for entry in site.facts()["databases"]}
        for name in (site.database, second):
            assert entries[name]["last_run"]["outcome"] == "interrupted"
            assert entries[name]["last_failure"]["code"] == "interrupted"
    assert without_times(site.facts()["last_run"]) == {"outcome": "interrupted", "failed": 2}
    assert site.facts()["running"] == []


def test_of_a_killed_run_the_facts_say_that_it_died(site: Site, tmp_path: Path) -> None:
    site.back_up()
    site.grow(6)
    with half_dumped(site, tmp_path / "fake") as (process, _impostor):
        wait_until(lambda: bool(site.facts()["running"]))
        process.kill()
    before = state_of(site.directory)
    facts = site.facts()
    assert (facts["last_run"]["outcome"], facts["last_run"]["ended_at"], facts["running"]) == ("died", None, [])
    entry = database_facts(site)
    assert (entry["last_run"]["outcome"], entry["last_run"]["code"]) == ("died", "run_died")
    assert "it was killed, or the host went down" in entry["last_failure"]["msg"]
    assert entry["newest_good"] == payload(site.directory).name
    assert state_of(site.directory) == before
    # Another database's run does not know better, and writes it down.
    back_up(make_database(tmp_path / "other.db"), site.directory)
    assert database_facts(site)["last_failure"]["code"] == "run_died"
    assert site.facts()["last_run"]["outcome"] == "succeeded"
    site.back_up()
    entry = database_facts(site)
    assert (entry["last_run"]["outcome"], entry["last_failure"]) == ("created", None)


def test_a_killed_run_is_recognised_though_another_one_is_alive(site: Site, tmp_path: Path) -> None:
    site.grow(6)
    with database_on(site.server) as second, half_dumped(site, tmp_path / "one") as (alive, _impostor):
        other = site._replace(database=second)
        other.grow(6)
        with half_dumped(other, tmp_path / "two") as (process, _second):
            wait_until(lambda: len(site.facts()["running"]) == 2)
            process.kill()
        assert [running["database"] for running in site.facts()["running"]] == [site.database]
        entries = {entry["database"]: entry for entry in site.facts()["databases"]}
        assert entries[second]["last_run"]["outcome"] == "died"
        assert entries[site.database]["last_run"]["outcome"] == "running"
        assert not alive.ended


def test_two_runs_at_a_time_both_leave_how_they_went(site: Site, tmp_path: Path) -> None:
    paths = [make_database(tmp_path / f"{number}.db") for number in range(6)]
    site.directory.mkdir(mode=0o700)
    threads = [threading.Thread(target=back_up, args=(path, site.directory)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = {entry["database"]: entry["last_run"]["outcome"] for entry in site.facts()["databases"]}
    assert entries == {path.name: "created" for path in paths}
    assert site.facts()["running"] == []


def test_a_full_disk_is_a_failure_like_others(site: Site, small_disk: Callable[[str], Path]) -> None:
    site = site._replace(directory=small_disk("size=3m"))
    site.grow(6)
    assert site.back_up().error_code == "no_space"
    assert database_facts(site)["last_failure"]["code"] == "no_space"
    assert_whole(site.directory)


def test_a_disk_without_room_for_the_status_costs_a_warning(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    # The directory itself, the lock, the payload and its manifest.
    directory = small_disk("size=3m,nr_inodes=5")
    path = make_database(tmp_path / "app.db")
    (directory / "others").touch()
    outcome = back_up(path, directory)
    assert outcome.error_code == "no_space"
    assert not (directory / STATUS).exists() or database_of(directory)["last_failure"]["code"] == "no_space"


def database_of(directory: Path) -> dict[str, Any]:
    [entry] = facts_of(directory)["databases"]
    assert isinstance(entry, dict)
    return entry


# --- Files that are not ours ----------------------------------------------------------------------


def plant_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def plant_hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


FOREIGN: dict[str, Callable[[Path, Path], object]] = {
    "a link": plant_link,
    "a second name": plant_hard_link,
    "a directory": lambda path, victim: path.mkdir(),
    "a fifo": lambda path, victim: os.mkfifo(path),
    "a newer version": lambda path, victim: path.write_text('{"status_version": 2}'),
}


@pytest.mark.parametrize("plant", FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_ours_stays_as_it_is_and_costs_a_warning(tmp_path: Path, plant: Callable[[Path, Path], object]) -> None:
    path, directory, victim = make_database(tmp_path / "app.db"), tmp_path / "backups", tmp_path / "victim"
    directory.mkdir(mode=0o700)
    victim.write_text("of worth")
    plant(directory / STATUS, victim)
    before = state_of(directory / STATUS)
    outcome = back_up(path, directory)
    assert outcome.outcomes == ["created"]
    assert any(STATUS in warning for warning in outcome.warnings)
    facts = run_module("backup_facts", directory=str(directory))
    assert any(STATUS in warning for warning in facts.warnings)
    found = facts.result["ansible_facts"]["database_backups"]
    assert (found["last_run"], found["count"]) == (None, 1)
    assert state_of(directory / STATUS) == before
    assert victim.read_text() == "of worth"


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b'{"status_version": 1, "databases": 7}', b"[" * 10**6, b"x" * (5 << 20)], ids=range(5)
)
def test_garbage_is_replaced(tmp_path: Path, data: bytes) -> None:
    path, directory = make_database(tmp_path / "app.db"), tmp_path / "backups"
    directory.mkdir(mode=0o700)
    (directory / STATUS).write_bytes(data)
    facts = run_module("backup_facts", directory=str(directory))
    assert facts.status == 0
    outcome = back_up(path, directory)
    assert outcome.outcomes == ["created"]
    assert database_of(directory)["last_run"]["outcome"] == "created"
    assert outcome.warnings == [] or "lost" in outcome.warnings[0]


@only_root
def test_another_users_file_is_not_believed_where_others_may_write(tmp_path: Path, open_folder: Path) -> None:
    path = make_database(tmp_path / "app.db")
    os.chown(open_folder, 0, 0)
    open_folder.chmod(0o1777)
    status = open_folder / STATUS
    status.write_text('{"status_version": 1, "databases": [], "runs": [], "uploads": {}}')
    os.chown(status, UNPRIVILEGED, UNPRIVILEGED)
    outcome = back_up(path, open_folder)
    assert any("belongs to the user" in warning for warning in outcome.warnings)
    facts = run_module("backup_facts", directory=str(open_folder))
    assert any("belongs to the user" in warning for warning in facts.warnings)
    assert facts.result["ansible_facts"]["database_backups"]["last_run"] is None


@only_root
def test_the_status_that_root_writes_is_the_owners_of_the_directory(
    tmp_path: Path, open_folder: Path, unprivileged: Host
) -> None:
    directory = open_folder / "backups"
    directory.mkdir(mode=0o700)
    os.chown(directory, UNPRIVILEGED, UNPRIVILEGED)
    back_up(make_database(tmp_path / "app.db"), directory)
    assert (directory / STATUS).stat().st_uid == UNPRIVILEGED
    facts = run_module("backup_facts", directory=str(directory), host=unprivileged)
    assert facts.result["ansible_facts"]["database_backups"]["last_run"]["outcome"] == "succeeded"


@only_root
def test_owner_group_and_mode_are_those_of_the_options(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    back_up(make_database(tmp_path / "app.db"), directory, owner=str(UNPRIVILEGED), group=str(UNPRIVILEGED), mode="0640")
    found = (directory / STATUS).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (UNPRIVILEGED, UNPRIVILEGED, 0o640)


# --- Who writes, and who does not -----------------------------------------------------------------


def test_check_mode_writes_nothing(site: Site) -> None:
    site.back_up()
    site.sql("insert into t values (7)")
    before = state_of(site.directory)
    assert site.back_up(check=True).outcomes == ["created"]
    assert site.back_up(check=True, login_unix_socket="/nonexistent").status != 0
    assert state_of(site.directory) == before


@only_root
def test_facts_need_no_right_to_write(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    directory = small_disk("size=3m")
    back_up(make_database(tmp_path / "app.db"), directory)
    os.system(f"mount -o remount,ro {directory}")
    try:
        assert facts_of(directory)["last_run"]["outcome"] == "succeeded"
    finally:
        os.system(f"mount -o remount,rw {directory}")


def test_a_lock_that_another_run_holds_delays_a_run_by_no_more_than_seconds(tmp_path: Path) -> None:
    path, directory = make_database(tmp_path / "app.db"), tmp_path / "backups"
    back_up(path, directory)
    lock = os.open(directory / ".lastgood.lock", os.O_RDWR)
    threading.Timer(3.0, os.close, [lock]).start()
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert back_up(path, directory).outcomes == ["unchanged"]
    assert database_of(directory)["last_run"]["outcome"] == "unchanged"


def test_neither_the_list_nor_retention_counts_it(site: Site) -> None:
    site.back_up()
    status = (site.directory / STATUS).read_bytes()
    assert [record["filename"] for record in site.facts()["files"]] == [path.name for path in payloads(site.directory)]
    pruned = run_module("backup_prune", directory=str(site.directory), keep_last=1)
    assert (pruned.changed, pruned.result["swept"]) == (False, [])
    assert (site.directory / STATUS).read_bytes() == status
