"""Encrypted backups are read by an identity, which nobody else sees. Without it nothing is said against them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.encryption_keys import PASSPHRASE, KeyPair, age_key, gpg_key
from ansible_collections.lastgood.database.tests.support.modules import (
    OURSELVES,
    Host,
    Outcome,
    collections_path,
    run_module,
    running_module,
)
from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite
from ansible_collections.lastgood.database.tests.support.observe import (
    contents,
    manifest,
    manifest_path,
    payload,
    payloads,
    rewrite_manifest,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.postgresql import database_on, drop, login
from ansible_collections.lastgood.database.tests.support.secrets import watching_for
from tools.throwaway_postgresql import Server

ROWS = 20_000
IN_MEMORY = Path("/dev/shm")


class Way:
    """An encryption, with keys of its own, and a host that decrypts in one of the ways that there are."""

    def __init__(self, encryption: str, host: Host, folder: Path) -> None:
        self.encryption = encryption
        self.host = host
        self._folder = folder

    def key(self, number: int = 1) -> KeyPair:
        return age_key(number) if self.encryption == "age" else gpg_key(number)

    def for_keys(self, *numbers: int) -> dict[str, Any]:
        """Return db_backup's options that encrypt for these keys."""
        keys = [self.key(number) for number in numbers]
        if self.encryption == "age":
            return {"encryption": "age", "recipients": [key.public for key in keys]}
        ring = self._folder / f"ring-{'-'.join(map(str, numbers))}"
        ring.write_text("".join(key.public for key in keys), encoding="utf-8")
        return {"encryption": "gpg", "recipients_file": str(ring)}


every_way = pytest.mark.parametrize("way", ["pyrage", "age", "gpg"], indirect=True)
by_pyrage, by_age, by_gpg = (pytest.mark.parametrize("way", [way], indirect=True) for way in ("pyrage", "age", "gpg"))


@pytest.fixture
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    folder = tmp_path / "host"
    folder.mkdir()
    if request.param != "age":
        return Way("age" if request.param == "pyrage" else "gpg", OURSELVES, folder)
    (folder / "pyrage.py").write_text("raise ImportError('this host does not have it')\n", encoding="utf-8")
    return Way("age", Host(search_path=(folder, collections_path())), folder)


class Site:
    """An SQLite database with an encrypted backup of it."""

    def __init__(self, folder: Path, way: Way) -> None:
        self.database = folder / "app.db"
        self.directory = folder / "backups"
        self.way = way
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.execute("create table t (word text)")
            connection.executemany("insert into t values (?)", [(os.urandom(8).hex(),) for _row in range(ROWS)])
            connection.commit()

    def back_up(self, *numbers: int, **more: Any) -> Outcome:
        options = {"engine": "sqlite", "databases": [str(self.database)], **self.way.for_keys(*numbers), **more}
        outcome = run_module("db_backup", directory=str(self.directory), **options)
        assert outcome.status == 0, outcome.result
        return outcome

    def verify(self, number: int | None = None, level: str = "structure", **more: Any) -> Outcome:
        identity = {} if number is None else {"identity": self.way.key(number).secret}
        options = {"directory": str(self.directory), "level": level, **identity, **more}
        return run_module("backup_verify", options, host=self.way.host)

    def restore(self, number: int | None = None, *, check: bool = False, **more: Any) -> Outcome:
        identity = {} if number is None else {"identity": self.way.key(number).secret}
        options = {"directory": str(self.directory), "engine": "sqlite", "database": str(self.database), "if_exists": "replace"}
        return run_module("db_restore", {**options, **identity, **more}, host=self.way.host, check=check)

    def rows(self, database: Path | None = None) -> int:
        with contextlib.closing(sqlite3.connect(database or self.database)) as connection:
            count: int = connection.execute("select count(*) from t").fetchone()[0]
            return count


@pytest.fixture
def site(tmp_path: Path, way: Way) -> Site:
    made = Site(tmp_path, way)
    made.back_up(1, 2)
    return made


def agents() -> list[str]:
    """Return the processes that work in a folder of a key."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = file.read_bytes()
            found += [str(file)] if b"/lg-key-" in command else []
    return found


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Wait until no agent and no folder of a key is left."""
    yield
    wait_until(lambda: not agents() and not list(IN_MEMORY.glob("lg-key-*")))


def only(outcome: Outcome) -> dict[str, Any]:
    [one] = outcome.result["verified"]
    assert isinstance(one, dict)
    return one


@every_way
def test_each_recipient_verifies_and_restores_it(site: Site) -> None:
    for number, level in ((1, "restore"), (2, "structure")):
        verified = only(site.verify(number, level))
        assert (verified["verdict"], verified["readable_by"]) == ("passed", [site.way.key(number).id])
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        connection.execute("drop table t")
    assert site.restore(2).status == 0
    assert site.rows() == ROWS


@by_age
def test_checksum_needs_no_identity_and_the_others_are_inconclusive_without(site: Site) -> None:
    assert only(site.verify(level="checksum"))["verdict"] == "passed"
    for level in ("structure", "restore"):
        outcome = site.verify(level=level)
        assert outcome.status == 0
        verified = only(outcome)
        assert (verified["verdict"], verified["state"], verified["readable_by"]) == ("inconclusive", "good", None)
        for words in (site.way.key(1).id, site.way.key(2).id, "no identity is given"):
            assert words in verified["detail"]
    before = contents(site.database.parent)
    outcome = site.restore()
    assert outcome.error_code == "identity_missing"
    assert contents(site.database.parent) == before


@by_gpg
def test_a_wrong_identity_proves_nothing(site: Site) -> None:
    for level, verdict in (("checksum", "passed"), ("structure", "inconclusive"), ("restore", "inconclusive")):
        outcome = site.verify(3, level)
        assert outcome.status == 0
        verified = only(outcome)
        assert (verified["verdict"], verified["state"], verified["readable_by"]) == (verdict, "good", [])
        assert "does not open" in str(outcome.warnings)
    for check in (True, False):
        outcome = site.restore(3, check=check)
        assert outcome.error_code == "identity_wrong"
        assert site.way.key(1).id in outcome.msg
    assert site.rows() == ROWS


@by_pyrage
def test_a_rotation_shows_which_backups_each_identity_opens(site: Site) -> None:
    site.back_up(2, 3, interval="1d")
    both = "".join(site.way.key(number).secret for number in (1, 3))
    outcome = site.verify(level="checksum", identity=both)
    assert [one["readable_by"] for one in outcome.result["verified"]] == [[site.way.key(1).id], [site.way.key(3).id]]
    outcome = site.verify(3, "checksum")
    assert [one["readable_by"] for one in outcome.result["verified"]] == [[], [site.way.key(3).id]]
    assert payloads(site.directory)[0].name in outcome.warnings[0]
    facts = run_module("backup_facts", directory=str(site.directory)).result["ansible_facts"]["database_backups"]["files"]
    recipients = [sorted(site.way.key(number).id for number in numbers) for numbers in ((1, 2), (2, 3))]
    assert [file["recipients"] for file in facts] == recipients


def broken(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


@by_pyrage
def test_a_flipped_bit_is_corrupt_and_is_never_restored(site: Site) -> None:
    path = payload(site.directory)
    for place in (60, 100_000, -1):
        broken(path, place)
        verified = only(site.verify(1))
        assert (verified["level"], verified["verdict"], verified["state"]) == ("checksum", "failed", "corrupt")
        rewrite_manifest(path, verification=None)
        broken(path, place)
    broken(path, -1)
    outcome = site.restore(1)
    assert outcome.error_code == "payload_corrupt"
    assert site.rows() == ROWS


@by_gpg
def test_what_was_stored_as_it_is_and_does_not_authenticate_is_suspect(site: Site) -> None:
    path = payload(site.directory)
    broken(path, -1)
    rewrite_manifest(path, payload_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    verified = only(site.verify(1))
    assert (verified["level"], verified["verdict"], verified["state"]) == ("structure", "failed", "suspect")
    rewrite_manifest(path, verification=None)
    assert site.restore(1).error_code == "payload_corrupt"
    assert site.rows() == ROWS


@by_age
def test_one_without_a_manifest_is_adopted_with_the_identity_alone(site: Site) -> None:
    path = payload(site.directory)
    manifest_path(path).unlink()
    assert only(site.verify())["state"] == only(site.verify(3))["state"] == "unverified"
    assert only(site.verify(1))["state"] == "good"
    found = manifest(path)
    assert (found["encrypted"], found["encryption"], found["format"]) == (True, site.way.encryption, "custom")
    assert [name for name, value in found.items() if name.startswith("content_") and value is not None] == []


@by_pyrage
def test_a_file_that_nobody_can_use_is_named(site: Site, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert site.restore(identity_file=str(missing)).error_code == "key_unreadable"
    outcome = site.verify(level="checksum", identity_file=str(missing))
    assert only(outcome)["verdict"] == "passed"
    assert str(missing) in str(outcome.warnings)
    assert only(site.verify(identity_file=str(missing)))["verdict"] == "inconclusive"
    for more in ({"identity": "x", "identity_file": "/x"}, {"identity_passphrase": "x"}, {"identity_file": "x"}):
        assert site.verify(**more).error_code == "argument_invalid"


@by_gpg
def test_a_key_with_a_passphrase_needs_it(site: Site, tmp_path: Path) -> None:
    key = gpg_key(5, PASSPHRASE)
    file = tmp_path / "key"
    file.write_text(key.secret, encoding="utf-8")
    file.chmod(0o600)
    ring = tmp_path / "protected"
    ring.write_text(key.public, encoding="utf-8")
    site.back_up(1, recipients_file=str(ring))
    options = {"names": [payloads(site.directory)[-1].name], "identity_file": str(file)}
    assert only(site.verify(**options, identity_passphrase=PASSPHRASE))["verdict"] == "passed"
    without = only(site.verify(**options))
    assert without["verdict"] == "inconclusive"
    assert "passphrase" in without["detail"]


def needle(key: KeyPair) -> str:
    """Return a line of the secret that no other text has."""
    return max(key.secret.splitlines(), key=len)


@every_way
def test_nobody_else_sees_the_identity(site: Site, tmp_path: Path) -> None:
    key = site.way.key(1)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    site.way.host = dataclasses.replace(site.way.host, environment={"TMPDIR": str(temporary)})
    with watching_for(needle(key), tmp_path, IN_MEMORY):
        outcomes = site.verify(1, "restore"), site.restore(1)
    for outcome in outcomes:
        assert outcome.status == 0, outcome.result
        assert needle(key) not in outcome.stdout + outcome.stderr
    assert list(temporary.iterdir()) == []


@by_age
def test_no_core_file_is_made_of_a_crash(site: Site) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        options = {"directory": str(site.directory), "level": "restore", "identity": site.way.key(1).secret}
        with running_module("backup_verify", options, host=site.way.host) as process:
            limits = Path(f"/proc/{process.pid}/limits")
            wait_until(lambda: re.search(r"core file size +1 ", limits.read_text(encoding="utf-8")) is not None)
            assert process.wait().status == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@by_gpg
def test_a_killed_run_leaves_no_key_and_no_agent(site: Site) -> None:
    options = {"directory": str(site.directory), "level": "restore", "identity": site.way.key(1).secret}
    with running_module("backup_verify", options, host=site.way.host) as process:
        wait_until(lambda: bool(agents()) or process.ended)
        assert not process.ended
        process.kill()
    wait_until(lambda: not agents())
    assert only(site.verify(1))["verdict"] == "passed"  # and sweeps what is left


@by_age
def test_postgresql_is_verified_and_restored(way: Way, server: Server, tmp_path: Path) -> None:
    identity = {"identity": way.key(1).secret}
    with database_on(server) as database, contextlib.ExitStack() as stack:
        options = {"directory": str(tmp_path / "backups"), **login(server)}
        place = {name: options[name] for name in ("directory", "bin_directory")}
        made = run_module("db_backup", options, databases=[database], include_globals=True, **way.for_keys(1, 2))
        assert made.status == 0, made.result
        for level in ("structure", "restore"):
            outcome = run_module("backup_verify", {**place, **identity}, level=level, host=way.host)
            assert [one["verdict"] for one in outcome.result["verified"]] == ["passed", "passed"], outcome.result
        copy = f"{database}_copy"
        stack.callback(drop, server, copy)
        more = {"source_database": database, "database": copy, "include_globals": True, **identity}
        restored = run_module("db_restore", {**options, **more}, host=way.host)
        assert restored.status == 0, restored.result
        assert server.psql("select count(*) from t", copy) == "1"


@by_age
def test_mariadb_is_verified_and_restored(way: Way, mysql_site: MysqlSite) -> None:
    identity, recipients = {"identity": way.key(1).secret}, way.for_keys(1, 2)
    assert mysql_site.back_up(host=way.host, **recipients).outcomes == ["created"]
    assert mysql_site.back_up(host=way.host, **recipients).outcomes == ["unchanged"]
    place = {"directory": str(mysql_site.directory), "level": "restore"}
    verified = only(run_module("backup_verify", {**place, **identity}, host=way.host))
    assert (verified["level"], verified["verdict"], verified["readable_by"]) == ("restore", "passed", [way.key(1).id])
    mysql_site.sql("drop table t")
    assert mysql_site.restore().error_code == "identity_missing"
    assert run_module("db_restore", mysql_site.restore_options(**identity), host=way.host).changed
    assert mysql_site.sql("select n from t") == "1"
