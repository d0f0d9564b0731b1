"""Runs that show their progress in the play: what they print, what they return, what they leave, and what ends them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.becoming import OTHER, as_user, become_exe
from ansible_collections.lastgood.database.tests.support.modules import Host, run_module
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.places import common_directory, only_root
from ansible_collections.lastgood.database.tests.support.plays import LOCAL, Play, over_ssh, playing
from ansible_collections.lastgood.database.tests.support.processes import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server, sshd

needs_sshd = pytest.mark.skipif(sshd() is None, reason="OpenSSH's server is not installed")
ASYNC_KEYS = {"ansible_job_id", "started", "finished", "results_file", "lastgood_under_way"}
WAITS = r"^{host}  (has run for [0-9]+ s|app\.db  .*)$"


@dataclass
class Site:
    """An SQLite database, which another connection can lock so that a backup waits, and where its backups go."""

    folder: Path
    database: Path
    directory: Path

    def options(self, **over: Any) -> dict[str, Any]:
        return {"directory": str(self.directory), "engine": "sqlite", "databases": [str(self.database)], "progress": 1, **over}

    def task(self, **over: Any) -> dict[str, Any]:
        return {"lastgood.database.db_backup": self.options(**over)}

    @contextlib.contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield connection

    def manifests(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("*.manifest.json"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    database = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    return Site(tmp_path, database, tmp_path / "backups")


@pytest.fixture
def server() -> Iterator[SftpServer]:
    with sftp_server() as server:
        yield server


def runs(site: Site) -> set[Path]:
    """Return the folders of this test's runs: others may run on this host too."""
    return {folder for folder in Path("/tmp").glob(".lastgood-*") if str(site.folder).encode() in _traces(folder)}


def _traces(folder: Path) -> bytes:
    """Return what says whose run it is: its environment while it lives, its result afterwards."""
    with contextlib.suppress(OSError, ValueError):
        return Path(f"/proc/{int((folder / 'pid').read_text())}/environ").read_bytes()
    with contextlib.suppress(OSError):
        return (folder / "result").read_bytes()
    return b""


def shows(play: Play, host: str = "db7") -> bool:
    """Whether a line of a host's run was shown."""
    return re.search(WAITS.format(host=host), play.output(), re.MULTILINE) is not None


def warnings_of(result: dict[str, Any]) -> list[str]:
    return [warning for warning in result.get("warnings", []) if "interpreter" not in warning]


def test_two_hosts_show_how_far_they_are_at_the_same_time(site: Site, server: SftpServer) -> None:
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        connection.execute("INSERT INTO note VALUES (hex(randomblob(10000000)))")
        connection.commit()
    assert run_module("db_backup", **site.options(compression="none")).changed
    upload = {
        "directory": str(site.directory),
        "sftp": server.options(site.folder / "remote-{{ inventory_hostname }}", create_directory=True),
        "bandwidth_limit": "3M",
        "progress": 1,
    }
    with playing(site.folder, [{"lastgood.database.backup_upload": upload}], hosts=["db7", "db8"]) as play:
        assert play.finish() == 0, play.output()
    for host in ("db7", "db8"):
        lines = re.findall(
            rf"^{host}  app\.db  ([0-9]+) %  [0-9.]+ of 19\.[0-9] MiB  .*MiB/s  [0-9]+ s left$", play.output(), re.MULTILINE
        )
        assert len(lines) >= 2, play.output()
        assert lines == sorted(lines, key=int)
        [result] = play.results(host)
        assert len(result["uploaded"]) == 1
    order = re.findall(r"^(db[78])  app", play.output(), re.MULTILINE)
    assert "".join(order) != "".join(sorted(order)), "one after the other"


def test_a_result_is_the_modules_own(site: Site) -> None:
    again = {"skip_unchanged": False}
    with site.locked() as connection, playing(site.folder, [site.task(), site.task(progress=0, **again)]) as play:
        play.wait_until(lambda: shows(play))
        connection.rollback()
        assert play.finish() == 0, play.output()
    long, plain = play.results()
    assert long.keys() == plain.keys()
    assert not ASYNC_KEYS & long.keys()
    assert long["backups"][0].keys() == plain["backups"][0].keys()
    assert (long["changed"], long["failed"], warnings_of(long)) == (True, False, [])
    assert runs(site) == set()


def test_a_failure_after_a_while_is_the_modules_own(site: Site) -> None:
    with site.locked(), playing(site.folder, [site.task(lock_timeout="3s")]) as play:
        assert play.finish() == 0
    [result] = play.results()
    assert shows(play)
    assert (result["failed"], result["error"]["code"]) == (True, "source_busy")
    assert runs(site) == set()


@needs_sshd
@pytest.mark.parametrize("pipelining", [True, False])
def test_a_run_that_is_shorter_than_the_interval_costs_no_round_trip_more(
    site: Site, server: SftpServer, pipelining: bool
) -> None:
    variables = {**over_ssh(server), "ansible_pipelining": pipelining}
    tasks = [site.task(progress=0), site.task(progress=0), site.task(progress=30)]  # the first one opens the connection
    with playing(site.folder, tasks, "-vvv", variables=variables) as play:
        assert play.finish() == 0, play.output()
    parts = play.output().split("TASK [")
    without, with_progress = (len(re.findall(r"SSH: EXEC|PUT ", part)) for part in parts[2:4])
    assert with_progress == without > 0


@needs_sshd
@pytest.mark.parametrize("pipelining", [True, False])
def test_a_connection_that_is_lost_for_a_while_does_not_end_the_run(site: Site, server: SftpServer, pipelining: bool) -> None:
    variables = {**over_ssh(server), "ansible_pipelining": pipelining}
    seconds = float(os.environ.get("LASTGOOD_OUTAGE_SECONDS", "8"))
    with site.locked() as connection, playing(site.folder, [site.task(lock_timeout="10m")], variables=variables) as play:
        play.wait_until(lambda: shows(play))
        server.kill()
        wait_until(lambda: "connection lost, the run goes on" in play.output())
        time.sleep(seconds)
        connection.rollback()  # the run ends while nobody can hear it
        time.sleep(1)
        again = subprocess.Popen([str(sshd()), "-D", "-e", "-f", str(server.folder / "config")], stderr=subprocess.DEVNULL)
        try:
            assert play.finish() == 0, play.output()
        finally:
            again.terminate()
            again.wait()
    [result] = play.results()
    assert (result["changed"], len(site.manifests())) == (True, 1)
    assert runs(site) == set()


@needs_sshd
def test_a_host_that_was_never_reached_is_unreachable_soon(site: Site, server: SftpServer) -> None:
    variables = {**over_ssh(server), "ansible_pipelining": True}
    server.kill()
    with playing(site.folder, [site.task()], variables=variables) as play:
        began = time.monotonic()
        assert play.finish() == 4, play.output()
        assert time.monotonic() - began < 60
    assert "UNREACHABLE" in play.output()


@pytest.mark.parametrize("over", ["local", pytest.param("ssh", marks=needs_sshd)])
def test_an_interrupted_play_ends_the_run_on_the_host(site: Site, server: SftpServer, over: str) -> None:
    variables = LOCAL if over == "local" else over_ssh(server)
    with site.locked(), playing(site.folder, [site.task(lock_timeout="10m")], variables=variables) as play:
        play.wait_until(lambda: shows(play))
        [folder] = runs(site)
        pid = int((folder / "pid").read_text())
        play.interrupt()
        assert play.finish() != 0
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
        wait_until(lambda: not runs(site))
    assert site.manifests() == []


def test_a_play_that_is_interrupted_at_the_start_ends_the_run_as_well(site: Site) -> None:
    with site.locked(), playing(site.folder, [site.task(lock_timeout="10m", progress=60)]) as play:
        wait_until(lambda: any((folder / "pid").exists() for folder in runs(site)))
        play.interrupt()
        play.finish()
        wait_until(lambda: not runs(site))
    assert site.manifests() == []


def test_a_tasks_own_time_limit_ends_the_run(site: Site) -> None:
    with site.locked(), playing(site.folder, [{**site.task(lock_timeout="10m"), "timeout": 4}]) as play:
        play.finish()
        assert "TASK" in play.output()
        wait_until(lambda: not runs(site))
    [result] = play.results()
    assert result["failed"]


def test_a_run_that_is_killed_is_a_failure_that_says_so(site: Site) -> None:
    with site.locked(), playing(site.folder, [site.task(lock_timeout="10m")]) as play:
        play.wait_until(lambda: shows(play))
        [folder] = runs(site)
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        play.finish()
    [result] = play.results()
    assert (result["failed"], result["error"]) == (True, {"code": "run_died"})
    assert "out-of-memory" in result["msg"]
    assert not folder.exists()


def test_a_run_goes_on_without_the_process_that_waits_for_it(site: Site) -> None:
    with site.locked() as connection, playing(site.folder, [site.task(lock_timeout="10m", progress=60)]) as play:
        play.wait_until(lambda: bool(runs(site)))
        [folder] = runs(site)
        run = int((folder / "pid").read_text())
        waits = int(Path(f"/proc/{run}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(waits, signal.SIGKILL)
        time.sleep(1)
        connection.rollback()
        assert play.finish() == 0, play.output()
    [result] = play.results()
    assert (result["changed"], result["failed"], len(site.manifests())) == (True, False, 1)
    assert not folder.exists()


def test_secrets_are_in_no_file_of_the_run_and_in_no_output(site: Site, server: SftpServer) -> None:
    secret = "Tr0ub4dor-and-3"
    assert run_module("db_backup", **site.options()).changed
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        connection.execute("INSERT INTO note VALUES (hex(randomblob(3000000)))")
        connection.commit()
    assert run_module("db_backup", **site.options(compression="none")).changed
    sftp = server.options(site.folder / "remote", create_directory=True, key_passphrase=secret)
    upload = {"directory": str(site.directory), "sftp": sftp, "bandwidth_limit": "1M", "progress": 1}
    seen = b""
    variables = {**over_ssh(server), "ansible_pipelining": True}
    with playing(site.folder, [{"lastgood.database.backup_upload": upload}], "-vvvv", variables=variables) as play:
        play.wait_until(lambda: re.search("^db7  .* left$", play.output(), re.MULTILINE) is not None)
        [folder] = runs(site)
        for path in folder.iterdir():
            assert path.stat().st_mode & 0o077 == 0
            seen += path.read_bytes()
        pid = int((folder / "pid").read_text())
        seen += Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert play.finish() == 0, play.output()
    assert seen
    assert secret.encode() not in seen
    assert secret not in play.output()
    assert runs(site) == set()


OFF: list[tuple[dict[str, Any], dict[str, str], list[str]]] = [
    ({}, {}, ["--check"]),
    ({"async": 60, "poll": 1}, {}, []),
    ({"no_log": True}, {}, []),
    ({}, {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline"}, []),
]


@pytest.mark.parametrize(("keywords", "environment", "arguments"), OFF)
def test_no_line_is_shown_where_it_would_be_in_the_way(
    site: Site, keywords: dict[str, Any], environment: dict[str, str], arguments: list[str]
) -> None:
    with site.locked() as connection:
        task = {**site.task(), **keywords}
        with playing(site.folder, [task], *arguments, environment=environment) as play:
            time.sleep(6)
            assert runs(site) == set()
            connection.rollback()
            assert play.finish() == 0, play.output()
    assert not shows(play)
    if not arguments:
        [result] = play.results()
        assert result["changed"]


@pytest.mark.parametrize("progress", ["soon", [], {}])
def test_a_value_that_is_no_number_is_refused(site: Site, progress: Any) -> None:
    with playing(site.folder, [site.task(progress=progress)]) as play:
        play.finish()
    [result] = play.results()
    assert result["failed"]
    assert "progress" in result["msg"]


def test_a_host_without_flock_runs_as_before_with_one_warning(site: Site) -> None:
    task = {**site.task(), "environment": {"PATH": str(site.folder), "HOME": "/nonexistent"}}
    with playing(site.folder, [task]) as play:
        assert play.finish() == 0, play.output()
    [result] = play.results()
    assert result["changed"]
    assert ["flock is not installed" in warning for warning in warnings_of(result)] == [True]


def test_a_loop_shows_the_progress_of_each_item(site: Site) -> None:
    task = {**site.task(skip_unchanged=False, lock_timeout="{{ item }}"), "loop": ["2m", "3m"]}
    with site.locked() as connection, playing(site.folder, [task]) as play:
        play.wait_until(lambda: shows(play))
        connection.rollback()
        assert play.finish() == 0, play.output()
    [result] = play.results()
    assert [item["changed"] for item in result["results"]] == [True, True]
    assert runs(site) == set()


@needs_sshd
@only_root
def test_a_user_without_privileges_becomes_another_one(site: Site, unprivileged: Host) -> None:
    with common_directory() as common, sftp_server(as_user(UNPRIVILEGED)) as first, sftp_server(as_user(OTHER)) as second:
        (common / "db").mkdir()
        (common / "tmp").mkdir()
        (common / "tmp").chmod(0o1777)
        database = common / "db" / "app.db"
        database.write_bytes(site.database.read_bytes())
        for path in (database.parent, database):
            os.chown(path, OTHER, OTHER)
        become = become_exe(common, second, owner=UNPRIVILEGED)
        variables = {
            **over_ssh(first),
            "ansible_admin_users": ["nobody-of-that-name"],
            "ansible_pipelining": True,
            "ansible_remote_tmp": str(common / "tmp"),
            "ansible_become_exe": str(become),
            "ansible_python_interpreter": str(unprivileged.python),
        }
        other = Site(site.folder, database, database.parent / "backups")
        task = {
            **other.task(lock_timeout="2m"),
            "become": True,
            "become_user": "daemon",
            "environment": {**unprivileged.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        }
        with other.locked() as connection, playing(site.folder, [task], variables=variables) as play:
            play.wait_until(lambda: shows(play))
            [folder] = runs(site)
            assert folder.stat().st_uid == OTHER
            connection.rollback()
            assert play.finish() == 0, play.output()
        assert [path.stat().st_uid for path in other.directory.glob("*.dump.gz")] == [OTHER]
    [result] = play.results()
    assert (result["changed"], warnings_of(result)) == (True, [])
    assert runs(site) == set()
