"""A module that continues in the background: what its first process says, and what is in the folder of the run."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._background import VARIABLE, folder_of
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import wait_until


@dataclass
class Run:
    """A run of db_backup over an SQLite database, which another connection can lock so that the run waits for it."""

    folder: Path
    database: Path
    directory: Path
    token: str

    def host(self, seconds: int, **environment: str) -> Host:
        return Host(environment={VARIABLE: f"{seconds} {self.token}", **environment})

    def options(self, **over: Any) -> dict[str, Any]:
        return {"directory": str(self.directory), "engine": "sqlite", "databases": [str(self.database)], **over}

    def start(self, seconds: int, **environment: str) -> Outcome:
        return run_module("db_backup", host=self.host(seconds, **environment), **self.options())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield

    def is_alive(self) -> bool:
        with (self.folder / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result").read_text())
        return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    token = secrets.token_hex(16)
    database = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    run = Run(Path(folder_of(token)), database, tmp_path / "backups", token)
    yield run
    if run.folder.exists():
        wait_until(lambda: not run.is_alive())
        shutil.rmtree(run.folder)


def test_a_run_that_ends_in_time_returns_its_result_and_leaves_nothing(run: Run) -> None:
    plain = run_module("db_backup", **run.options())
    outcome = run.start(60)
    assert outcome.result.keys() == plain.result.keys()
    assert outcome.outcomes == ["unchanged"]
    assert not run.folder.exists()


def test_a_failure_has_its_exit_status_and_leaves_nothing(run: Run) -> None:
    run.database.unlink()
    outcome = run.start(60)
    assert (outcome.status, outcome.error_code) == (1, "database_missing")
    assert not run.folder.exists()


def test_a_longer_run_returns_early_and_its_result_is_in_the_folder(run: Run) -> None:
    with run.locked():
        began = time.monotonic()
        outcome = run.start(1)
        assert 1 < time.monotonic() - began < 20
        assert list(outcome.result) == ["lastgood_under_way"]
        assert run.is_alive()
        assert os.getsid(run.pid()) == run.pid()  # the end of a session on the host does not reach it
    wait_until(lambda: not run.is_alive())
    assert [one["outcome"] for one in run.result()["backups"]] == ["created"]


def test_files_of_the_run_are_for_its_user_alone(run: Run) -> None:
    before = os.umask(0)
    try:
        with run.locked():
            run.start(0)
    finally:
        os.umask(before)
    assert run.folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in run.folder.iterdir()}.items() >= {
        ("lock", 0o600),
        ("pid", 0o600),
        ("result", 0o600),
        ("errors", 0o600),
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_first_process_ends_the_run(run: Run, number: signal.Signals) -> None:
    with run.locked(), running_module("db_backup", host=run.host(60), **run.options()) as process:
        wait_until((run.folder / "pid").exists)
        time.sleep(0.5)
        process.send_signal(number)
        outcome = process.wait()
    assert (outcome.error_code, outcome.result["error"]["signal"]) == ("interrupted", number)
    assert not run.folder.exists()


def test_a_lost_terminal_ends_the_first_process_alone(run: Run) -> None:
    with run.locked(), running_module("db_backup", host=run.host(60), **run.options()) as process:
        wait_until((run.folder / "pid").exists)
        process.send_signal(signal.SIGHUP)
        assert list(process.wait().result) == ["lastgood_under_way"]
        assert run.is_alive()
    wait_until(lambda: not run.is_alive())
    assert run.result()["changed"]


def test_the_result_stays_where_nobody_hears_the_first_process(run: Run) -> None:
    with running_module("db_backup", host=run.host(60), **run.options()) as process:
        process.close_output()
        wait_until(lambda: process.ended)
        assert run.result()["changed"]


def test_a_second_start_of_the_same_run_does_the_work_no_second_time(run: Run) -> None:
    with run.locked():
        run.start(0)
        assert list(run.start(60).result) == ["lastgood_under_way"]
    wait_until(lambda: not run.is_alive())
    assert len(run.result()["backups"]) == 1
    assert len(list(run.directory.glob("*.manifest.json"))) == 1


def test_a_folder_of_another_user_is_not_used(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    run.folder.mkdir()
    os.chown(run.folder, 65534, 65534)
    outcome = run.start(60)
    assert outcome.outcomes == ["created"]
    assert [warning for warning in outcome.warnings if "No progress is shown" in warning and str(run.folder) in warning]
    assert list(run.folder.iterdir()) == []
    run.folder.rmdir()


def test_a_host_without_flock_runs_as_before_with_one_warning(run: Run, tmp_path: Path) -> None:
    outcome = run.start(0, PATH=str(tmp_path))
    assert outcome.outcomes == ["created"]
    assert outcome.warnings == [
        "No progress is shown, since the run can't be continued in the background: the program flock is not installed."
    ]
    assert not run.folder.exists()


def test_progress_is_written_for_the_action_plugin(run: Run) -> None:
    with contextlib.closing(sqlite3.connect(run.database)) as connection:
        connection.execute("INSERT INTO note VALUES (hex(zeroblob(10000000)))")
        connection.commit()
    with run.locked():
        run.start(0)
    wait_until(lambda: not run.is_alive())
    report = json.loads((run.folder / "progress").read_text())["lastgood_under_way"]
    [task] = report["tasks"]
    assert (task["title"], task["expected_bytes"]) == ("app.db", run.database.stat().st_size)
    assert 0 <= task["done_bytes"] <= task["expected_bytes"]


def test_the_action_plugin_waits_with_a_command_that_hosts_have() -> None:
    done = subprocess.run(["flock", "-s", "-w", "1", "/dev/null", "true"], check=False, capture_output=True)
    assert done.returncode == 0


def test_a_result_that_nobody_fetched_for_a_day_is_deleted_by_the_next_run(run: Run) -> None:
    folders = [Path(folder_of(f"{'0' * 24}{secrets.token_hex(4)}")) for _number in range(3)]
    old, recent, alive = folders
    for folder in folders:
        folder.mkdir(mode=0o700)
        (folder / "lock").touch()
        if folder != recent:
            os.utime(folder, (0, time.time() - 90_000))
    try:
        with (alive / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            run.start(60)
        assert [folder.exists() for folder in (old, recent, alive)] == [False, True, True]
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
