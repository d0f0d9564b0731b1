"""backup_verify as a process, on backups that db_backup made and that something happened to."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    leftovers,
    manifest,
    manifest_path,
    payload,
    payloads,
    rewrite_manifest,
    state_of,
)
from ansible_collections.lastgood.database.tests.support.places import AS_ROOT
from ansible_collections.lastgood.database.tests.support.postgresql import Site, facts_of
from tools.throwaway_postgresql import Server

RECORD = {
    "filename",
    "origin",
    "engine",
    "instance",
    "source",
    "kind",
    "database",
    "level",
    "verdict",
    "detail",
    "tables",
    "rows",
    "seconds",
    "state",
    "partial",
    "partial_arguments",
    "readable_by",
}


def verify(directory: Path, **options: Any) -> Outcome:
    return run_module("backup_verify", directory=str(directory), **options)


def verdicts(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [(one["level"], one["verdict"], one["state"]) for one in outcome.result["verified"]]


def states(directory: Path) -> list[str]:
    return [one["state"] for one in facts_of(directory)["files"]]


def back_up_sqlite(folder: Path, name: str = "app.db", **options: Any) -> Path:
    """Back up a new SQLite database, and return where its backups are."""
    folder.mkdir(exist_ok=True)
    source, directory = folder / name, folder / "backups"
    connection = sqlite3.connect(source)
    connection.executescript("create table t (n, noise); create index i on t (noise);")
    connection.executemany("insert into t values (?, ?)", ((n, os.urandom(30).hex()) for n in range(2000)))
    connection.commit()
    connection.close()
    done = run_module("db_backup", directory=str(directory), engine="sqlite", databases=[str(source)], **options)
    assert done.outcomes == ["created"]
    return directory


def flip_a_bit(path: Path, share: float) -> None:
    """Flip a bit, so far into the file."""
    data = bytearray(path.read_bytes())
    data[min(int(len(data) * share), len(data) - 1)] ^= 0x10
    path.write_bytes(data)


def strip_manifest(path: Path) -> None:
    manifest_path(path).unlink()


@pytest.mark.parametrize("level", ["checksum", "structure"])
@pytest.mark.parametrize(
    "options", [{}, {"format": "plain", "compression": "zstd"}, {"compression": "none"}], ids=["custom", "plain", "none"]
)
def test_a_postgresql_backup_passes_once_and_is_the_same_the_next_time(site: Site, level: str, options: dict[str, Any]) -> None:
    site.back_up(include_globals=True, **options)
    before = state_of(site.directory)
    where = {"level": level, "bin_directory": str(site.server.bin_directory), "diff": True}
    predicted = verify(site.directory, **where, check=True)
    assert state_of(site.directory) == before

    done = verify(site.directory, **where)
    assert predicted.changed and done.changed
    assert [{**one, "seconds": 0} for one in predicted.result["verified"]] == [
        {**one, "seconds": 0} for one in done.result["verified"]
    ]
    assert predicted.result["diff"] == done.result["diff"]
    assert "never verified" in done.result["diff"]["before"] and f"{level} passed" in done.result["diff"]["after"]
    assert {frozenset(one) for one in done.result["verified"]} == {frozenset(RECORD)}
    assert verdicts(done) == [(level, "passed", "good")] * 2
    for path in payloads(site.directory):
        assert manifest(path)["verification"]["verdict"] == "passed"
    again = verify(site.directory, **where)
    assert not again.changed
    assert again.result["diff"]["before"] == again.result["diff"]["after"]


@pytest.mark.parametrize("level", ["checksum", "structure"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["start", "middle", "end"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_one_bit_anywhere_makes_a_backup_corrupt(tmp_path: Path, compression: str, share: float, level: str) -> None:
    directory = back_up_sqlite(tmp_path, compression=compression)
    flip_a_bit(payload(directory), share)
    done = verify(directory, level=level)
    assert done.error_code == "verification_failed"
    assert payload(directory).name in done.msg
    assert verdicts(done) == [("checksum", "failed", "corrupt")]
    assert states(directory) == ["corrupt"]
    assert done.result["changed"] and not verify(directory, level=level).result["changed"]


def test_one_that_is_cut_is_corrupt_and_is_good_again_when_it_is_put_back(tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path)
    path = payload(directory)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert verdicts(verify(directory)) == [("checksum", "failed", "corrupt")]
    path.write_bytes(whole)
    assert verdicts(verify(directory)) == [("checksum", "passed", "good")]


def test_one_failure_lets_the_others_be_looked_at(tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path)
    back_up_sqlite(tmp_path, "other.db")
    flip_a_bit(payloads(directory)[0], 0.5)
    done = verify(directory)
    assert done.error_code == "verification_failed"
    assert sorted(verdicts(done)) == [("checksum", "failed", "corrupt"), ("checksum", "passed", "good")]
    assert done.result["error"]["filenames"] == [payloads(directory)[0].name]


def test_a_manifest_that_was_swapped_with_another_databases_fails_and_is_left_as_it_is(tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path)
    back_up_sqlite(tmp_path, "other.db")
    first, second = map(manifest_path, payloads(directory))
    aside = tmp_path / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    before = state_of(directory)
    for level in ("checksum", "structure"):
        done = verify(directory, level=level)
        assert done.error_code == "verification_failed"
        assert verdicts(done) == [("structure", "failed", "unverified")] * 2
        assert not done.result["changed"]
    assert {path: facts for path, facts in state_of(directory).items() if "backup_" in path} == {
        path: facts for path, facts in before.items() if "backup_" in path
    }


def test_content_that_was_never_a_database_is_suspect_and_a_checksum_does_not_clear_it(tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path, compression="none")
    path = payload(directory)
    data = bytearray(path.read_bytes())
    data[8192:16384] = bytes(8192)
    path.write_bytes(data)
    digest = subprocess.run(("sha256sum", path), check=True, capture_output=True, text=True).stdout.split()[0]
    rewrite_manifest(path, payload_sha256=digest, content_sha256=digest, content_blake3=None)
    assert verdicts(verify(directory)) == [("checksum", "passed", "good")]
    failed = verify(directory, level="structure")
    assert failed.error_code == "verification_failed"
    assert verdicts(failed) == [("structure", "failed", "suspect")]
    shallow = verify(directory)
    assert verdicts(shallow) == [("checksum", "passed", "suspect")]
    assert not shallow.changed
    assert states(directory) == ["suspect"]


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_backup_without_a_manifest_is_adopted_apart_from_those_of_ours(server: Server, site: Site, form: str) -> None:
    site.back_up(format=form)
    path = payload(site.directory)
    was = manifest(path)
    strip_manifest(path)
    assert verdicts(verify(site.directory)) == [("checksum", "inconclusive", "unverified")]
    where = {"level": "structure", "bin_directory": str(server.bin_directory)}
    assert verify(site.directory, check=True, **where).changed
    assert not manifest_path(path).exists()
    done = verify(site.directory, **where)
    assert done.changed
    assert verdicts(done) == [("structure", "passed", "good")]
    now = manifest(path)
    assert (now["origin"], now["instance"]) == ("unknown", "unknown")
    same = (
        "engine",
        "format",
        "kind",
        "database",
        "payload_sha256",
        "payload_bytes",
        "content_sha256",
        "content_blake3",
        "content_bytes",
    )
    assert {key: now[key] for key in same} == {key: was[key] for key in same}
    assert not verify(site.directory, **where).changed
    assert site.back_up(format=form).outcomes == ["created"]


def test_what_was_cut_before_it_was_compressed_is_not_adopted(site: Site) -> None:
    site.grow(1)
    site.back_up()
    path = payload(site.directory)
    strip_manifest(path)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: len(content) // 2]))
    done = verify(site.directory, level="structure", bin_directory=str(site.server.bin_directory))
    assert done.error_code == "verification_failed"
    assert "pg_restore" in done.msg
    assert verdicts(done) == [("structure", "failed", "unverified")]
    assert not manifest_path(path).exists()


def test_without_pg_restore_a_digest_is_told_and_the_rest_is_inconclusive(site: Site, tmp_path: Path) -> None:
    site.back_up()
    path = payload(site.directory)
    verify(site.directory)
    where = {"level": "structure", "bin_directory": str(tmp_path)}
    before = state_of(path)
    done = verify(site.directory, **where)
    assert not done.changed
    assert verdicts(done) == [("structure", "inconclusive", "good")]
    assert any("pg_restore" in warning for warning in done.warnings)
    assert manifest(path)["verification"]["verdict"] == "passed" and state_of(path) == before
    flip_a_bit(path, 0.5)
    assert verdicts(verify(site.directory, **where)) == [("checksum", "failed", "corrupt")]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("ulimit -v 12000", "memory"),
        ("ulimit -n 4", "Too many open files"),
        ("exec /nonexistent", "not found"),
        ("kill -KILL $$", "ended by signal 9"),
    ],
)
def test_trouble_that_pg_restore_has_with_the_host_is_not_the_backup_s_fault(
    site: Site, tmp_path: Path, trouble: str, words: str
) -> None:
    site.sql("create table large as select repeat('x', 30 * 1024 * 1024)")
    site.back_up()
    program = site.server.bin_directory / "pg_restore"
    troubled = tmp_path / "pg_restore"
    troubled.write_text(f'#!/bin/sh\n[ "$1" = --version ] || {{ {trouble}; }}\nexec {program} "$@"\n', encoding="utf-8")
    troubled.chmod(0o755)
    done = verify(site.directory, level="structure", bin_directory=str(tmp_path))
    assert verdicts(done) == [("structure", "inconclusive", "good")]
    assert any(words in warning for warning in done.warnings)


@pytest.mark.skipif(not AS_ROOT, reason="another user needs root")
def test_one_that_may_not_be_read_is_inconclusive(open_folder: Path, unprivileged: Host, tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path)
    for path in (payload(directory), manifest_path(payload(directory))):
        shutil.copy(path, open_folder)
        os.chown(open_folder / path.name, UNPRIVILEGED, UNPRIVILEGED)
    payload(open_folder).chmod(0o000)
    done = verify(open_folder, host=unprivileged)
    assert verdicts(done) == [("checksum", "inconclusive", "good")]
    assert any("Permission denied" in warning for warning in done.warnings)
    assert manifest(payload(open_folder))["verification"]["verdict"] == "inconclusive"


@pytest.mark.skipif(not AS_ROOT, reason="another user needs root")
def test_a_verdict_that_can_not_be_written_is_told_all_the_same(open_folder: Path, unprivileged: Host, tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path)
    for path in (payload(directory), manifest_path(payload(directory))):
        shutil.copy(path, open_folder)
        (open_folder / path.name).chmod(0o644)
    done = verify(open_folder, host=unprivileged)
    assert done.error_code == "store_failed"
    assert verdicts(done) == [("checksum", "passed", "good")]
    assert not done.result["changed"]
    assert leftovers(open_folder) == []


@pytest.mark.skipif(not AS_ROOT, reason="another user's files need root")
def test_a_verdict_keeps_the_owner_and_the_mode_that_the_payload_has(tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path, owner="1234", group="2345", mode="0640")
    verify(directory, level="structure")
    found = manifest_path(payload(directory)).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o640)
    assert leftovers(directory) == []


def test_what_is_not_there_is_an_error_and_not_a_pass(tmp_path: Path) -> None:
    assert verify(tmp_path / "none").error_code == "nothing_found"
    directory = back_up_sqlite(tmp_path)
    assert verify(directory, databases=["app.db", "gone.db"]).error_code == "backup_missing"
    assert manifest(payload(directory))["verification"] is None


APPLICATION_S_OWN = "create table t (n text); create index i on t (n collate own); insert into t values ('a'), ('b')"


@pytest.mark.parametrize("level", ["structure", "restore"])
def test_a_database_with_an_application_s_own_collation_is_not_called_suspect(tmp_path: Path, level: str) -> None:
    source = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.create_collation("own", lambda one, other: (one > other) - (one < other))
        connection.executescript(APPLICATION_S_OWN)
    options = {"directory": str(tmp_path / "backups"), "engine": "sqlite"}
    assert run_module("db_backup", databases=[str(source)], **options).changed
    done = verify(tmp_path / "backups", level=level)
    assert verdicts(done) == [(level, "inconclusive", "good")]
    assert "own" in done.warnings[0]
    restored = run_module("db_restore", database=str(source), if_exists="replace", **options)
    assert restored.changed
    assert "was not checked" in restored.warnings[0]
    assert run_module("db_backup", databases=[str(source)], **options).outcomes == ["unchanged"]


def test_a_schema_that_this_sqlite_does_not_understand_is_backed_up_and_not_called_good(tmp_path: Path) -> None:
    directory = back_up_sqlite(tmp_path / "app")
    source = tmp_path / "app" / "app.db"
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.executescript("pragma writable_schema=on; insert into sqlite_master values ('table', 'x', 'x', 0, null)")
    assert run_module("db_backup", directory=str(directory), engine="sqlite", databases=[str(source)]).changed
    assert verdicts(verify(directory, level="restore", newest=1)) == [("restore", "failed", "suspect")]
