"""The role with an SFTP server: every good backup goes there, and what can't go is told."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.observe import rewrite_manifest
from ansible_collections.lastgood.database.tests.support.sftp import PASSPHRASE, SftpServer, make_key


def play(folder: Path, variables: dict[str, t.Any], *arguments: str, entry: str = "main") -> subprocess.CompletedProcess[str]:
    """Run an entry point of the role against this host."""
    playbook = folder / "play.yml"
    role = {"name": "lastgood.database.backup", "tasks_from": entry}
    tasks = [{"name": "Run the role", "ansible.builtin.include_role": role}]
    playbook.write_text(json.dumps([{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks}]))
    file = folder / "variables.json"
    file.write_text(json.dumps({"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}))
    command = ["ansible-playbook", str(playbook), "--inventory", "db7,", "--extra-vars", f"@{file}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)


def changed(finished: subprocess.CompletedProcess[str]) -> int:
    line = next(line for line in finished.stdout.splitlines() if line.startswith("db7 "))
    return int(line.partition("changed=")[2].split()[0])


def payloads(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("backup_*.dump*") if not path.name.endswith(".json"))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.db"
    write(path)
    return path


def write(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text TEXT)")
        connection.execute("INSERT INTO note VALUES ('more')")
        connection.commit()


def variables(tmp_path: Path, sftp: SftpServer, *paths: Path, **over: t.Any) -> dict[str, t.Any]:
    return {
        "backup_directory": str(tmp_path / "here"),
        "backup_interval": "0s",
        "backup_sources": [{"engine": "sqlite", "databases": [str(path)]} for path in paths],
        "backup_sftp": sftp.options(tmp_path / "there"),
        **over,
    }


def back_up_and_send(tmp_path: Path, notes: Path, server: dict[str, t.Any]) -> None:
    """Back up a database and send the backup, as the role does. A play would take many times as long."""
    options = {"engine": "sqlite", "directory": str(tmp_path / "here"), "databases": [str(notes)], "origin": "db7"}
    assert run_module("db_backup", **options).outcomes == ["created"]
    own = {**server, "remote_directory": f"{server['remote_directory']}/db7", "create_directory": True}
    assert run_module("backup_upload", directory=str(tmp_path / "here"), sftp=own).changed


def test_backups_are_sent_to_a_directory_of_the_hosts_own_and_a_second_run_changes_nothing(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    first = play(tmp_path, variables(tmp_path, sftp, notes))
    assert first.returncode == 0, first.stdout
    assert payloads(tmp_path / "there" / "db7") == payloads(tmp_path / "here") != []
    second = play(tmp_path, variables(tmp_path, sftp, notes))
    assert (second.returncode, changed(second)) == (0, 0), second.stdout


@pytest.mark.parametrize("entry", ["main", "check"])
def test_a_host_opts_out_with_an_empty_server_and_half_a_server_is_an_error(
    tmp_path: Path, sftp: SftpServer, notes: Path, entry: str
) -> None:
    for server in ({}, None):
        finished = play(tmp_path, variables(tmp_path, sftp, notes, backup_sftp=server), entry=entry)
        assert finished.returncode == 0, finished.stdout
    assert not (tmp_path / "there").exists()
    finished = play(tmp_path, variables(tmp_path, sftp, notes, backup_sftp={"host": "backup.example.org"}), entry=entry)
    assert finished.returncode == 2
    assert "backup_sftp lacks user and remote_directory." in finished.stdout


def test_good_backups_are_sent_though_another_source_failed(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    finished = play(tmp_path, variables(tmp_path, sftp, tmp_path / "missing.db", notes))
    assert finished.returncode == 2
    assert "missing.db" in finished.stdout[finished.stdout.rindex("Fail where") :]
    assert payloads(tmp_path / "there" / "db7") == payloads(tmp_path / "here") != []


def test_an_upload_that_fails_says_that_the_local_backups_are_safe_and_prunes_nothing_there(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    rules = {"backup_sftp_retention": {"keep_last": 1}}
    for _number in range(2):
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
        write(notes)
    there = payloads(tmp_path / "there" / "db7")
    down = variables(tmp_path, sftp, notes, **rules)
    down["backup_sftp"] = {**down["backup_sftp"], "known_hosts_file": os.devnull}
    finished = play(tmp_path, down)
    assert finished.returncode == 2
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert f"sqlite in {tmp_path / 'here'}, upload:" in last
    assert "is not known" in last
    assert "The backups on this host are safe." in last
    assert len(payloads(tmp_path / "here")) == 3
    assert payloads(tmp_path / "there" / "db7") == there


def test_where_one_backup_could_not_be_sent_nothing_is_pruned_there_though_the_server_is_reached(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    for _number in range(2):
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
        write(notes)
    there = payloads(tmp_path / "there" / "db7")
    assert len(there) == 2
    taken = tmp_path / "there" / "db7" / there[-1]
    theirs = b"another good backup of this name"
    taken.write_bytes(theirs)
    rewrite_manifest(taken, payload_bytes=len(theirs), payload_sha256=hashlib.sha256(theirs).hexdigest())
    finished = play(tmp_path, variables(tmp_path, sftp, notes, backup_sftp_retention={"keep_last": 1}))
    assert finished.returncode == 2
    last = finished.stdout[finished.stdout.rindex("Fail where") :]
    assert f"sqlite in {tmp_path / 'here'}, upload:" in last
    assert taken.name in last
    [new] = set(payloads(tmp_path / "here")) - set(there)
    assert payloads(tmp_path / "there" / "db7") == [*there, new]


def test_retention_on_the_server_is_its_own(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    rules = {"backup_retention": {"keep_last": 1}, "backup_sftp_retention": {"keep_last": 2}}
    for _number in range(2):
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
        write(notes)
    for _number in range(2):
        finished = play(tmp_path, variables(tmp_path, sftp, notes, **rules))
        assert finished.returncode == 0, finished.stdout
        write(notes)
    assert len(payloads(tmp_path / "here")) == 1
    assert len(payloads(tmp_path / "there" / "db7")) == 2


def test_what_others_left_in_a_shared_directory_is_kept_here_and_does_not_pile_up_there(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    for _number in range(3):
        options = {"engine": "sqlite", "directory": str(tmp_path / "here"), "databases": [str(notes)], "origin": "db8"}
        assert run_module("db_backup", **options).outcomes == ["created"]
        write(notes)
    rules = {"backup_retention": {"keep_last": 1}, "backup_sftp_retention": {"keep_last": 1}}
    finished = play(tmp_path, variables(tmp_path, sftp, notes, **rules))
    assert finished.returncode == 0, finished.stdout
    assert len(payloads(tmp_path / "here")) == 4
    origins = [json.loads(path.read_text())["origin"] for path in (tmp_path / "there" / "db7").glob("*.manifest.json")]
    assert sorted(origins) == ["db7", "db8"]


def test_the_server_is_tried_by_an_entry_point_of_its_own(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    finished = play(tmp_path, variables(tmp_path, sftp, notes), entry="check")
    assert finished.returncode == 0, finished.stdout
    wrong = variables(tmp_path, sftp, notes)
    wrong["backup_sftp"] = {**wrong["backup_sftp"], "port": 1}
    assert "connection_refused" in play(tmp_path, wrong, entry="check").stdout


def test_secrets_are_not_shown_however_much_is(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    key = make_key(tmp_path / "locked", "ed25519", passphrase=PASSPHRASE)
    secret = variables(tmp_path, sftp, notes)
    secret["backup_sftp"] = {
        **{name: value for name, value in secret["backup_sftp"].items() if name != "private_key_file"},
        "private_key": key.read_text(),
        "key_passphrase": PASSPHRASE,
        "password": "hunter2-and-more",
    }
    for entry in ("main", "check"):
        finished = play(tmp_path, secret, "-vvv", entry=entry)
        assert finished.returncode == 2
        assert "authentication_failed" in finished.stdout
        for hidden in ("hunter2", "ses'ame", key.read_text().splitlines()[2]):
            assert hidden not in finished.stdout + finished.stderr


def test_a_host_that_lost_its_disk_is_restored_from_the_server(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
    shutil.rmtree(tmp_path / "here")
    notes.unlink()
    restores = [{"engine": "sqlite", "database": str(notes)}]
    only_there = {"backup_sftp": sftp.options(tmp_path / "there"), "backup_restores": restores}
    finished = play(tmp_path, {**only_there, "backup_read_from": "sftp"}, entry="restore")
    assert (finished.returncode, changed(finished)) == (0, 1), finished.stdout
    with contextlib.closing(sqlite3.connect(notes)) as connection:
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (1,)


def test_what_is_on_the_server_is_verified_there(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    known = variables(tmp_path, sftp, notes)
    back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
    [name] = payloads(tmp_path / "there" / "db7")
    for number in (1, 0):
        finished = play(tmp_path, {**known, "backup_read_from": "sftp", "backup_verify_level": "restore"}, entry="verify")
        assert (finished.returncode, changed(finished)) == (0, number), finished.stdout
    verdict = json.loads((tmp_path / "there" / "db7" / f"{name}.manifest.json").read_text())["verification"]
    assert (verdict["level"], verdict["verdict"]) == ("restore", "passed")
    assert json.loads((tmp_path / "here" / f"{name}.manifest.json").read_text())["verification"] is None


@pytest.mark.parametrize("entry", ["verify", "restore"])
def test_a_server_that_is_not_named_is_an_error_before_anything_is_done(
    tmp_path: Path, sftp: SftpServer, notes: Path, entry: str
) -> None:
    known = variables(tmp_path, sftp, notes, backup_restores=[{"engine": "sqlite", "database": str(notes)}])
    del known["backup_sftp"]
    finished = play(tmp_path, {**known, "backup_read_from": "sftp"}, entry=entry)
    assert finished.returncode != 0
    assert "Set backup_sftp, which backup_read_from=sftp reads from." in finished.stdout


def test_retention_that_is_shorter_there_sends_and_deletes_nothing_on_an_unchanged_night(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    rules = {"backup_retention": {"keep_last": 5}, "backup_sftp_retention": {"keep_last": 2}}
    for _number in range(2):
        write(notes)
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
    for _number in range(2):
        write(notes)
        night = play(tmp_path, variables(tmp_path, sftp, notes, **rules))
        assert night.returncode == 0, night.stdout
    here, there = payloads(tmp_path / "here"), payloads(tmp_path / "there" / "db7")
    assert (len(here), there) == (4, here[-2:])
    unchanged = play(tmp_path, variables(tmp_path, sftp, notes, **rules))
    assert (unchanged.returncode, changed(unchanged)) == (0, 0), unchanged.stdout
    assert payloads(tmp_path / "there" / "db7") == there


def test_what_the_server_deletes_by_its_own_means_is_not_sent_again(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    for _number in range(3):
        write(notes)
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
    there = tmp_path / "there" / "db7"
    for name in payloads(there)[:2]:
        for path in (there / name, there / f"{name}.manifest.json"):
            path.unlink()
    unchanged = play(tmp_path, variables(tmp_path, sftp, notes))
    assert (unchanged.returncode, changed(unchanged)) == (0, 0), unchanged.stdout
    assert len(payloads(there)) == 1


def grow(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM note")
        connection.execute("INSERT INTO note VALUES (randomblob(600000))")
        connection.commit()


def test_a_full_server_is_pruned_first_and_then_sent_to(
    tmp_path: Path, sftp: SftpServer, notes: Path, small_disk: t.Callable[[str], Path]
) -> None:
    disk = small_disk("size=2m")
    server = {"backup_sftp": sftp.options(disk)}
    for _number in range(3):
        grow(notes)
        back_up_and_send(tmp_path, notes, server["backup_sftp"])
    grow(notes)
    full = play(tmp_path, variables(tmp_path, sftp, notes, **server))
    assert full.returncode == 2  # without rules nothing may go
    assert len(payloads(disk / "db7")) == 3
    rules = {"backup_sftp_retention": {"keep_last": 2}}
    again = play(tmp_path, variables(tmp_path, sftp, notes, **server, **rules))
    assert again.returncode == 0, again.stdout
    assert payloads(disk / "db7") == payloads(tmp_path / "here")[-2:]


def test_prune_without_a_dump_is_of_both_sides_and_check_mode_foretells_it(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    for _number in range(3):
        write(notes)
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
    rules = {"backup_retention": {"keep_last": 2}, "backup_sftp_retention": {"keep_last": 1}}
    foretold = play(tmp_path, variables(tmp_path, sftp, notes, **rules), "--check", "--diff", entry="prune")
    assert (foretold.returncode, changed(foretold)) == (0, 2), foretold.stdout
    assert len(payloads(tmp_path / "here")) == len(payloads(tmp_path / "there" / "db7")) == 3
    pruned = play(tmp_path, variables(tmp_path, sftp, notes, **rules), entry="prune")
    assert (pruned.returncode, changed(pruned)) == (0, 2), pruned.stdout
    assert [len(payloads(tmp_path / "here")), len(payloads(tmp_path / "there" / "db7"))] == [2, 1]


def test_the_backup_that_retention_on_the_server_rests_on_is_read_where_asked(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    for _number in range(2):
        write(notes)
        back_up_and_send(tmp_path, notes, sftp.options(tmp_path / "there"))
    newest = tmp_path / "there" / "db7" / payloads(tmp_path / "there" / "db7")[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    rules = {"backup_sftp_retention": {"keep_last": 1}, "backup_sftp_verify_before_delete": True}
    play(tmp_path, variables(tmp_path, sftp, notes, **rules), entry="prune")
    assert len(payloads(tmp_path / "there" / "db7")) == 2
    trusted = play(
        tmp_path, variables(tmp_path, sftp, notes, **{**rules, "backup_sftp_verify_before_delete": False}), entry="prune"
    )
    assert trusted.returncode == 0
