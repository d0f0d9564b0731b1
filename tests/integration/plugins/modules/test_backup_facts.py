"""backup_facts as a process, of a directory that db_backup has filled."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    manifest_path,
    payloads,
    rewrite_manifest,
    state_of,
)
from ansible_collections.lastgood.database.tests.support.sftp import PASSPHRASE, SftpServer, make_key

AS_ROOT = os.geteuid() == 0

KEYS = {"directory", "exists", "count", "total_bytes", "pages", "files", "databases", "last_run", "running"}
RECORD = {
    "filename",
    "path",
    "kind",
    "origin",
    "engine",
    "instance",
    "source",
    "database",
    "format",
    "compression",
    "encrypted",
    "recipients",
    "state",
    "created_at",
    "modified_at",
    "confirmed_at",
    "size_kb",
    "size_bytes",
    "age_seconds",
    "payload_sha256",
    "verification",
    "manifest",
    "created_at_epoch",
    "modified_at_epoch",
    "confirmed_at_epoch",
    "problem",
    "position",
    "partial",
    "pinned",
    "labels",
    "partial_arguments",
    "uploaded_at",
    "uploaded_at_epoch",
}
GROUP = {
    "last_run",
    "last_failure",
    "uploaded_at",
    "uploaded_at_epoch",
    "verified_at",
    "verified_at_epoch",
    "drilled_at",
    "drilled_at_epoch",
    "newest_good_bytes",
    "newest_good_payload_bytes",
    "confirmed_at",
    "confirmed_at_epoch",
    "expected",
    "states",
    "sizes",
    "partial",
    "partial_arguments",
    "origin",
    "engine",
    "instance",
    "source",
    "kind",
    "database",
    "count",
    "newest_good",
    "age_seconds",
    "bytes",
}


def facts_of(directory: Path, **options: Any) -> dict[str, Any]:
    outcome = run_module("backup_facts", directory=str(directory), **options)
    assert outcome.status == 0, outcome.msg
    facts = outcome.result["ansible_facts"]["database_backups"]
    assert isinstance(facts, dict)
    return facts


def names(facts: dict[str, Any]) -> list[str]:
    return [record["filename"] for record in facts["files"]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Backups of three databases: two of ``app`` (small, then large), one of ``billing`` and one of ``shop``."""
    top = tmp_path_factory.mktemp("template")
    paths = [top / name for name in ("app", "billing", "shop")]
    for path in paths:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript("create table t (n); insert into t values (1)")

    def back_up() -> None:
        done = run_module(
            "db_backup", engine="sqlite", directory=str(top / "backups"), databases=[str(path) for path in paths], origin="web1"
        )
        assert done.status == 0, done.msg

    back_up()
    with contextlib.closing(sqlite3.connect(paths[0])) as connection:
        connection.executescript("insert into t values (randomblob(100000))")
    back_up()
    return top / "backups"


@pytest.fixture
def directory(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "backups"))


def test_it_returns_facts_and_nothing_else(directory: Path) -> None:
    before = state_of(directory)
    for check in (False, True):
        outcome = run_module("backup_facts", directory=str(directory), check=check)
        assert outcome.status == 0
        assert set(outcome.result) - {"invocation"} <= {"ansible_facts", "changed"}
        assert outcome.result.get("changed", False) is False
        assert set(outcome.result["ansible_facts"]) == {"database_backups"}
    assert state_of(directory) == before

    facts = outcome.result["ansible_facts"]["database_backups"]
    assert set(facts) == KEYS
    assert (facts["directory"], facts["exists"], facts["count"], facts["pages"]) == (str(directory), True, 4, 1)
    assert names(facts) == [path.name for path in payloads(directory)]
    assert {frozenset(record) for record in facts["files"]} == {frozenset(RECORD)}
    assert {frozenset(group) for group in facts["databases"]} == {frozenset(GROUP)}
    assert facts["total_bytes"] == sum(path.stat().st_size for path in payloads(directory))
    for record in facts["files"]:
        size = Path(record["path"]).stat().st_size
        assert (record["size_bytes"], record["size_kb"], record["state"]) == (size, f"{size / 1024:.1f}", "good")


def test_each_database_is_summed_up_with_its_last_good_one(directory: Path) -> None:
    facts = facts_of(directory)
    assert [(group["database"], group["count"]) for group in facts["databases"]] == [("app", 2), ("billing", 1), ("shop", 1)]
    app = facts["databases"][0]
    last = payloads(directory)[1]
    assert (app["origin"], app["engine"], app["kind"], app["newest_good"]) == ("web1", "sqlite", "database", last.name)
    assert app["bytes"] == sum(path.stat().st_size for path in payloads(directory)[:2])

    os.truncate(last, 10)
    app = facts_of(directory)["databases"][0]
    assert (app["count"], app["newest_good"]) == (2, payloads(directory)[0].name)


def test_pages_are_cut_from_the_sorted_whole(directory: Path) -> None:
    everything = facts_of(directory, sort_by="size", descending=True, page_size=0)
    sizes = [record["size_bytes"] for record in everything["files"]]
    assert sizes == sorted(sizes, reverse=True)
    assert everything["pages"] == 1

    pages = [facts_of(directory, sort_by="size", descending=True, page_size=3, page=page) for page in (1, 2, 3)]
    assert [len(page["files"]) for page in pages] == [3, 1, 0]
    assert names(pages[0]) + names(pages[1]) == names(everything)
    for page in pages:
        assert (page["pages"], page["count"], page["total_bytes"]) == (2, 4, everything["total_bytes"])
        assert len(page["databases"]) == 3


@pytest.mark.parametrize("sort_by", ["filename", "created_at", "modified_at", "size"])
def test_it_sorts_both_ways(directory: Path, sort_by: str) -> None:
    for number, path in enumerate(payloads(directory)):
        day = [3, 1, 4, 2][number]
        rewrite_manifest(path, created_at=f"2026-01-{day:02}T00:00:00Z")
        os.utime(path, (86400 * (10 - day), 86400 * (10 - day)))
    key = {"size": "size_bytes"}.get(sort_by, sort_by)
    for descending in (False, True):
        values = [record[key] for record in facts_of(directory, sort_by=sort_by, descending=descending)["files"]]
        assert values == sorted(values, reverse=descending)
        assert len(set(values)) > 1


def test_it_selects_by_name_database_newest_and_state(directory: Path) -> None:
    [first, last, billing, shop] = [path.name for path in payloads(directory)]
    assert names(facts_of(directory, databases=["app"])) == [first, last]
    assert names(facts_of(directory, databases=["ap", "app_prod", "shop"])) == [shop]
    assert names(facts_of(directory, newest=1)) == [last, billing, shop]
    assert names(facts_of(directory, databases=["app"], newest=1)) == [last]
    absent = ["no such", "../" + first, f"{directory}/{first}", ".lastgood.lock", manifest_path(directory / first).name, ""]
    assert names(facts_of(directory, names=[billing, *absent, billing])) == [billing]
    (directory / last).write_bytes(b"cut")
    assert names(facts_of(directory, state=["corrupt"])) == [last]
    assert names(facts_of(directory, state=["good"], newest=1)) == [first, billing, shop]
    assert facts_of(directory, state=["suspect", "unverified"])["count"] == 0


def test_states_tell_what_can_be_relied_on(directory: Path) -> None:
    [first, _last, billing, shop] = payloads(directory)
    manifest_path(first).write_text("{")
    failed = {"verdict": "failed", "verified_at": "2026-01-01T00:00:00Z", "detail": "no such table"}
    rewrite_manifest(billing, verification={"level": "restore", **failed})
    os.truncate(shop, shop.stat().st_size - 1)
    facts = facts_of(directory)
    assert [record["state"] for record in facts["files"]] == ["unverified", "good", "suspect", "corrupt"]
    unknown = facts["files"][0]
    assert (unknown["origin"], unknown["engine"], unknown["payload_sha256"]) == (None, None, None)
    assert (unknown["database"], unknown["created_at"][:2]) == ("app", "20")
    assert facts["files"][2]["verification"] == {
        "level": "restore",
        "verdict": "failed",
        "verified_at": "2026-01-01 00:00:00",
        "detail": "no such table",
    }


def test_only_reading_it_tells_a_rotten_payload(directory: Path) -> None:
    last = payloads(directory)[1]
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    before = state_of(directory)
    assert facts_of(directory)["files"][1]["state"] == "good"
    read = facts_of(directory, checksum=True)
    assert [record["state"] for record in read["files"]] == ["good", "corrupt", "good", "good"]
    assert read["databases"][0]["newest_good"] == payloads(directory)[0].name
    assert state_of(directory) == before


def test_what_is_no_backup_is_passed_over(directory: Path) -> None:
    known = names(facts_of(directory))
    stamp = "2026-01-01_00-00-00.dump.gz"
    (directory / f".backup_app_{stamp}.partial").touch()
    (directory / "notes.txt").touch()
    (directory / "backup_app_2026-02-30_00-00-00.dump.gz").touch()
    (directory / f"backup_folder_{stamp}").mkdir()
    (directory / f"backup_link_{stamp}").symlink_to(directory / known[0])
    os.mkfifo(directory / f"backup_pipe_{stamp}")
    (directory / f"backup_orphan_{stamp}.manifest.json").write_text("{}")
    assert names(facts_of(directory, checksum=True)) == known
    (directory / f"backup_{stamp}").touch()  # an older tool's
    assert names(facts_of(directory)) == sorted([*known, f"backup_{stamp}"])


def test_a_directory_that_is_not_there_has_no_backups(tmp_path: Path) -> None:
    facts = facts_of(tmp_path / "missing")
    assert facts == {
        "directory": str(tmp_path / "missing"),
        "exists": False,
        "count": 0,
        "total_bytes": 0,
        "pages": 0,
        "files": [],
        "databases": [],
        "last_run": None,
        "running": [],
    }
    assert not (tmp_path / "missing").exists()


def code_of(directory: Path | str, **options: Any) -> str | None:
    outcome: Outcome = run_module("backup_facts", directory=str(directory), **options)
    return outcome.error_code


@pytest.mark.parametrize(
    "options",
    [{"names": []}, {"databases": []}, {"state": []}, {"newest": 0}, {"page": 0}, {"page_size": -1}],
    ids=lambda options: next(iter(options)),
)
def test_what_makes_no_sense_is_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
    assert code_of(tmp_path, **options) == "argument_invalid"


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "missing")
    assert code_of(tmp_path / "file") == "not_a_directory"
    for name in ("link", "dangling"):
        assert code_of(tmp_path / name) == "directory_unusable"
    assert code_of("backups") == "argument_invalid"


def test_a_directory_that_may_not_be_read_is_an_error(open_folder: Path, unprivileged: Host) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "below").mkdir()
    if not AS_ROOT:
        closed.chmod(0)
    try:
        for path in (closed, closed / "below"):
            outcome = run_module("backup_facts", host=unprivileged, directory=str(path))
            assert outcome.error_code == "directory_unusable"
            assert "become_user" in outcome.msg
    finally:
        closed.chmod(0o700)


def test_a_directory_on_an_sftp_server_is_told_of_as_one_here(sftp: SftpServer, directory: Path) -> None:
    here = facts_of(directory, checksum=True)
    outcome = run_module("backup_facts", sftp=sftp.options(directory), checksum=True)
    assert outcome.status == 0, outcome.msg
    assert outcome.stderr == ""
    there = outcome.result["ansible_facts"]["database_backups"]
    assert there["directory"] == f"sftp://{sftp.options('')['user']}@127.0.0.1:{sftp.port}{directory}"
    moving = {"age_seconds", "path", "last_run"}  # the last is known on the host alone
    for facts in (here, there):
        del facts["directory"], facts["last_run"]
        for record in [*facts["files"], *facts["databases"]]:
            for key in moving & set(record):
                del record[key]
    assert there == here


def test_a_secret_of_the_sftp_server_is_in_no_result(sftp: SftpServer, directory: Path) -> None:
    key = make_key(directory / "key", "ed25519", passphrase=PASSPHRASE)
    options = sftp.options(directory, private_key=key.read_text(), key_passphrase="hidden-one", password="hidden-two")
    outcome = run_module("backup_facts", sftp=options)
    assert outcome.error_code == "wrong_passphrase"
    for secret in ("hidden-one", "hidden-two", key.read_text().splitlines()[3]):
        assert secret not in outcome.stdout + outcome.stderr


def test_exactly_one_of_directory_and_sftp_is_asked_for(sftp: SftpServer, directory: Path) -> None:
    for options in ({}, {"directory": str(directory), "sftp": sftp.options(directory)}):
        assert run_module("backup_facts", **options).result["failed"]
