"""backup_archive as a process: what its options do, how it ends, and that what it makes can be taken into use elsewhere."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import payloads, rewrite_manifest, state_of, wait_until

FORMATS = ["zip", "tar.gz", "tar"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Backups of two databases, as db_backup makes them."""
    paths = [tmp_path / name for name in ("app", "billing")]
    for path in paths:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript("create table t (n); insert into t values (1)")
    directory = tmp_path / "backups"
    done = run_module("db_backup", engine="sqlite", directory=str(directory), databases=[str(path) for path in paths])
    assert done.status == 0, done.msg
    return directory


def archive(directory: Path, dest: Path | str, **options: Any) -> Outcome:
    return run_module("backup_archive", directory=str(directory), dest=str(dest), **options)


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_extracted_elsewhere_is_a_directory_of_good_backups(directory: Path, tmp_path: Path, ending: str) -> None:
    before = state_of(directory)
    dest = tmp_path / f"all.{ending}"
    made = archive(directory, dest)
    assert made.changed
    assert made.result["sha256"] == hashlib.sha256(dest.read_bytes()).hexdigest()
    assert [member["filename"] for member in made.result["members"]] == [path.name for path in payloads(directory)]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = ["unzip", "-q", dest, "-d", elsewhere] if ending == "zip" else ["tar", "-xf", dest, "-C", elsewhere]
    subprocess.run(command, check=True)
    facts = run_module("backup_facts", directory=str(elsewhere), checksum=True).result["ansible_facts"]["database_backups"]
    assert [record["state"] for record in facts["files"]] == ["good", "good"]

    again = archive(directory, dest)
    assert not again.changed
    assert {**again.result, "changed": True} == made.result
    assert state_of(directory) == before


def test_check_and_diff_mode_tell_what_would_be(directory: Path, tmp_path: Path) -> None:
    dest = tmp_path / "all.zip"
    predicted = archive(directory, dest, check=True, diff=True)
    assert predicted.changed
    assert not dest.exists()
    made = archive(directory, dest, diff=True)
    assert made.result["diff"] == predicted.result["diff"]
    assert made.result["bytes"] == predicted.result["bytes"]
    for path in payloads(directory):
        assert path.name in made.result["diff"]["after"]
    assert not archive(directory, dest, check=True).changed


def test_the_options_choose_format_mode_and_backups(directory: Path, tmp_path: Path) -> None:
    dest = tmp_path / "handover"
    outcome = archive(directory, dest, format="tar", mode="0640", databases=["app", "gone"], newest=1, ignore_missing=True)
    assert outcome.changed
    assert outcome.result["missing"] == ["gone"]
    assert [member["database"] for member in outcome.result["members"]] == ["app"]
    assert dest.stat().st_mode & 0o777 == 0o640
    names = subprocess.run(["tar", "-tf", dest], check=True, capture_output=True, text=True).stdout.split()
    assert names[0] == "index.json"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"names": []}, "argument_invalid"),
        ({"databases": []}, "argument_invalid"),
        ({"newest": 0}, "argument_invalid"),
        ({"dest": "relative.zip"}, "argument_invalid"),
        ({"dest": "/"}, "argument_invalid"),
        ({"dest": "{top}/all.rar"}, "argument_invalid"),
        ({"dest": "{top}/missing/all.zip"}, "directory_missing"),
        ({"dest": "{top}"}, "argument_invalid"),
        ({"dest": "{top}", "format": "zip"}, "destination_unusable"),
        ({"dest": "{top}/app/all.zip"}, "not_a_directory"),
        ({"dest": "{top}/backups/backup_app_2026-01-31_01-00-00.dump", "format": "zip"}, "destination_unusable"),
        ({"dest": "{top}/" + "x" * 255 + ".zip"}, "store_failed"),
        ({"databases": ["gone"]}, "nothing_found"),
        ({"databases": ["gone"], "ignore_missing": True}, "nothing_found"),
        ({"databases": ["app", "gone"]}, "backup_missing"),
        ({"directory": "{top}/missing"}, "nothing_found"),
    ],
    ids=str,
)
def test_what_can_not_be_done_is_an_error_that_changes_nothing(
    directory: Path, tmp_path: Path, options: dict[str, Any], code: str
) -> None:
    given = {key: value.format(top=tmp_path) if isinstance(value, str) else value for key, value in options.items()}
    before = state_of(tmp_path)
    outcome = run_module("backup_archive", **{"directory": str(directory), "dest": str(tmp_path / "all.zip"), **given})
    assert outcome.error_code == code, outcome.result
    assert state_of(tmp_path) == before


def test_a_rotten_payload_stops_it_by_name_and_the_archive_stays(directory: Path, tmp_path: Path) -> None:
    dest = tmp_path / "all.zip"
    archive(directory, dest)
    put_backup(directory, ago(days=1))
    rotten = payloads(directory)[0]
    data = bytearray(rotten.read_bytes())
    data[len(data) // 2] ^= 1
    rotten.write_bytes(data)
    before = dest.read_bytes()
    outcome = archive(directory, dest)
    assert outcome.error_code == "payload_corrupt"
    assert rotten.name in outcome.msg
    assert outcome.result["error"]["filename"] == rotten.name
    assert dest.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_ended_in_the_middle_leaves_the_archive_and_the_next_one_makes_it(
    directory: Path, tmp_path: Path, number: signal.Signals
) -> None:
    dest, partial = tmp_path / "all.tar", tmp_path / ".lastgood.archive.all.tar.partial"
    archive(directory, dest)
    before = dest.read_bytes()
    large = directory / put_backup(directory, NOW, database="zzz")
    os.truncate(large, 1 << 30)
    rewrite_manifest(large, payload_bytes=1 << 30)  # its digest is not looked at before it is read
    with running_module("backup_archive", directory=str(directory), dest=str(dest)) as process:
        wait_until(lambda: (partial.exists() and partial.stat().st_size > 0) or process.ended)
        process.send_signal(number)
        if number == signal.SIGTERM:
            assert process.wait().error_code == "interrupted"
            assert not partial.exists()
        else:
            process.kill()
            assert partial.exists()
    assert dest.read_bytes() == before
    (directory / manifest_name(large.name)).unlink()
    os.truncate(large, 1000)
    assert archive(directory, dest).changed
    assert not partial.exists()
    assert large.name in subprocess.run(["tar", "-tf", dest], check=True, capture_output=True, text=True).stdout


def test_a_full_disk_is_told_and_leaves_nothing(directory: Path, small_disk: Callable[[str], Path]) -> None:
    put_backup(directory, NOW, os.urandom(2_000_000))
    disk = small_disk("size=1m")
    outcome = archive(directory, disk / "all.zip")
    assert outcome.error_code == "no_space"
    assert "needs" in outcome.msg
    assert list(disk.iterdir()) == []
