"""backup_verify of dumps of MariaDB, with a server of its own in the sandbox."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Host
from ansible_collections.lastgood.database.tests.support.mysql import CONTENT, MysqlSite, database_on, login
from tools.throwaway_mysql import Server


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short path for temporary files, which is empty afterwards."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as folder:
        yield Path(folder)
        assert not list(Path(folder).iterdir())


@pytest.fixture
def host(temporary: Path) -> Host:
    return Host(environment={"TMPDIR": str(temporary)})


def verdicts(site: MysqlSite, level: str, **options: Any) -> list[tuple[str, str, str]]:
    outcome = site.verify(level, **options)
    return [(one["level"], one["verdict"], one["detail"]) for one in outcome.result["verified"]]


def test_a_backup_passes_at_each_level_and_loses_its_manifest(mariadb: Server, tmp_path: Path, host: Host) -> None:
    with database_on(mariadb, sql=CONTENT) as database:
        site = MysqlSite(mariadb, database, tmp_path / "backups")
        assert site.back_up(include_globals=True).changed
    assert [verdict for _level, verdict, _detail in verdicts(site, "checksum")] == ["passed"] * 2
    assert [verdict for _level, verdict, _detail in verdicts(site, "structure")] == ["passed"] * 2
    restored = site.verify("restore", host=host).result["verified"]
    assert [one["verdict"] for one in restored] == ["passed"] * 2, restored
    assert [(one["tables"], one["rows"]) for one in restored if one["kind"] == "database"] == [(9, 12)]
    # A backup without its manifest is recognised by how it begins.
    for manifest in site.directory.glob("*.manifest.json"):
        manifest.unlink()
    adopted = site.verify("structure").result["verified"]
    assert [(one["engine"], one["verdict"]) for one in adopted] == [("mysql", "passed")] * 2
    assert [one["verdict"] for one in site.verify("restore", host=host).result["verified"]] == ["passed"] * 2


@pytest.mark.parametrize(
    ("old", "new", "level", "verdict", "words"),
    [
        # Cut between two statements, it looks whole to the client.
        (b"\n-- Dump completed\n", b"\n", "structure", "failed", "does not end as"),
        (b"/*!40000 ALTER TABLE `t` ENABLE KEYS */;", b"USE `mysql`;", "structure", "failed", "does not stay in the database"),
        (b"/*!40000 ALTER TABLE `t` ENABLE KEYS */;", b"SET x = '", "structure", "failed", "ends within"),
        (b"INSERT INTO `t` VALUES\n(1)", b"INSERT INTO `t` VALUES\n(1, 2)", "restore", "failed", "ERROR 1136"),
        (b"ENGINE=InnoDB", b"ENGINE=Spider", "restore", "inconclusive", "ERROR 1286"),
    ],
)
def test_a_bad_backup_is_told_from_a_server_that_lacks_something(
    mysql_site: MysqlSite, host: Host, old: bytes, new: bytes, level: str, verdict: str, words: str
) -> None:
    assert mysql_site.back_up().changed
    if b"Spider" in new:
        old, new = old + b" DEFAULT", b"ENGINE=Spider DEFAULT"
        mysql_site.rewrite(b"SQL_MODE='NO_AUTO_VALUE_ON_ZERO'", b"SQL_MODE='NO_ENGINE_SUBSTITUTION'")
    mysql_site.rewrite(old, new)
    [(_level, found, detail)] = verdicts(mysql_site, level, host=host)
    assert (found, words in detail) == (verdict, True), detail
    assert "(1, 2)" not in detail  # a message has no data


def test_a_stream_that_is_cut_between_two_statements_fails(mysql_site: MysqlSite) -> None:
    assert mysql_site.back_up().changed
    [payload] = mysql_site.directory.glob("backup_*.gz")
    _begin, end = gzip.decompress(payload.read_bytes()).split(b" ENABLE KEYS */;\n")
    mysql_site.rewrite(end, b"")
    [(_level, verdict, detail)] = verdicts(mysql_site, "structure")
    assert verdict == "failed" and "does not end as" in detail


def test_a_flipped_bit_is_found_and_replaced_by_the_next_backup(mysql_site: MysqlSite) -> None:
    assert mysql_site.back_up().changed
    [payload] = mysql_site.directory.glob("backup_*.gz")
    data = bytearray(payload.read_bytes())
    data[len(data) // 2] ^= 1
    payload.write_bytes(data)
    outcome = mysql_site.verify("checksum")
    assert outcome.result["failed"]
    assert [(one["verdict"], one["state"]) for one in outcome.result["verified"]] == [("failed", "corrupt")]
    assert mysql_site.restore().error_code == "backup_missing"
    assert mysql_site.sql("select n from t") == "1"
    assert mysql_site.back_up().outcomes == ["created"]


def test_a_given_server_is_as_it_was_afterwards(mysql_site: MysqlSite, host: Host) -> None:
    server = mysql_site.server
    assert mysql_site.back_up().changed
    before = server.names()
    options = {key: value for key, value in login(server).items() if key != "engine"}
    [(_level, verdict, detail)] = verdicts(mysql_site, "restore", host=host, **options)
    assert (verdict, detail) == ("passed", "It was restored: 1 tables with 1 rows.")
    assert server.names() == before


def test_a_user_without_privileges_drills_too(mysql_site: MysqlSite, unprivileged: Host, open_folder: Path) -> None:
    assert mysql_site.back_up().changed
    copy = open_folder / "backups"
    copy.mkdir(mode=0o700)
    assert unprivileged.uid is not None
    for path in mysql_site.directory.glob("backup_*"):
        (copy / path.name).write_bytes(path.read_bytes())
    for path in (copy, *copy.iterdir()):
        os.chown(path, unprivileged.uid, unprivileged.uid)
    site = mysql_site._replace(directory=copy)
    [(_level, verdict, detail)] = verdicts(site, "restore", host=unprivileged)
    assert verdict == "passed", detail


def test_a_host_without_a_server_s_programs_can_not_tell(mysql_site: MysqlSite, tmp_path: Path) -> None:
    assert mysql_site.back_up().changed
    (tmp_path / "bin").mkdir()
    [(_level, verdict, detail)] = verdicts(mysql_site, "restore", bin_directory=str(tmp_path / "bin"))
    assert verdict == "inconclusive" and "mariadb-server" in detail
    # The directory may have the programs of another engine, whose backups are verified in the same run.
    (tmp_path / "bin" / "pg_restore").touch()
    [(_level, verdict, detail)] = verdicts(mysql_site, "restore", bin_directory=str(tmp_path / "bin"))
    assert verdict == "passed", detail
