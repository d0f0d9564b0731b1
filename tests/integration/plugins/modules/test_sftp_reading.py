"""db_restore and backup_verify straight from a real OpenSSH server, also when the network fails in the middle."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import leftovers, manifest, payload, payloads, state_of
from ansible_collections.lastgood.database.tests.support.postgresql import CONTENT, Site, drop, dump_of, login
from ansible_collections.lastgood.database.tests.support.proxy import Failure, failing_network
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer


class Remote(NamedTuple):
    """A database whose backups are on a server, and nowhere else."""

    site: Site
    sftp: SftpServer
    there: Path

    def send(self, **options: Any) -> None:
        """Back up, and leave the backup on the server alone."""
        assert self.site.back_up(**options).changed
        where = {"directory": str(self.site.directory), "sftp": self.sftp.options(self.there)}
        assert run_module("backup_upload", **where).changed
        shutil.rmtree(self.site.directory)

    def sftp_options(self, **over: Any) -> dict[str, Any]:
        return self.sftp.options(self.there, **over)

    def restore(self, *, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
        options = {"sftp": self.sftp_options(), "database": self.site.database, "if_exists": "replace", **login(self.site.server)}
        return run_module("db_restore", check=check, diff=diff, **{**options, **over})

    def verify(self, level: str = "checksum", *, check: bool = False, **over: Any) -> Outcome:
        options = {"sftp": self.sftp_options(), "level": level, "bin_directory": str(self.site.server.bin_directory)}
        return run_module("backup_verify", check=check, **{**options, **over})

    def dump(self) -> str:
        return dump_of(self.site.server, self.site.database)

    @contextlib.contextmanager
    def failing(self, limit: int, failure: Failure = "close") -> Iterator[dict[str, Any]]:
        """Give the options by which one reaches the server, until so much has come from there."""
        with failing_network(self.sftp.port, limit, "from server", failure) as proxy:
            pinned = {"host_key_policy": "pinned", "host_key": self.sftp.host_key()}
            yield self.sftp_options(port=proxy.port, timeout="2s", **pinned)
            assert proxy.failed.is_set()


@pytest.fixture
def remote(site: Site, sftp: SftpServer, tmp_path: Path) -> Remote:
    (tmp_path / "there").mkdir()
    return Remote(site, sftp, tmp_path / "there")


def verdicts(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [(one["level"], one["verdict"], one["state"]) for one in outcome.result["verified"]]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# --- Restores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_database_comes_back_from_the_server(remote: Remote, form: str, compression: str) -> None:
    remote.site.sql(CONTENT)
    before = remote.dump()
    remote.send(format=form, compression=compression)
    remote.site.sql("drop table item cascade")
    there = state_of(remote.there)
    predicted = remote.restore(check=True, diff=True)
    assert predicted.changed and remote.dump() != before
    done = remote.restore(diff=True)
    assert done.changed and done.result["diff"] == predicted.result["diff"]
    assert done.result["restored"]["path"].startswith("sftp://")
    assert remote.dump() == before
    assert state_of(remote.there) == there


def test_the_roles_come_from_the_server_too(remote: Remote) -> None:
    server = remote.site.server
    server.psql("create role keeper")
    remote.site.sql("alter table t owner to keeper")
    remote.send(include_globals=True)
    remote.site.sql("alter table t owner to postgres")
    server.psql("drop role keeper")
    try:
        assert remote.restore().error_code == "roles_missing"
        assert remote.restore(include_globals=True).changed
        assert remote.site.sql("select tableowner from pg_tables where tablename = 't'") == "keeper"
    finally:
        drop(server, remote.site.database)
        server.psql("drop role keeper")


def test_an_sqlite_database_comes_back_from_the_server(sftp: SftpServer, tmp_path: Path) -> None:
    source, here, there = tmp_path / "app.db", tmp_path / "here", tmp_path / "there"
    there.mkdir()
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("create table t as select 7 as n")
        connection.commit()
    run_module("db_backup", directory=str(here), engine="sqlite", databases=[str(source)])
    assert run_module("backup_upload", directory=str(here), sftp=sftp.options(there)).changed
    source.unlink()
    done = run_module("db_restore", sftp=sftp.options(there), engine="sqlite", database=str(source))
    assert done.changed
    with contextlib.closing(sqlite3.connect(source)) as connection:
        assert connection.execute("select n from t").fetchall() == [(7,)]


@pytest.mark.parametrize("failure", ["close", "stall"])
def test_a_connection_that_fails_in_mid_restore_leaves_the_database_as_it_was(remote: Remote, failure: Failure) -> None:
    remote.site.grow(2)
    remote.send()
    before, there = remote.dump(), state_of(remote.there)
    with remote.failing(400_000, failure) as options:
        done = remote.restore(sftp=options)
    assert done.error_code in ("connection_lost", "connection_timeout")
    assert "127.0.0.1" in done.msg
    assert remote.dump() == before
    assert state_of(remote.there) == there
    assert remote.restore().changed


def test_a_backup_that_rotted_on_the_server_is_not_restored(remote: Remote) -> None:
    remote.send()
    before = remote.dump()
    flip_a_bit(payload(remote.there))
    done = remote.restore()
    assert done.error_code == "payload_corrupt"
    assert "sftp://" in done.msg
    assert remote.dump() == before


def test_a_directory_or_a_server_but_not_both_and_not_neither(remote: Remote, tmp_path: Path) -> None:
    for module, options in (("db_restore", {"database": "app"}), ("backup_verify", {})):
        assert run_module(module, **options).status != 0
        assert run_module(module, directory=str(tmp_path), sftp=remote.sftp_options(), **options).status != 0


# --- Verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["checksum", "structure", "restore"])
def test_a_verdict_is_written_to_the_copy_on_the_server(remote: Remote, level: str) -> None:
    remote.send()
    before = state_of(remote.there)
    assert remote.verify(level, check=True).changed
    assert state_of(remote.there) == before
    done = remote.verify(level)
    assert done.changed
    assert verdicts(done) == [(level, "passed", "good")]
    recorded = manifest(payload(remote.there))["verification"]
    assert (recorded["level"], recorded["verdict"]) == (level, "passed")
    assert leftovers(remote.there) == []
    assert not remote.verify(level).changed


def test_a_verdict_says_nothing_of_the_copy_on_the_host(remote: Remote) -> None:
    assert remote.site.back_up().changed
    where = {"directory": str(remote.site.directory), "sftp": remote.sftp_options()}
    assert run_module("backup_upload", **where).changed
    here = state_of(remote.site.directory)
    flip_a_bit(payload(remote.there))
    done = remote.verify()
    assert done.error_code == "verification_failed"
    assert verdicts(done) == [("checksum", "failed", "corrupt")]
    assert state_of(remote.site.directory) == here


def test_one_that_lost_its_manifest_is_adopted(remote: Remote) -> None:
    remote.send()
    [path] = payloads(remote.there)
    path.with_name(f"{path.name}.manifest.json").unlink()
    assert verdicts(remote.verify("structure")) == [("structure", "passed", "good")]
    assert manifest(path)["origin"] == "unknown"


@pytest.mark.parametrize("level", ["checksum", "restore"])
@pytest.mark.parametrize("failure", ["close", "stall"])
def test_a_connection_that_fails_in_mid_verify_says_nothing_of_a_backup(remote: Remote, level: str, failure: Failure) -> None:
    remote.site.grow(2)
    remote.send()
    there = state_of(remote.there)
    for check in (True, False):
        with remote.failing(400_000, failure) as options:
            done = remote.verify(level, sftp=options, check=check)
        assert done.error_code in ("connection_lost", "connection_timeout")
        assert [verdict for _level, verdict, _state in verdicts(done)] == ["inconclusive"]
        assert not done.result["changed"]
    assert state_of(remote.there) == there
    assert verdicts(remote.verify(level)) == [(level, "passed", "good")]
