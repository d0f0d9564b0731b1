"""Faults of a nightly run: the last good backups are as they were, and the exit status and the status say what happened."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.observe import (
    STATUS,
    assert_whole,
    contents,
    leftovers,
    manifest,
    manifest_path,
    payload,
    payloads,
    rewrite_manifest,
    runs,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.program import Program, settings_file

OK, FAILED, USAGE, LOCKED = 0, 1, 2, 75
STOPS_WITHIN_SECONDS = 10


@dataclass(frozen=True)
class Nightly:
    """A host whose settings have one SQLite database."""

    program: Program
    database: Path
    directory: Path
    settings: Path

    def run(self, settings: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.program.run("run", settings=settings or self.settings)

    def change(self) -> None:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.execute("INSERT INTO note VALUES (hex(randomblob(1000)))")
            connection.commit()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / STATUS).read_text())
        return found

    def is_copying(self) -> bool:
        return any(name.endswith(".copy.partial") for name in leftovers(self.directory))

    @contextlib.contextmanager
    def hanging(self) -> Iterator[subprocess.Popen[str]]:
        """A run that waits for the database, which somebody has locked."""
        self.change()
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            process = subprocess.Popen(
                self.program.command("run", "--settings", str(self.settings)),
                env=self.program.environment,
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                wait_until(lambda: self.is_copying() or process.poll() is not None)
                assert process.poll() is None, process.communicate()
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program.build(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def untouched(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Nightly:
    """A host that was backed up last night, for runs that do not begin."""
    folder = tmp_path_factory.mktemp("untouched")
    return backed_up(program, folder, folder / "backups")


@pytest.fixture
def nightly(program: Program, tmp_path: Path) -> Nightly:
    """A host that was backed up last night."""
    return backed_up(program, tmp_path, tmp_path / "backups")


def backed_up(program: Program, folder: Path, directory: Path, **variables: Any) -> Nightly:
    database = folder / "notes.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE note (text)")
        connection.commit()
    source = {"engine": "sqlite", "databases": [str(database)], "compression": "none"}
    settings = settings_file(folder, backup_directory=str(directory), backup_sources=[source], backup_interval="0s", **variables)
    host = Nightly(program, database, directory, settings)
    assert host.run().returncode == OK
    return host


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "do not exist"),
        ("{", 0o600, "are no JSON in line 1"),
        ("", 0o600, "are no JSON in line 1"),
        ("{}", 0o644, "have mode 0644"),
        ('{"version": 2}', 0o600, "have version 2, and this program reads versions up to 1"),
        ("{}", 0o600, "backup_sources is empty"),
    ],
    ids=["missing", "garbage", "empty", "world-readable", "newer", "without sources"],
)
def test_settings_that_cannot_be_used_end_the_run_before_it_begins(
    untouched: Nightly, tmp_path: Path, content: str | None, mode: int, words: str
) -> None:
    before = contents(untouched.directory), untouched.status()
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
        other.chmod(mode)
    done = untouched.run(other)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert (contents(untouched.directory), untouched.status()) == before


def test_a_full_disk_fails_the_run_and_leaves_the_last_good_backup(
    program: Program, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    host = backed_up(program, tmp_path, small_disk("size=1m"))
    before = contents(host.directory)
    with contextlib.closing(sqlite3.connect(host.database)) as connection:
        connection.execute("INSERT INTO note VALUES (randomblob(3000000))")
        connection.commit()
    done = host.run()
    assert done.returncode == FAILED
    assert [line for line in done.stdout.splitlines() if line.startswith("failed  notes.db")], done.stdout
    assert contents(host.directory) == before
    assert '"no_space"' in json.dumps(host.status())


def test_a_run_that_was_killed_leaves_nothing_that_counts_and_the_next_one_sweeps_it(nightly: Nightly) -> None:
    before = contents(nightly.directory)
    with nightly.hanging() as process:
        os.killpg(process.pid, signal.SIGKILL)  # the program and the module, as the kernel or systemd does
        process.wait()
    assert set(contents(nightly.directory)) - set(before) == set(leftovers(nightly.directory))
    asked = nightly.program.run("facts", "--json", settings=nightly.settings)
    assert '"run_died"' in asked.stdout, asked.stdout
    done = nightly.run()
    assert done.returncode == OK, done.stdout + done.stderr
    assert before.items() <= contents(nightly.directory).items()
    assert len(payloads(nightly.directory)) == 2
    assert_whole(nightly.directory)


def test_a_run_that_is_stopped_ends_in_time_with_nothing_left(nightly: Nightly) -> None:
    before = contents(nightly.directory)
    with nightly.hanging() as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)  # to the program alone, as KillMode=mixed does
        output, _errors = process.communicate(timeout=60)
        assert time.monotonic() - began < STOPS_WITHIN_SECONDS
        assert process.returncode == FAILED
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)  # nothing of its session is left
    assert "ended" in output
    assert contents(nightly.directory) == before
    assert '"interrupted"' in json.dumps(nightly.status())


def test_of_two_timers_the_second_finds_the_first_at_work(nightly: Nightly) -> None:
    with nightly.hanging() as process:
        before = contents(nightly.directory)
        second = nightly.run()
        assert second.returncode == LOCKED
        assert "under way" in second.stderr
        assert runs(process.pid)
        assert contents(nightly.directory).keys() == before.keys()


def test_a_clock_that_was_set_back_hides_no_backup_and_skips_none(nightly: Nightly) -> None:
    made = payload(nightly.directory)
    last = made.with_name("backup_notes.db_2099-01-01_00-00-00.dump")
    manifest_path(made).rename(manifest_path(last))
    made.rename(last)
    ahead = "2099-01-01T00:00:00Z"
    rewrite_manifest(last, created_at=ahead, finished_at=ahead, confirmed_at=ahead)
    before = contents(nightly.directory)
    content = json.loads(nightly.settings.read_text())
    nightly.settings.write_text(json.dumps({**content, "backup_interval": "52w", "backup_retention": {"keep_last": 1}}))
    done = nightly.run()
    assert done.returncode == OK, done.stderr
    assert done.stdout.startswith("created  notes.db")
    assert last.name in done.stderr  # it says which one is from the future
    assert before.items() <= contents(nightly.directory).items()
    (new,) = set(payloads(nightly.directory)) - {last}
    assert manifest(new)["created_at"] < "2099"


def test_a_source_whose_user_does_not_exist_fails_alone(nightly: Nightly) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    before = contents(nightly.directory)
    content = json.loads(nightly.settings.read_text())
    lost = {**content["backup_sources"][0], "become_user": "no-such-user", "directory": str(nightly.directory / "lost")}
    nightly.settings.write_text(json.dumps({**content, "backup_sources": [lost, *content["backup_sources"]]}))
    nightly.change()
    done = nightly.run()
    assert done.returncode == FAILED
    failed, created = done.stdout.splitlines()
    assert failed.startswith("failed  become_user is 'no-such-user', and the host knows no such user.")
    assert created.startswith("created  notes.db")
    assert before.items() <= contents(nightly.directory).items()
    asked = nightly.program.run("status", settings=nightly.settings)
    assert asked.returncode == 3
    assert "no-such-user" in asked.stdout
