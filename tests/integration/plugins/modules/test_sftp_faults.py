"""What happens to a real OpenSSH server between two runs, or in the middle of one."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.backups import ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import MANIFEST, assert_whole, contents, payloads, wait_until
from ansible_collections.lastgood.database.tests.support.proxy import failing_network
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, make_key, sftp_server


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    put_backup(folder, ago(hours=1), os.urandom(100_000))
    return folder


def upload(here: Path, sftp: dict[str, Any]) -> Outcome:
    return run_module("backup_upload", directory=str(here), sftp=sftp)


def test_a_directory_that_is_gone_is_told_and_not_made_unasked(sftp: SftpServer, here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    assert upload(here, sftp.options(there)).changed
    shutil.rmtree(there)
    before = contents(here)
    assert upload(here, sftp.options(there)).error_code == "directory_missing"
    assert not run_module("backup_prune", sftp=sftp.options(there), keep_last=1).changed
    assert not there.exists()
    assert contents(here) == before


def test_a_directory_that_became_read_only_keeps_what_it_has(
    sftp: SftpServer, here: Path, small_disk: Callable[[str], Path]
) -> None:
    there = small_disk("size=4m")
    put_backup(there, ago(hours=2), b"old")
    assert upload(here, sftp.options(there)).changed
    put_backup(here, ago(minutes=1), os.urandom(100_000))
    before = contents(there), contents(here)
    subprocess.run(("mount", "-o", "remount,ro", there), check=True)
    sent = upload(here, sftp.options(there))
    pruned = run_module("backup_prune", sftp=sftp.options(there), keep_last=1)
    for outcome in (sent, pruned):
        assert outcome.status == 1
        assert "Read-only" in outcome.msg or "Failure" in outcome.msg
        assert "Traceback" not in outcome.stdout + outcome.stderr
        assert outcome.result["changed"] is False
    assert pruned.error_code == "delete_failed"
    assert (contents(there), contents(here)) == before


def test_a_prune_that_loses_its_server_leaves_whole_backups_and_the_next_one_finishes(sftp: SftpServer, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for minutes in range(1000):
        put_backup(there, ago(minutes=minutes), b"content")
    with (
        sftp_server() as server,
        running_module("backup_prune", sftp=server.options(there), keep_last=1) as process,
    ):
        wait_until(lambda: process.ended or len(payloads(there)) < 990)
        server.kill()
        outcome = process.wait()
    assert outcome.error_code == "connection_lost"
    left = {path.name for path in payloads(there)}
    assert 1 < len(left) < 1000
    manifests = {path.name.removesuffix(MANIFEST) for path in there.iterdir() if path.name.endswith(MANIFEST)}
    assert left <= manifests  # payload first: one without a manifest is never left
    assert len(manifests - left) <= 1
    told = {one["filename"] for one in outcome.result["deleted"]}
    assert told.isdisjoint(left)
    assert len(told) >= 1000 - len(left) - 1  # the answer to the last request may have been lost
    assert outcome.result["changed"] is True
    again = run_module("backup_prune", sftp=sftp.options(there), keep_last=1)
    assert len(again.result["deleted"]) == len(left) - 1
    assert len(payloads(there)) == 1


def test_a_server_whose_key_changed_between_two_runs_is_sent_nothing(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    known = tmp_path / "known_hosts"
    with sftp_server() as server:
        policy = {"known_hosts_file": str(known), "host_key_policy": "accept_new"}
        assert upload(here, server.options(there, **policy)).changed
        port, remembered = server.port, known.read_text()
    put_backup(here, ago(minutes=1), b"new")
    impostor = make_key(tmp_path / "impostor", "ed25519")
    other = Path(f"{impostor}.pub").read_text().split()
    name, kind, _blob = remembered.split()[:3]
    known.write_text(f"{name} {kind} {other[1]}\n")  # what was remembered is another key than the one that is offered
    with sftp_server() as server:
        known.write_text(known.read_text().replace(f":{port}", f":{server.port}"))
        before = known.read_text(), contents(there)
        for each in ("accept_new", "strict"):
            refused = upload(here, server.options(there, known_hosts_file=str(known), host_key_policy=each))
            assert refused.error_code == "host_key_changed"
            assert refused.msg.count("SHA256:") == 2
        assert (known.read_text(), contents(there)) == before
    assert_whole(there)


@pytest.mark.parametrize(
    ("limit", "step", "code"),
    [
        (0, "connect", "no_ssh_banner"),
        (300, "connect", "connection_timeout"),
        (2000, None, "connection_timeout"),
        (6000, None, "connection_timeout"),
    ],
    ids=["banner", "key exchange", "after it", "session"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_left_in_time(
    sftp: SftpServer, here: Path, tmp_path: Path, limit: int, step: str | None, code: str
) -> None:
    for minutes in range(100):  # so that there is something to list
        put_backup(tmp_path, ago(minutes=minutes), b"content")
    with failing_network(sftp.port, limit, failure="drip") as network:
        known = sftp.host_key()
        options = sftp.options(tmp_path, port=network.port, host_key_policy="pinned", host_key=known, timeout="1s")
        began = time.monotonic()
        outcomes = [upload(here, options), run_module("backup_facts", sftp=options)]
        assert time.monotonic() - began < 20
        assert network.failed.is_set()
        assert [outcome.error_code for outcome in outcomes] == [code] * 2
        if step is not None:
            assert run_module("sftp_check", options).result["failed_step"] == step


@pytest.mark.parametrize("limit", [0, 300, 6000], ids=["banner", "key exchange", "session"])
def test_a_run_that_is_stopped_does_not_wait_for_a_server_that_is_silent(sftp: SftpServer, tmp_path: Path, limit: int) -> None:
    for minutes in range(100):
        put_backup(tmp_path, ago(minutes=minutes), b"content")
    with failing_network(sftp.port, limit, failure="stall") as network:
        options = sftp.options(tmp_path, port=network.port, host_key_policy="pinned", host_key=sftp.host_key(), timeout="10m")
        with running_module("backup_facts", sftp=options) as process:
            wait_until(lambda: process.ended or network.failed.is_set())
            process.send_signal(signal.SIGTERM)
            outcome = process.wait()
    assert outcome.error_code == "interrupted"
