"""db_backup with encryption: who can read what it stores, what changed means, and what happens when something goes wrong."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
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

WORD = "kept-from-strangers"


class Site:
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
def ours(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return age_key(tmp_path_factory.mktemp("keys"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return ssh_key(tmp_path_factory.mktemp("keys"), "theirs")


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgKeys]:
    with gpg_keys() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


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
    site: Site, ours: KeyPair, theirs: KeyPair, gpg: GpgKeys, without_pyrage: Host, tmp_path: Path, way: str
) -> None:
    site.host = without_pyrage if way == "age" else OURSELVES
    daemons = gpg_processes()
    options: dict[str, Any]
    if way == "gpg":
        (tmp_path / "keys").write_bytes(gpg.public("first"))
        options = {"encryption": "gpg", "recipients_file": str(tmp_path / "keys")}
        readers, ids = [gpg.decrypt], [gpg.fingerprint("first")]
    else:
        (tmp_path / "keys").write_text(f"# theirs\n{theirs.recipient}\n", encoding="utf-8")
        options = {"encryption": "age", "recipients": [ours.recipient], "recipients_file": str(tmp_path / "keys")}
        fingerprint = subprocess.run(("ssh-keygen", "-lf", str(theirs.identity)), capture_output=True, check=True).stdout
        readers, ids = [ours.decrypt, theirs.decrypt], sorted((ours.recipient, fingerprint.decode().split()[1]))
    outcome = site.back_up(**options)
    assert (outcome.outcomes, outcome.changed, outcome.warnings) == (["created"], True, [])
    file = payload(site.directory)
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
    [verdict] = run_module("backup_verify", directory=str(site.directory), level="checksum").result["verified"]
    assert verdict["verdict"] == "passed"


def test_only_the_key_the_lock_and_the_status_are_beside_the_backup(site: Site, ours: KeyPair) -> None:
    site.back_up(encryption="age", recipients=[ours.recipient], mode="0640")
    names = {path.name for path in site.directory.iterdir()}
    assert names == {DIGEST_KEY, LOCK, STATUS, payload(site.directory).name, f"{payload(site.directory).name}.manifest.json"}
    assert stat.S_IMODE(payload(site.directory).stat().st_mode) == 0o640
    assert stat.S_IMODE(site.key.stat().st_mode) == 0o600


def test_the_key_is_sent_to_no_other_place_and_is_no_backup(site: Site, ours: KeyPair, tmp_path: Path) -> None:
    site.back_up(encryption="age", recipients=[ours.recipient])
    archive = tmp_path / "all.tar"
    assert run_module("backup_archive", directory=str(site.directory), dest=str(archive), format="tar").changed
    members = subprocess.run(("tar", "-tf", str(archive)), capture_output=True, check=True).stdout.decode()
    assert DIGEST_KEY not in members
    facts = run_module("backup_facts", directory=str(site.directory)).result["ansible_facts"]["database_backups"]
    assert facts["count"] == 1


def test_the_manifest_does_not_let_a_guess_be_confirmed(site: Site, ours: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    other.database.write_bytes(site.database.read_bytes())
    recipients = {"encryption": "age", "recipients": [ours.recipient]}
    for one in (site, other):
        one.back_up(**recipients)
    first, second = (manifest(payload(one.directory)) for one in (site, other))
    assert first["content_keyed_blake3"] != second["content_keyed_blake3"]
    assert first["content_key"] != second["content_key"]
    assert first["content_key"] not in site.key.read_text(encoding="utf-8")
    assert first["content_bytes"] == 65536  # rounded: the database has 8192
    secret = site.key.read_text(encoding="utf-8").strip()
    assert secret not in str(first)


# --- What changed says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacks_blake3", [False, True], ids=["BLAKE3", "HMAC"])
def test_an_unchanged_database_gets_no_second_copy(site: Site, ours: KeyPair, tmp_path: Path, lacks_blake3: bool) -> None:
    if lacks_blake3:
        (tmp_path / "lacks").mkdir()
        (tmp_path / "lacks" / "blake3.py").write_text("raise ImportError\n", encoding="utf-8")
        site.host = Host(search_path=(tmp_path / "lacks", collections_path()))
    recipients = {"encryption": "age", "recipients": [ours.recipient]}
    assert site.back_up(**recipients).outcomes == ["created"]
    again = site.back_up(**recipients)
    assert (again.outcomes, again.changed) == (["unchanged"], False)
    assert manifest(payload(site.directory))["content_hmac_sha256" if lacks_blake3 else "content_keyed_blake3"]
    site.write("other words")
    assert site.back_up(**recipients).outcomes == ["created"]
    assert len(payloads(site.directory)) == 2


def test_other_recipients_make_a_new_backup_even_if_it_is_fresh_and_say_so(site: Site, ours: KeyPair, theirs: KeyPair) -> None:
    runs: list[tuple[dict[str, Any], str]] = [
        ({}, "there is no good backup of it yet"),
        ({"encryption": "age", "recipients": [ours.recipient]}, "the last one is not encrypted"),
        ({"encryption": "age", "recipients": [theirs.recipient]}, "the last one is for other recipients"),
        ({"encryption": "age", "recipients": [theirs.recipient, ours.recipient]}, "the last one is for other recipients"),
        ({}, "the last one is encrypted"),
    ]
    for options, reason in runs:
        predicted = site.back_up(check=True, interval="1h", **options)
        outcome = site.back_up(interval="1h", **options)
        assert (outcome.outcomes, outcome.backups[0]["reason"]) == (["created"], reason)
        assert (predicted.outcomes, predicted.backups[0]["reason"]) == (["created"], reason)
    both = {"encryption": "age", "recipients": [ours.recipient, theirs.recipient]}
    site.back_up(**both)
    fresh = site.back_up(interval="1h", encryption="age", recipients=[theirs.recipient, ours.recipient])
    assert fresh.outcomes == ["fresh"]  # their order does not matter


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_without_the_key_the_next_backup_is_stored_and_says_why(site: Site, ours: KeyPair, harm: str) -> None:
    recipients = {"encryption": "age", "recipients": [ours.recipient]}
    site.back_up(**recipients)
    key_id = manifest(payload(site.directory))["content_key"]
    if harm == "lost":
        site.key.unlink()
    else:
        site.key.write_text("words\n", encoding="utf-8")
    outcome = site.back_up(**recipients)
    assert outcome.outcomes == ["created"]
    assert f"the host does not have the key of its digest, {key_id}" in outcome.backups[0]["reason"]
    assert len(outcome.warnings) == (1 if harm == "damaged" else 0)
    assert site.back_up(**recipients).outcomes == ["unchanged"]


def test_a_key_that_can_not_be_made_stops_no_backup(site: Site, ours: KeyPair) -> None:
    site.directory.mkdir(mode=0o700)
    site.key.mkdir()
    outcome = site.back_up(encryption="age", recipients=[ours.recipient])
    assert outcome.outcomes == ["created"]
    assert len(outcome.warnings) == 1 and "can't be used" in outcome.warnings[0]


def test_check_mode_makes_no_key(site: Site, ours: KeyPair) -> None:
    assert site.back_up(check=True, encryption="age", recipients=[ours.recipient]).outcomes == ["created"]
    assert not site.directory.exists()


# --- What is refused ------------------------------------------------------------------------------------------------


def test_a_wrong_recipient_is_refused_before_anything_is_written(site: Site) -> None:
    outcome = site.back_up(encryption="age", recipients=["age1"])
    assert outcome.error_code == "recipient_invalid"
    assert "Recipient 1 is no public key" in outcome.msg
    assert not site.directory.exists()


def test_recipients_without_an_encryption_are_refused_and_nothing_is_stored_in_clear(site: Site, ours: KeyPair) -> None:
    assert site.back_up(recipients=[ours.recipient]).error_code == "argument_invalid"
    assert not site.directory.exists()


def test_the_check_before_a_backup_finds_the_same(site: Site, ours: KeyPair) -> None:
    fine = run_module("backup_check", site.options({"encryption": "age", "recipients": [ours.recipient]}))
    assert "encryption" in fine.result["checks"] and fine.result["encryptor"].startswith("pyrage ")
    bad = run_module("backup_check", site.options({"encryption": "age", "recipients": ["age1"]}))
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
    site: Site, ours: KeyPair, without_pyrage: Host, tmp_path: Path, script: str
) -> None:
    site.host = without_pyrage
    recipients = {"encryption": "age", "recipients": [ours.recipient]}
    site.back_up(**recipients)
    before = contents(site.directory)
    site.write("other words", 300_000)
    fake_age(tmp_path, script)
    outcome = site.back_up(**recipients)
    assert outcome.outcomes == ["failed"]
    assert outcome.error_code == "program_failed"
    assert "age" in outcome.msg
    assert contents(site.directory) == before
    assert_whole(site.directory)


def test_a_host_that_can_not_encrypt_stores_nothing(site: Site, ours: KeyPair, without_pyrage: Host, tmp_path: Path) -> None:
    site.host = Host(search_path=without_pyrage.search_path, environment={"PATH": str(tmp_path / "bin")})
    outcome = site.back_up(encryption="age", recipients=[ours.recipient])
    assert outcome.error_code == "program_missing"
    assert not site.directory.exists()


@pytest.mark.parametrize("kind", ["age", "gpg"])
def test_a_run_that_was_killed_leaves_what_the_next_one_sweeps(
    site: Site, ours: KeyPair, gpg: GpgKeys, tmp_path: Path, kind: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    site.host = Host(environment={"TMPDIR": str(temporary)})
    options: dict[str, Any] = {"encryption": "age", "recipients": [ours.recipient]}
    if kind == "gpg":
        (tmp_path / "keys").write_bytes(gpg.public("first"))
        options = {"encryption": "gpg", "recipients_file": str(tmp_path / "keys")}
    site.back_up(**options)
    before = contents(site.directory)
    site.write("other words", 1_000_000)

    def is_encrypting() -> bool:
        partials = [path for path in site.directory.iterdir() if path.name.endswith(f".{kind}.partial")]
        return any(path.stat().st_size > 0 for path in partials)

    with running_module("db_backup", site.options(options), host=site.host) as process:
        wait_until(lambda: is_encrypting() or process.ended)
        assert not process.ended
        process.send_signal(signal.SIGKILL)
        process.kill()
    assert {name: digest for name, digest in contents(site.directory).items() if name in before} == before
    assert len(payloads(site.directory)) == 1
    outcome = site.back_up(**options)
    assert outcome.outcomes == ["created"]
    assert any("interrupted run" in warning for warning in outcome.warnings)
    assert_whole(site.directory)
    assert not [name for name in os.listdir(temporary) if name.startswith("lg-")]


@only_root
@pytest.mark.parametrize("lacks", [False, True], ids=["pyrage", "age"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, ours: KeyPair, without_pyrage: Host, lacks: bool) -> None:
    site = Site(tmp_path, without_pyrage if lacks else OURSELVES)
    site.database.write_bytes(b"")
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        connection.execute("create table t (noise blob)")
        connection.execute("insert into t values (randomblob(40000))")
        connection.commit()
    with tiny_file_system(site.directory):
        site.directory.chmod(0o700)
        outcome = site.back_up(encryption="age", recipients=[ours.recipient])
        assert outcome.error_code == "no_space"
        assert payloads(site.directory) == []
        assert_whole(site.directory)


def test_no_plaintext_is_on_the_disk_but_sqlites_own_copy(site: Site, ours: KeyPair, tmp_path: Path) -> None:
    site.write(WORD, 200_000)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in (*site.directory.glob("*"), *site.directory.glob(".*"), *temporary.rglob("*")):
                with contextlib.suppress(OSError):
                    if path.is_file() and WORD.encode() in path.read_bytes():
                        seen.add(path.name)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    site.host = Host(environment={"TMPDIR": str(temporary)})
    assert site.back_up(encryption="age", recipients=[ours.recipient], compression="none").changed
    done.set()
    thread.join()
    assert all("copy" in name for name in seen), seen
