"""Downloads in plays: over OpenSSH, as a user who becomes another, from an SFTP server, cut, killed, and two at once."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sqlite3
import stat
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import upload_name
from ansible_collections.lastgood.database.plugins.plugin_utils._download.transfer import PIECE_BYTES
from ansible_collections.lastgood.database.tests.support.backups import put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.becoming import OTHER, as_user, become_exe
from ansible_collections.lastgood.database.tests.support.modules import Host
from ansible_collections.lastgood.database.tests.support.observe import state_of, wait_until
from ansible_collections.lastgood.database.tests.support.places import common_directory, only_root
from ansible_collections.lastgood.database.tests.support.plays import LOCAL, over_ssh, playing
from ansible_collections.lastgood.database.tests.support.processes import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.proxy import failing_network
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server

MODULE = "lastgood.database.backup_download"
UNREACHABLE = {**LOCAL, "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
LARGE = random.Random(1).randbytes(4 * 1024 * 1024)

FAILED = Verification("restore", "failed", datetime(2026, 1, 31, tzinfo=timezone.utc), "it ends in the middle")

Result = dict[str, Any]


def hours_ago(hours: int) -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=hours)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    return folder


def fetched(folder: Path, task: Mapping[str, Any], *arguments: str, **how: Any) -> Result:
    """Run one download in a play, and return its result."""
    with playing(folder, [task], *arguments, **how) as play:
        play.finish()
        assert (folder / "db7.results").exists(), play.output()
        return play.results()[0]


def task_for(folder: Path, **options: Any) -> dict[str, Any]:
    return {MODULE: {"dest": str(folder / "copies"), **options}}


def code_of(result: Result) -> str | None:
    return result["error"]["code"] if result["failed"] else None


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".lastgood."))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same(copy: Path, original: Path) -> None:
    assert digest(copy) == digest(original)
    assert copy.with_name(f"{copy.name}.manifest.json").exists()


@pytest.mark.parametrize("connection", ["local", "ssh"])
def test_each_host_has_its_own_copies_and_a_second_run_fetches_nothing(
    tmp_path: Path, source: Path, sftp: SftpServer, connection: str
) -> None:
    names = [put_backup(source, hours_ago(2), b"older"), put_backup(source, hours_ago(1), LARGE)]
    rotten = put_backup(source, hours_ago(3), b"rotten", payload_sha256="0" * 64)
    longest = put_payload(source, f"backup_{'n' * (255 - 35)}_2026-01-31_01-00-00.dump.gz")
    (source / "backup_a\nb_2026-01-31_01-00-00.dump.gz").write_bytes(b"no name of ours")
    assert len(longest) == 255
    hosts = ("db7", "db8")
    variables = LOCAL if connection == "local" else over_ssh(sftp)
    task = task_for(tmp_path, directory=str(source))
    check = {**task, "check_mode": True}
    examined = {"ansible.builtin.stat": {"path": str(tmp_path / "copies")}}
    with playing(tmp_path, [check, examined, task, task], "--diff", hosts=hosts, variables=variables) as play:
        assert play.finish() == 0, play.output()
    for host in hosts:
        folder = tmp_path / "copies" / host
        predicted, found, first, second = play.results(host)
        assert (predicted["changed"], predicted["downloaded"], predicted["bytes"]) == (True, sorted([rotten, *names]), 0)
        assert host != hosts[0] or not found["stat"]["exists"]
        assert code_of(first) == code_of(second) == "payload_corrupt"
        assert (first["changed"], first["downloaded"], first["bytes"]) == (True, sorted(names), len(LARGE) + len(b"older"))
        assert (second["changed"], second["downloaded"], second["bytes"]) == (False, [], 0)
        assert second["up_to_date"] == sorted(names)
        assert [one["filename"] for one in first["failed_downloads"]] == [rotten]
        assert [one["filename"] for one in first["not_downloaded"]] == [longest]
        assert first["diff"]["after"].splitlines() == sorted(names) == second["diff"]["before"].splitlines()
        assert names_in(folder) == sorted([*names, *(f"{name}.manifest.json" for name in names)])
        for name in names:
            assert_same(folder / name, source / name)
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_valid_selection_is_an_error(tmp_path: Path, source: Path) -> None:
    suspect = put_backup(source, hours_ago(1), verification=FAILED)
    tasks = [
        task_for(tmp_path, directory=str(source)),
        task_for(tmp_path, directory=str(source), names=["../secret", "a\nb"]),
        task_for(tmp_path, directory=str(source), names=[suspect]),
        task_for(tmp_path, directory=str(source / "missing")),
        task_for(tmp_path, directory=str(source), names=[]),
    ]
    with playing(tmp_path, tasks) as play:
        play.finish()
    codes = [code_of(result) for result in play.results()]
    assert codes == ["nothing_found", "backup_missing", "nothing_found", "directory_missing", "argument_invalid"]
    assert not (tmp_path / "copies").exists()


def test_one_archive_is_written_as_the_backups_arrive(tmp_path: Path, source: Path, sftp: SftpServer) -> None:
    names = [put_backup(source, hours_ago(2), b"older"), put_backup(source, hours_ago(1), LARGE)]
    tasks = [task_for(tmp_path, directory=str(source), archive=form) for form in ("zip", "zip", "tar", "tar.gz")]
    with playing(tmp_path, tasks, variables=over_ssh(sftp)) as play:
        assert play.finish() == 0, play.output()
    results = play.results()
    assert [result.get("failed") for result in results] == [False] * 4, results
    assert [result["changed"] for result in results] == [True, False, True, True]
    assert [result["downloaded"] for result in results[:2]] == [sorted(names), []]
    folder = tmp_path / "copies" / "db7"
    assert names_in(folder) == ["backups.tar", "backups.tar.gz", "backups.zip"]
    assert digest(folder / "backups.zip") == results[0]["sha256"]
    with zipfile.ZipFile(folder / "backups.zip") as archive:
        assert archive.read(names[1]) == LARGE
    assert not [path for path in Path("/var/tmp").glob(".lastgood-download-*") if path.stat().st_uid == os.geteuid()]


@only_root
def test_a_user_without_privileges_fetches_what_only_another_may_read(tmp_path: Path, unprivileged: Host) -> None:
    login = f"Subsystem sftp /usr/lib/openssh/sftp-server\n{as_user(UNPRIVILEGED)}"
    with common_directory() as common, sftp_server(login) as first, sftp_server(as_user(OTHER)) as second:
        directory = common / "backups"
        directory.mkdir(mode=0o700)
        name = put_backup(directory, hours_ago(1), random.Random(2).randbytes(PIECE_BYTES + 1_500_000))
        for path in (directory, *directory.iterdir()):
            os.chown(path, OTHER, OTHER)
            path.chmod(0o700 if path == directory else 0o600)
        before = state_of(directory)
        (common / "tmp").mkdir()
        (common / "tmp").chmod(0o1777)
        variables = {
            **over_ssh(first),
            "ansible_pipelining": True,
            "ansible_remote_tmp": str(common / "tmp"),
            "ansible_become_exe": str(become_exe(common, second, owner=UNPRIVILEGED)),
            "ansible_python_interpreter": str(unprivileged.python),
        }
        task = {
            **task_for(tmp_path, directory=str(directory)),
            "become": True,
            "become_user": "daemon",
            "environment": {**unprivileged.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        }
        result = fetched(tmp_path, task, variables=variables)
        assert (result.get("msg"), result["changed"], result.get("downloaded")) == (None, True, [name])
        assert_same(tmp_path / "copies" / "db7" / name, directory / name)
        assert state_of(directory) == before
        assert not [path for path in Path("/var/tmp").glob(".lastgood-download-*") if path.stat().st_uid == UNPRIVILEGED]


def test_the_sftp_source_never_needs_the_host(tmp_path: Path, source: Path, sftp: SftpServer) -> None:
    name = put_backup(source, hours_ago(1), LARGE)
    task = task_for(tmp_path, sftp=sftp.options(source), newest=1)
    with playing(tmp_path, [task, task], variables=UNREACHABLE) as play:
        assert play.finish() == 0, play.output()
    first, second = play.results()
    assert (first["downloaded"], second["downloaded"], second["changed"]) == ([name], [], False)
    assert_same(tmp_path / "copies" / "db7" / name, source / name)


@contextlib.contextmanager
def cut_at(server: SftpServer, percent: int) -> Iterator[int]:
    """Yield a port whose connections end after a share of the payload."""
    with failing_network(server.port, len(LARGE) * percent // 100 + 8192) as proxy:
        yield proxy.port


@pytest.mark.parametrize(("kind", "percent"), [("sftp", 10), ("sftp", 50), ("sftp", 99), ("ssh", 50)])
def test_a_cut_transfer_goes_on(tmp_path: Path, source: Path, sftp: SftpServer, kind: str, percent: int) -> None:
    name = put_backup(source, hours_ago(1), LARGE)
    folder = tmp_path / "copies" / "db7"
    partial = folder / upload_name(name, hashlib.sha256(LARGE).hexdigest())
    options = {"directory": str(source)} if kind == "ssh" else {"sftp": sftp.options(source)}
    variables = over_ssh(sftp) if kind == "ssh" else LOCAL
    with cut_at(sftp, percent) as port:
        if kind == "ssh":
            arguments = f"-o Port={port} -o HostKeyAlias=[127.0.0.1]:{sftp.port}"  # the first value counts
            result = fetched(tmp_path, task_for(tmp_path, **options), variables={**variables, "ansible_ssh_args": arguments})
        else:
            cut = {**options, "sftp": {**options["sftp"], "port": port, "host_key_policy": "pinned", "host_key": sftp.host_key()}}
            result = fetched(tmp_path, task_for(tmp_path, **cut), variables=variables)
    assert code_of(result) == "connection_lost"
    assert names_in(folder) == [partial.name]
    assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    arrived = partial.stat().st_size
    assert 0 < arrived < len(LARGE), result
    result = fetched(tmp_path, task_for(tmp_path, **options), variables=variables)
    assert (result.get("msg"), result["resumed"], result["bytes"]) == (None, [name], len(LARGE) - arrived)
    assert_same(folder / name, source / name)
    assert names_in(folder) == [name, f"{name}.manifest.json"]


def test_a_killed_play_leaves_a_partial_that_the_next_one_continues(tmp_path: Path, source: Path, sftp: SftpServer) -> None:
    name = put_backup(source, hours_ago(1), LARGE)
    folder = tmp_path / "copies" / "db7"
    partial = folder / upload_name(name, hashlib.sha256(LARGE).hexdigest())
    options = sftp.options(source)
    with failing_network(sftp.port, len(LARGE) // 2, failure="stall") as proxy:
        stalled = {**options, "port": proxy.port, "host_key_policy": "pinned", "host_key": sftp.host_key()}
        with playing(tmp_path, [task_for(tmp_path, sftp=stalled)]) as play:
            wait_until(lambda: partial.exists() and partial.stat().st_size > 0)
            wait_until(proxy.failed.is_set)
            other = tmp_path / "other"
            other.mkdir()
            task = {MODULE: {"dest": str(tmp_path / "copies"), "sftp": options}}
            assert code_of(fetched(other, task)) == "locked"  # while the first one is alive
            os.killpg(play.process.pid, signal.SIGKILL)
            play.process.wait()
    assert names_in(folder) == [partial.name]
    result = fetched(tmp_path, task_for(tmp_path, sftp=options))
    assert (result.get("msg"), result["resumed"]) == (None, [name])
    assert_same(folder / name, source / name)


def test_a_full_disk_of_the_controller_is_reported_and_left_empty(tmp_path: Path, source: Path, small_disk: Any) -> None:
    small, large = put_backup(source, hours_ago(2), b"small"), put_backup(source, hours_ago(1), LARGE)
    disk = small_disk("size=2m")
    result = fetched(tmp_path, {MODULE: {"directory": str(source), "dest": str(disk)}})
    assert (code_of(result), result["downloaded"]) == ("no_space", [small])
    assert [one["filename"] for one in result["failed_downloads"]] == [large]
    assert names_in(disk / "db7") == [small, f"{small}.manifest.json"]


def test_a_copy_is_restored_on_another_host(tmp_path: Path, source: Path) -> None:
    database, restored, place = tmp_path / "notes.db", tmp_path / "restored.db", tmp_path / "place"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
        connection.commit()
    tasks = [
        {
            "lastgood.database.db_backup": {
                "directory": str(source),
                "engine": "sqlite",
                "databases": [str(database)],
                "progress": 0,
            }
        },
        task_for(tmp_path, directory=str(source), newest=1),
        {"ansible.builtin.file": {"path": str(place), "state": "directory", "mode": "0700"}},
        {
            "ansible.builtin.copy": {"src": "{{ result_1.dest }}/{{ item }}", "dest": f"{place}/", "mode": "0600"},
            "loop": ["{{ result_1.downloaded[0] }}.manifest.json", "{{ result_1.downloaded[0] }}"],
        },
        {
            "lastgood.database.db_restore": {
                "directory": str(place),
                "engine": "sqlite",
                "database": str(restored),
                "backup": "{{ result_1.downloaded[0] }}",
                "progress": 0,
            }
        },
    ]
    with playing(tmp_path, tasks) as play:
        assert play.finish() == 0, play.output()
    assert play.results()[-1]["changed"], play.results()[-1]
    with contextlib.closing(sqlite3.connect(restored)) as connection:
        assert connection.execute("SELECT text FROM note").fetchall() == [("kept",)]
