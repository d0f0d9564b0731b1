"""backup_label as a process: in a directory and on a real OpenSSH server, beside a prune, and killed in the middle."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.backups import put_backup, put_payload
from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    contents,
    leftovers,
    manifest,
    manifest_path,
    payloads,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server


def fill(directory: Path, count: int, **over: Any) -> list[str]:
    """Put backups into a directory, of a day each, and return their names, the newest first."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return [put_backup(directory, now - timedelta(days=day), **over) for day in range(1, count + 1)]


def label(directory: Path, *names: str, check: bool = False, diff: bool = False, **options: Any) -> Outcome:
    return run_module("backup_label", directory=str(directory), names=list(names), check=check, diff=diff, **options)


def facts(**where: Any) -> dict[str, dict[str, Any]]:
    found = run_module("backup_facts", **where).result["ansible_facts"]["database_backups"]["files"]
    return {one["filename"]: one for one in found}


def texts_in(value: Any) -> Iterator[str]:
    """Yield the keys and texts in a result, however deep."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from texts_in(one)
    elif isinstance(value, str):
        yield value


def test_it_pins_and_labels_as_check_mode_said_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    names = fill(tmp_path, 3)
    before = state_of(tmp_path)
    options = {"pinned": True, "labels": {"app_version": "2.10", "why": "before 3.0"}}
    foretold = label(tmp_path, *names[1:], check=True, diff=True, **options)
    assert state_of(tmp_path) == before
    done = label(tmp_path, *names[1:], diff=True, **options)
    assert done.changed
    ages = [{"age_seconds": one["age_seconds"]} for one in done.backups]
    assert [{**one, **age} for one, age in zip(foretold.backups, ages)] == done.backups
    assert (foretold.changed, foretold.result["diff"]) == (True, done.result["diff"])
    assert f'{names[1]}  (pinned, labels: {{"app_version": "2.10", "why": "before 3.0"}})\n' in done.result["diff"]["after"]
    assert [one["filename"] for one in done.backups] == names[1:]
    told = facts(directory=str(tmp_path))
    assert [told[name]["pinned"] for name in names] == [False, True, True]
    assert told[names[0]]["labels"] == {}
    assert {key: value for key, value in told[names[1]].items() if not key.startswith("uploaded_at")} == {
        **done.backups[0],
        "age_seconds": told[names[1]]["age_seconds"],
    }
    assert_whole(tmp_path)
    before = state_of(tmp_path)
    assert not label(tmp_path, *names[1:], **options).changed
    assert state_of(tmp_path) == before
    assert label(tmp_path, names[1], pinned=False, labels={"why": None, "never": None}).changed
    assert (manifest(tmp_path / names[1])["pinned"], manifest(tmp_path / names[1])["labels"]) == (False, {"app_version": "2.10"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": {"app": 1.1}}, "in quotes"),
        ({"labels": {"app": "a\nb"}}, "printable"),
        ({"labels": {"app": "\x1b[31m"}}, "printable"),
        ({"labels": {"\x1b[31m": "x"}}, "labels has the key"),
        ({"labels": {"app": "x" * 257}}, "at most 256 bytes"),
        ({"labels": {str(number): "x" for number in range(33)}}, "33 labels"),
        ({"pinned": True, "names": []}, "empty list"),
    ],
)
def test_what_makes_no_sense_is_an_error_and_changes_nothing(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    names = fill(tmp_path, 1)
    before = state_of(tmp_path)
    outcome = run_module("backup_label", {"directory": str(tmp_path), "names": names, **options})
    assert outcome.error_code == "argument_invalid"
    assert words in outcome.msg
    assert outcome.msg.isprintable()
    assert state_of(tmp_path) == before


def test_nothing_to_change_and_no_or_two_places_are_errors(tmp_path: Path, sftp: SftpServer) -> None:
    names = fill(tmp_path, 1)
    for options in ({}, {"pinned": True, "sftp": sftp.options(tmp_path)}):
        assert label(tmp_path, *names, **options).status == 1
    assert run_module("backup_label", names=names, pinned=True).status == 1


def test_where_one_is_missing_or_has_no_manifest_none_is_changed(tmp_path: Path) -> None:
    names = fill(tmp_path, 1)
    alone = put_payload(tmp_path, "backup_app_2020-01-01_00-00-00.dump.gz")
    before = state_of(tmp_path)
    for other, code in (("backup_app_2021-01-01_00-00-00.dump.gz", "backup_missing"), (alone, "manifest_unusable")):
        outcome = label(tmp_path, *names, other, pinned=True)
        assert (outcome.error_code, other in outcome.msg) == (code, True)
    assert state_of(tmp_path) == before


def test_hostile_labels_in_a_manifest_are_printed_without_control_characters(tmp_path: Path) -> None:
    hostile = {"\x1b[2J": "a\nb\u202ec", "msg": "\x1b]0;x\x07", "before": "x\ny", "\ud800": "\ud800"}
    [name] = fill(tmp_path, 1, labels=hostile)
    for outcome in (run_module("backup_facts", directory=str(tmp_path)), label(tmp_path, name, pinned=True, diff=True)):
        assert all(text.isprintable() for text in texts_in(outcome.result.get("ansible_facts", outcome.result.get("backups"))))
    assert label(tmp_path, name, pinned=False, diff=True).result["diff"]["after"].count("\n") == 1
    assert manifest(tmp_path / name)["labels"] == hostile


def test_a_pinned_one_outlives_every_prune_until_it_is_unpinned(tmp_path: Path) -> None:
    names = fill(tmp_path, 5)
    label(tmp_path, names[0], names[3], pinned=True)
    done = run_module("backup_prune", directory=str(tmp_path), keep_last=1)
    assert [one["filename"] for one in done.result["kept"]] == [names[1]]
    assert {path.name for path in payloads(tmp_path)} == {names[0], names[1], names[3]}
    refused = run_module("backup_prune", directory=str(tmp_path), names=[names[3]], allow_delete_last=True)
    assert (refused.error_code, names[3] in refused.msg) == ("pinned_refused", True)
    (tmp_path / names[3]).write_bytes(b"rotten")
    assert not run_module("backup_prune", directory=str(tmp_path), keep_last=1).changed
    assert label(tmp_path, names[3], pinned=False).changed
    assert run_module("backup_prune", directory=str(tmp_path), names=[names[3]]).changed
    assert {path.name for path in payloads(tmp_path)} == {names[0], names[1]}
    assert_whole(tmp_path)


def test_pins_beside_a_prune_are_kept_or_come_too_late(tmp_path: Path) -> None:
    names = fill(tmp_path, 600)
    wanted = names[1::60]
    with running_module("backup_prune", directory=str(tmp_path), keep_last=1) as process:
        ends = {name: label(tmp_path, name, pinned=True).error_code for name in reversed(wanted)}
        assert process.wait().changed
    assert set(ends.values()) <= {None, "backup_missing"}
    assert {path.name for path in payloads(tmp_path)} == {names[0], *(name for name, code in ends.items() if code is None)}
    assert_whole(tmp_path)


def test_a_run_that_is_killed_leaves_each_manifest_as_it_was_or_as_it_should_be(tmp_path: Path) -> None:
    names = fill(tmp_path, 400)
    before = manifest(tmp_path / names[0])["labels"]
    pinned = 0
    for moment in (0, 0.02, 0.1):
        with running_module("backup_label", directory=str(tmp_path), names=names, labels={"moment": str(moment)}) as process:
            wanted = {"moment": str(moment)}
            wait_until(lambda: process.ended or manifest(tmp_path / names[0])["labels"] == wanted)  # noqa: B023
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            wait_until(lambda: process.ended)
        found = [manifest(tmp_path / name)["labels"] for name in names]
        assert all(one in (before, {"moment": "0"}, {"moment": "0.02"}, {"moment": "0.1"}) for one in found)
        pinned += found.count(wanted)
    assert pinned < 3 * len(names)  # it was killed in the middle
    assert {one["state"] for one in facts(directory=str(tmp_path), page_size=0).values()} == {"good"}
    assert label(tmp_path, *names, labels={"moment": "end"}).changed
    assert leftovers(tmp_path) == []
    assert_whole(tmp_path)


def test_a_new_backup_gets_the_labels_of_db_backup_and_an_unchanged_one_keeps_its_own(tmp_path: Path) -> None:
    database, directory = tmp_path / "app.db", tmp_path / "backups"

    def back_up(**labels: str | None) -> dict[str, Any]:
        options = {"directory": str(directory), "engine": "sqlite", "databases": [str(database)], "labels": labels}
        [found] = run_module("db_backup", options).backups
        return found

    with sqlite3.connect(database) as connection:
        connection.execute("create table t (n)")
    first = back_up(app="1", none=None)
    assert (first["outcome"], first["labels"], first["pinned"]) == ("created", {"app": "1"}, False)
    label(directory, first["filename"], pinned=True)
    second = back_up(app="2")
    assert (second["outcome"], second["filename"]) == ("unchanged", first["filename"])
    assert (second["labels"], second["pinned"]) == ({"app": "1"}, True)
    connection.execute("insert into t values (1)")
    connection.commit()
    third = back_up(app="2")
    assert (third["outcome"], third["labels"], third["pinned"]) == ("created", {"app": "2"}, False)
    verified = run_module("backup_verify", directory=str(directory), level="structure")
    assert verified.changed
    assert facts(directory=str(directory))[first["filename"]]["pinned"]
    connection.close()


class TestSftp:
    """The manifest on the server is another one, and may be changed by itself."""

    @pytest.fixture
    def here(self, tmp_path: Path) -> Path:
        (tmp_path / "here").mkdir()
        return tmp_path / "here"

    @pytest.fixture
    def there(self, tmp_path: Path) -> Path:
        (tmp_path / "there").mkdir()
        return tmp_path / "there"

    def upload(self, here: Path, sftp: SftpServer, there: Path, **options: Any) -> Outcome:
        return run_module("backup_upload", directory=str(here), sftp=sftp.options(there), **options)

    def test_it_pins_there_and_the_prune_there_keeps_it(self, there: Path, sftp: SftpServer) -> None:
        names = fill(there, 3)
        options = {"sftp": sftp.options(there), "names": [names[2]], "pinned": True, "labels": {"app": "1"}}
        before = state_of(there)
        assert run_module("backup_label", options, check=True).changed
        assert state_of(there) == before
        done = run_module("backup_label", options)
        assert (done.changed, done.backups[0]["pinned"]) == (True, True)
        assert manifest_path(there / names[2]).stat().st_mode & 0o777 == 0o600
        assert not run_module("backup_label", options).changed
        assert run_module("backup_prune", sftp=sftp.options(there), keep_last=1).changed
        assert {path.name for path in payloads(there)} == {names[0], names[2]}
        refused = run_module("backup_prune", sftp=sftp.options(there), names=[names[2]])
        assert refused.error_code == "pinned_refused"
        assert_whole(there)

    def test_a_server_that_replaces_no_file_in_one_step_gets_the_manifest_all_the_same(self, there: Path) -> None:
        [name] = fill(there, 1)
        with sftp_server("Subsystem sftp internal-sftp -P posix-rename") as server:
            assert run_module("backup_label", sftp=server.options(there), names=[name], pinned=True).changed
        assert manifest(there / name)["pinned"]
        assert_whole(there)

    def test_an_account_that_may_replace_nothing_is_an_error_and_leaves_all_as_it_was(self, here: Path, there: Path) -> None:
        [name] = fill(here, 1)
        with sftp_server("Subsystem sftp internal-sftp -P remove,posix-rename") as server:
            assert self.upload(here, server, there).changed
            before = contents(there)
            outcome = run_module("backup_label", sftp=server.options(there), names=[name], pinned=True)
            assert (outcome.error_code, outcome.result["changed"]) == ("store_failed", False)
            assert outcome.backups[0]["pinned"] is False
            label(here, name, pinned=True)
            new = put_backup(here, datetime.now(timezone.utc).replace(microsecond=0))
            sent = self.upload(here, server, there)
        assert [one["filename"] for one in sent.result["failed_uploads"]] == [name]
        assert (sent.error_code, sent.result["uploaded"]) == ("store_failed", [new])
        assert {key: one for key, one in contents(there).items() if not key.startswith(new)} == before

    def test_a_directory_that_is_missing_is_an_error(self, tmp_path: Path, sftp: SftpServer) -> None:
        name = "backup_app_2020-01-01_00-00-00.dump.gz"
        outcome = run_module("backup_label", sftp=sftp.options(tmp_path / "missing"), names=[name], pinned=True)
        assert outcome.error_code == "backup_missing"

    def test_what_changes_here_reaches_the_copy_and_a_pin_there_stays(self, here: Path, there: Path, sftp: SftpServer) -> None:
        names = fill(here, 2)
        assert self.upload(here, sftp, there).changed
        assert run_module("backup_label", sftp=sftp.options(there), names=[names[1]], pinned=True).changed
        label(here, names[1], labels={"app": "1"})
        label(here, names[0], pinned=True)
        assert self.upload(here, sftp, there, check=False).result["refreshed"] == sorted(names)
        told = facts(sftp=sftp.options(there))
        assert [told[name]["pinned"] for name in names] == [True, True]
        assert told[names[1]]["labels"] == {"app": "1"}
        assert not self.upload(here, sftp, there).changed
        assert facts(directory=str(here))[names[1]]["pinned"] is False  # nothing is carried back
        label(here, names[0], pinned=False)
        assert self.upload(here, sftp, there).changed
        assert facts(sftp=sftp.options(there))[names[0]]["pinned"] is False
        assert_whole(there)

    def test_a_pinned_one_is_sent_though_the_rules_there_would_delete_it(self, here: Path, there: Path, sftp: SftpServer) -> None:
        names = fill(here, 3)
        label(here, names[2], pinned=True)
        rules = {"keep_last": 1}
        assert self.upload(here, sftp, there, retention=rules).result["uploaded"] == [names[2], names[0]]
        assert not run_module("backup_prune", sftp=sftp.options(there), **rules).changed
        assert not self.upload(here, sftp, there, retention=rules).changed
