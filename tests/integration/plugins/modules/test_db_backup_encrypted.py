"""db_backup with encryption: who can read what it stores, what changed means, and what happens when something goes wrong."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.encryption_keys import (
    GpgKeys,
    KeyPair,
    age_key,
    gpg_keys,
    gpg_processes,
    ssh_key,
)
from ansible_collections.lastgood.database.tests.support.modules import (
    OURSELVES,
    Host,
    Outcome,
    collections_path,
    run_module,
    running_module,
)
from ansible_collections.lastgood.database.tests.support.observe import (
    DIGEST_KEY,
    LOCK,
    STATUS,
    assert_whole,
    contents,
    manifest,
    payload,
    payloads,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.places import only_root, tiny_file_system
from ansible_collections.lastgood.database.tests.support.postgresql import Site

WORD = "kept-from-strangers"


class Place:
    """An SQLite database, its directory of backups, and a host with a choice of what encrypts."""

    def __init__(self, folder: Path, host: Host = OURSELVES) -> None:
        self.database = folder / "app.db"
        self.directory = folder / "backups"
        self.host = host
        self.write(WORD)

    def write(self, word: str, count: int = 50) -> None:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.executescript("drop table if exists t; create table t (word text)")
            connection.executemany("insert into t values (?)", [(f"{word} {number}",) for number in range(count)])
            connection.commit()

    def options(self, more: dict[str, Any]) -> dict[str, Any]:
        return {"directory": str(self.directory), "engine": "sqlite", "databases": [str(self.database)], **more}

    def back_up(self, check: bool = False, **more: Any) -> Outcome:
        return run_module("db_backup", self.options(more), host=self.host, check=check)

    @property
    def key(self) -> Path:
        return self.directory / DIGEST_KEY


@pytest.fixture(scope="module")
def ours() -> KeyPair:
    return age_key()


@pytest.fixture(scope="module")
def theirs() -> KeyPair:
    return ssh_key()


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgKeys]:
    with gpg_keys() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def without_pyrage(tmp_path: Path) -> Host:
    """Return a host that does not have the library pyrage. ``bin`` beside the databases is first on its PATH."""
    folder = tmp_path / "lacks"
    folder.mkdir()
    (folder / "pyrage.py").write_text("raise ImportError('this host does not have it')\n", encoding="utf-8")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return Host(search_path=(folder, collections_path()), environment={"PATH": path})


def content_of(decrypted: bytes) -> bytes:
    return subprocess.run(("zcat",), input=decrypted, capture_output=True, check=True).stdout


# --- What is stored -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["pyrage", "age", "gpg"])
def test_each_recipient_opens_it_with_the_programs_that_an_operator_has(
    place: Place, ours: KeyPair, theirs: KeyPair, gpg: GpgKeys, without_pyrage: Host, tmp_path: Path, way: str
) -> None:
    place.host = without_pyrage if way == "age" else OURSELVES
    daemons = gpg_processes()
    options: dict[str, Any]
    if way == "gpg":
        (tmp_path / "keys").write_bytes(gpg.public("first"))
        options = {"encryption": "gpg", "recipients_file": str(tmp_path / "keys")}
        readers, ids = [gpg.decrypt], [gpg.fingerprint("first")]
    else:
        (tmp_path / "keys").write_text(f"# theirs\n{theirs.public}\n", encoding="utf-8")
        options = {"encryption": "age", "recipients": [ours.public], "recipients_file": str(tmp_path / "keys")}
        readers, ids = [ours.decrypt, theirs.decrypt], sorted((ours.id, theirs.id))
    outcome = place.back_up(**options)
    assert (outcome.outcomes, outcome.changed, outcome.warnings) == (["created"], True, [])
    file = payload(place.directory)
    assert file.name.endswith(f".dump.gz.{options['encryption']}")
    for read in readers:
        assert content_of(read(file.read_bytes())).startswith(b"SQLite format 3\0")
    found = manifest(file)
    assert (found["encrypted"], found["encryption"], found["recipients"]) == (True, options["encryption"], ids)
    assert found["encryptor"].split()[0] == way
    assert (found["content_blake3"], found["content_sha256"], found["content_hmac_sha256"]) == (None, None, None)
    assert (outcome.backups[0]["encrypted"], outcome.backups[0]["state"]) == (True, "good")
    assert WORD.encode() not in file.read_bytes()
    assert gpg_processes() == daemons
    [verdict] = run_module("backup_verify", directory=str(place.directory), level="checksum").result["verified"]
    assert verdict["verdict"] == "passed"


def test_a_dump_of_postgresql_is_read_by_its_own_programs(site: Site, ours: KeyPair, theirs: KeyPair) -> None:
    site.sql("create table notes (text text); insert into notes values ('of worth')")
    recipients = {"encryption": "age", "recipients": [ours.public, theirs.public]}
    assert site.back_up(**recipients).outcomes == ["created"]
    assert site.back_up(**recipients).outcomes == ["unchanged"]
    pg_restore = (str(site.server.bin_directory / "pg_restore"), "--file", "-")
    for pair in (ours, theirs):
        dump = content_of(pair.decrypt(payload(site.directory).read_bytes()))
        assert b"of worth" in subprocess.run(pg_restore, input=dump, capture_output=True, check=True).stdout


def test_only_the_key_the_lock_and_the_status_are_beside_the_backup(place: Place, ours: KeyPair) -> None:
    place.back_up(encryption="age", recipients=[ours.public], mode="0640")
    names = {path.name for path in place.directory.iterdir()}
    assert names == {DIGEST_KEY, LOCK, STATUS, payload(place.directory).name, f"{payload(place.directory).name}.manifest.json"}
    assert stat.S_IMODE(payload(place.directory).stat().st_mode) == 0o640
    assert stat.S_IMODE(place.key.stat().st_mode) == 0o600


def test_the_key_is_sent_to_no_other_place_and_is_no_backup(place: Place, ours: KeyPair, tmp_path: Path) -> None:
    place.back_up(encryption="age", recipients=[ours.public])
    archive = tmp_path / "all.tar"
    assert run_module("backup_archive", directory=str(place.directory), dest=str(archive), format="tar").changed
    members = subprocess.run(("tar", "-tf", str(archive)), capture_output=True, check=True).stdout.decode()
    assert DIGEST_KEY not in members
    facts = run_module("backup_facts", directory=str(place.directory)).result["ansible_facts"]["database_backups"]
    assert facts["count"] == 1


def test_the_manifest_does_not_let_a_guess_be_confirmed(place: Place, ours: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    other.database.write_bytes(place.database.read_bytes())
    recipients = {"encryption": "age", "recipients": [ours.public]}
    for one in (place, other):
        one.back_up(**recipients)
    first, second = (manifest(payload(one.directory)) for one in (place, other))
    assert first["content_keyed_blake3"] != second["content_keyed_blake3"]
    assert first["content_key"] != second["content_key"]
    assert first["content_key"] not in place.key.read_text(encoding="utf-8")
    assert first["content_bytes"] == 65536  # rounded: the database has 8192
    secret = place.key.read_text(encoding="utf-8").strip()
    assert secret not in str(first)


# --- What changed says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacks_blake3", [False, True], ids=["BLAKE3", "HMAC"])
def test_an_unchanged_database_gets_no_second_copy(place: Place, ours: KeyPair, tmp_path: Path, lacks_blake3: bool) -> None:
    if lacks_blake3:
        (tmp_path / "lacks").mkdir()
        (tmp_path / "lacks" / "blake3.py").write_text("raise ImportError\n", encoding="utf-8")
        place.host = Host(search_path=(tmp_path / "lacks", collections_path()))
    recipients = {"encryption": "age", "recipients": [ours.public]}
    assert place.back_up(**recipients).outcomes == ["created"]
    again = place.back_up(**recipients)
    assert (again.outcomes, again.changed) == (["unchanged"], False)
    assert manifest(payload(place.directory))["content_hmac_sha256" if lacks_blake3 else "content_keyed_blake3"]
    place.write("other words")
    assert place.back_up(**recipients).outcomes == ["created"]
    assert len(payloads(place.directory)) == 2


def test_other_recipients_make_a_new_backup_even_if_it_is_fresh_and_say_so(place: Place, ours: KeyPair, theirs: KeyPair) -> None:
    runs: list[tuple[dict[str, Any], str]] = [
        ({}, "there is no good backup of it yet"),
        ({"encryption": "age", "recipients": [ours.public]}, "the last one is not encrypted"),
        ({"encryption": "age", "recipients": [theirs.public]}, "the last one is for other recipients"),
        ({"encryption": "age", "recipients": [theirs.public, ours.public]}, "the last one is for other recipients"),
        ({}, "the last one is encrypted"),
    ]
    for options, reason in runs:
        predicted = place.back_up(check=True, interval="1h", **options)
        outcome = place.back_up(interval="1h", **options)
        assert (outcome.outcomes, outcome.backups[0]["reason"]) == (["created"], reason)
        assert (predicted.outcomes, predicted.backups[0]["reason"]) == (["created"], reason)
    both = {"encryption": "age", "recipients": [ours.public, theirs.public]}
    place.back_up(**both)
    fresh = place.back_up(interval="1h", encryption="age", recipients=[theirs.public, ours.public])
    assert fresh.outcomes == ["fresh"]  # their order does not matter


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_without_the_key_the_next_backup_is_stored_and_says_why(place: Place, ours: KeyPair, harm: str) -> None:
    recipients = {"encryption": "age", "recipients": [ours.public]}
    place.back_up(**recipients)
    key_id = manifest(payload(place.directory))["content_key"]
    if harm == "lost":
        place.key.unlink()
    else:
        place.key.write_text("words\n", encoding="utf-8")
    outcome = place.back_up(**recipients)
    assert outcome.outcomes == ["created"]
    assert f"the host does not have the key of its digest, {key_id}" in outcome.backups[0]["reason"]
    assert len(outcome.warnings) == (1 if harm == "damaged" else 0)
    assert place.back_up(**recipients).outcomes == ["unchanged"]


def test_a_key_that_can_not_be_made_stops_no_backup(place: Place, ours: KeyPair) -> None:
    place.directory.mkdir(mode=0o700)
    place.key.mkdir()
    outcome = place.back_up(encryption="age", recipients=[ours.public])
    assert outcome.outcomes == ["created"]
    assert len(outcome.warnings) == 1 and "can't be used" in outcome.warnings[0]


def test_check_mode_makes_no_key(place: Place, ours: KeyPair) -> None:
    assert place.back_up(check=True, encryption="age", recipients=[ours.public]).outcomes == ["created"]
    assert not place.directory.exists()


# --- What is refused ------------------------------------------------------------------------------------------------


def test_a_wrong_recipient_is_refused_before_anything_is_written(place: Place) -> None:
    outcome = place.back_up(encryption="age", recipients=["age1"])
    assert outcome.error_code == "recipient_invalid"
    assert "Recipient 1 is no public key" in outcome.msg
    assert not place.directory.exists()


def test_recipients_without_an_encryption_are_refused_and_nothing_is_stored_in_clear(place: Place, ours: KeyPair) -> None:
    assert place.back_up(recipients=[ours.public]).error_code == "argument_invalid"
    assert not place.directory.exists()


def test_the_check_before_a_backup_finds_the_same(place: Place, ours: KeyPair) -> None:
    fine = run_module("backup_check", place.options({"encryption": "age", "recipients": [ours.public]}))
    assert "encryption" in fine.result["checks"] and fine.result["encryptor"].startswith("pyrage ")
    bad = run_module("backup_check", place.options({"encryption": "age", "recipients": ["age1"]}))
    assert [(one["check"], one["code"]) for one in bad.result["problems"]] == [("encryption", "recipient_invalid")]


# --- What goes wrong in the middle ----------------------------------------------------------------------------------

FAILS = {
    "at once": "exit 3",
    "in the middle": "head -c 30000 /dev/zero; echo 'age: error: out of luck' >&2; exit 1",
    "at the end": 'cat "$5"; exit 1',
    "killed": "head -c 30000 /dev/zero; kill -9 $$",
    "stops with status 0": "head -c 30000 /dev/zero",
}


def fake_age(folder: Path, script: str) -> None:
    """Make a program age that knows its version, and else does what the script says. Its last argument is the input."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "age"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo 1.1.1; exit 0; }}\n{script}\n', encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.parametrize("script", FAILS.values(), ids=FAILS)
def test_a_program_that_fails_leaves_the_earlier_backup_and_nothing_else(
    place: Place, ours: KeyPair, without_pyrage: Host, tmp_path: Path, script: str
) -> None:
    place.host = without_pyrage
    recipients = {"encryption": "age", "recipients": [ours.public]}
    place.back_up(**recipients)
    before = contents(place.directory)
    place.write("other words", 300_000)
    fake_age(tmp_path, script)
    outcome = place.back_up(**recipients)
    assert outcome.outcomes == ["failed"]
    assert outcome.error_code == "program_failed"
    assert "age" in outcome.msg
    assert contents(place.directory) == before
    assert_whole(place.directory)


def test_a_host_that_can_not_encrypt_stores_nothing(place: Place, ours: KeyPair, without_pyrage: Host, tmp_path: Path) -> None:
    place.host = Host(search_path=without_pyrage.search_path, environment={"PATH": str(tmp_path / "bin")})
    outcome = place.back_up(encryption="age", recipients=[ours.public])
    assert outcome.error_code == "program_missing"
    assert not place.directory.exists()


@pytest.fixture
def options(
    request: pytest.FixtureRequest, place: Place, ours: KeyPair, gpg: GpgKeys, without_pyrage: Host, tmp_path: Path
) -> Any:
    """Return the options that encrypt in one of the ways. The host of the place has no other way."""
    if request.param == "gpg":
        (tmp_path / "keys").write_bytes(gpg.public("first"))
        return {"encryption": "gpg", "recipients_file": str(tmp_path / "keys")}
    place.host = without_pyrage if request.param == "age" else OURSELVES
    return {"encryption": "age", "recipients": [ours.public]}


every_way = pytest.mark.parametrize("options", ["pyrage", "age", "gpg"], indirect=True)


@every_way
def test_a_run_that_was_killed_leaves_what_the_next_one_sweeps(place: Place, options: dict[str, Any], tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    place.host = dataclasses.replace(place.host, environment={**place.host.environment, "TMPDIR": str(temporary)})
    place.back_up(**options)
    before, daemons = contents(place.directory), gpg_processes()
    place.write("other words", 1_000_000)

    def is_encrypting() -> bool:
        partials = place.directory.glob(f".*.{options['encryption']}.partial")
        return any(path.stat().st_size > 0 for path in partials)

    with running_module("db_backup", place.options(options), host=place.host) as process:
        wait_until(lambda: is_encrypting() or process.ended)
        assert not process.ended
        process.kill()
    assert contents(place.directory).items() > before.items()
    assert len(payloads(place.directory)) == 1
    outcome = place.back_up(**options)
    assert outcome.outcomes == ["created"]
    assert any("interrupted run" in warning for warning in outcome.warnings)
    assert contents(place.directory).items() > before.items()
    assert_whole(place.directory)
    assert [name for name in os.listdir(temporary) if name.startswith("lg-")] == []
    wait_until(lambda: gpg_processes() == daemons and not programs_of(temporary))


def programs_of(temporary: Path) -> list[str]:
    """Return the processes whose folder for temporary files is this one."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += [str(file)] if f"TMPDIR={temporary}\0".encode() in file.read_bytes() else []
    return found


@only_root
@every_way
def test_a_full_disk_in_the_middle_leaves_the_earlier_backup(place: Place, options: dict[str, Any]) -> None:
    with tiny_file_system(place.directory):
        place.directory.chmod(0o700)
        assert place.back_up(**options).outcomes == ["created"]
        before, daemons = contents(place.directory), gpg_processes()
        with contextlib.closing(sqlite3.connect(place.database)) as connection:
            connection.execute("insert into t values (randomblob(28000))")
            connection.commit()
        outcome = place.back_up(**options)
        assert outcome.error_code == "no_space"
        assert f".gz.{options['encryption']}: No space left" in outcome.msg  # SQLite's own copy had room
        assert contents(place.directory) == before
        assert_whole(place.directory)
        assert gpg_processes() == daemons


def test_no_plaintext_is_on_the_disk_but_sqlites_own_copy(place: Place, ours: KeyPair, tmp_path: Path) -> None:
    place.write(WORD, 200_000)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in (*place.directory.glob("*"), *place.directory.glob(".*"), *temporary.rglob("*")):
                with contextlib.suppress(OSError):
                    if path.is_file() and WORD.encode() in path.read_bytes():
                        seen.add(path.name)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    place.host = Host(environment={"TMPDIR": str(temporary)})
    assert place.back_up(encryption="age", recipients=[ours.public], compression="none").changed
    done.set()
    thread.join()
    assert all("copy" in name for name in seen), seen
