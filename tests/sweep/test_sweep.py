"""Whatever goes wrong in an operation: the last good backup survives, and what is said is so.

SWEEP=all tries every fault, which takes hours, SWEEP=200 so many of each operation's, evenly spread; without it there are a few.
What is found is printed at once.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import copy_name, manifest_name, partial_name
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, login
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server, sshd
from tests.sweep.sweep import Laboratory, Outcome, Scenario, laboratory, payloads, recorded, sweep
from tools.throwaway_postgresql import Server, installation

SWEEP = os.environ.get("SWEEP", "12")
SHARE = None if SWEEP == "all" else int(SWEEP)
DATABASE = "app"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with laboratory(tmp_path_factory.mktemp("shim")) as running:
        yield running


def assert_clean(lab: Laboratory, scenario: Scenario, share: int | None = SHARE) -> None:
    figures = sweep(lab, scenario, share=share)
    print(figures)
    assert not figures.violations, "\n".join(figures.violations)


# --- SQLite ----------------------------------------------------------------------------------------


def fill(path: Path, rows: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table if not exists t (n integer primary key, body text)")
        database.executemany("insert or replace into t values (?, ?)", [(n, "x" * 100) for n in range(rows)])
        database.commit()


def rows(path: Path) -> int | None:
    """How many rows a database has, None where it is none."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("select count(*) from t").fetchone()[0])
    except sqlite3.Error:
        return None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three backups of an SQLite database, which has changed since."""
    folder = tmp_path / "place"
    folder.mkdir()
    for count in (10, 20, 30):
        fill(folder / "app.db", count)
        assert run_module("db_backup", **dumping(folder)).changed
    fill(folder / "app.db", 40)
    return folder


def dumping(folder: Path) -> dict[str, object]:
    return {
        "engine": "sqlite",
        "directory": str(folder / "backups"),
        "databases": [str(folder / "app.db")],
        "origin": "db1",
    }


def test_a_dump_of_sqlite(lab: Laboratory, folder: Path) -> None:
    assert_clean(lab, Scenario("dump, sqlite", folder, "db_backup", dumping(folder)))


def test_a_dump_of_sqlite_that_finds_no_change(lab: Laboratory, folder: Path) -> None:
    run_module("db_backup", **dumping(folder))
    assert_clean(lab, Scenario("dump of the same, sqlite", folder, "db_backup", dumping(folder)))


def test_a_dump_of_sqlite_after_a_run_that_was_killed(lab: Laboratory, folder: Path) -> None:
    dead = "backup_app.db_2026-01-01_01-00-00.dump.gz"
    for name in (partial_name(dead), copy_name(dead), manifest_name(dead), partial_name(manifest_name(dead))):
        (folder / "backups" / name).write_bytes(b"{}")
    assert_clean(lab, Scenario("dump after a dead run, sqlite", folder, "db_backup", dumping(folder)))


def test_a_prune(lab: Laboratory, folder: Path) -> None:
    oldest = frozenset(sorted(payloads(folder / "backups"))[:-1])
    options = {"directory": str(folder / "backups"), "keep_last": 1}
    assert_clean(lab, Scenario("prune", folder, "backup_prune", options, may_delete=oldest))


def test_an_archive(lab: Laboratory, folder: Path) -> None:
    options = {"directory": str(folder / "backups"), "dest": str(folder / "all.zip")}
    assert_clean(lab, Scenario("archive", folder, "backup_archive", options))


def test_an_archive_that_replaces_an_older_one(lab: Laboratory, folder: Path) -> None:
    archive = folder / "all.zip"
    options = {"directory": str(folder / "backups"), "dest": str(archive)}
    assert run_module("backup_archive", **options).changed
    older = archive.read_bytes()
    assert run_module("db_backup", **dumping(folder)).changed

    def leaves(outcome: Outcome) -> list[str]:
        is_new = archive.read_bytes() != older
        wrong = whole_archive(archive, folder / "backups") if is_new else []
        if not outcome.killed and bool(outcome.result.get("changed")) != is_new:
            wrong.append(f"changed is {outcome.result.get('changed')} with {'a new' if is_new else 'the older'} archive")
        return wrong

    assert_clean(lab, Scenario("archive that replaces", folder, "backup_archive", options, leaves=leaves))


def whole_archive(archive: Path, backups: Path) -> list[str]:
    """What is wrong with an archive of all backups of a folder."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {name: opened.read(name) for name in opened.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        return [f"{archive.name} is no archive: {error}"]
    return [
        f"{name} is not in {archive.name}" for name in payloads(backups) if members.get(name) != (backups / name).read_bytes()
    ]


@pytest.mark.parametrize("level", ["checksum", "structure"])
def test_a_verify_of_sqlite(lab: Laboratory, folder: Path, level: str) -> None:
    options = {"directory": str(folder / "backups"), "level": level}
    assert_clean(lab, Scenario(f"verify {level}, sqlite", folder, "backup_verify", options))


def test_facts(lab: Laboratory, folder: Path) -> None:
    options = {"directory": str(folder / "backups"), "checksum": True}
    assert_clean(lab, Scenario("facts", folder, "backup_facts", options))


def may_be_older(outcome: Outcome) -> bool:
    """Whether a restore says that it passed over the newest backup, whose manifest it could not read."""
    return any("manifest can't be read" in str(warning) for warning in outcome.result.get("warnings", ()))


def test_a_restore_of_sqlite(lab: Laboratory, folder: Path) -> None:
    path = folder / "app.db"

    def leaves(outcome: Outcome) -> list[str]:
        found = rows(path)
        wrong = [] if found in (30, 40) or (found == 20 and may_be_older(outcome)) else [f"the database has {found} rows"]
        if not outcome.killed and bool(outcome.result.get("changed")) != (found != 40):
            wrong.append(f"changed is {outcome.result.get('changed')} with {found} rows; {outcome.stdout[-300:]}")
        return wrong

    assert_clean(lab, Scenario("restore, sqlite", folder, "db_restore", restoring(path), leaves=leaves))


def restoring(path: Path) -> dict[str, object]:
    return {
        "engine": "sqlite",
        "directory": str(path.parent / "backups"),
        "database": str(path),
        "source_database": "app.db",
        "if_exists": "replace",
    }


def test_a_restore_of_sqlite_that_keeps_the_old_database(lab: Laboratory, folder: Path) -> None:
    path = folder / "app.db"

    def leaves(outcome: Outcome) -> list[str]:
        found = rows(path)
        # A second name of the database that is still in place is harmless, and the next restore removes it.
        kept = {str(one) for one in folder.glob("app.db_replaced_*") if found != 40 or not one.samefile(path)}
        wrong = [f"{one} has {rows(Path(one))} rows" for one in kept if rows(Path(one)) != 40]
        is_restored = found == 30 or (found == 20 and may_be_older(outcome))
        if not (is_restored or found == 40) or len(kept) != is_restored:
            wrong.append(f"the database has {found} rows, and kept is {kept}")
        if not outcome.killed and ({outcome.result.get("previous")} - {None}) != kept:
            wrong.append(f"previous is {outcome.result.get('previous')}, and kept is {kept}")
        return wrong

    options = {**restoring(path), "keep_old": True}
    assert_clean(lab, Scenario("restore that keeps, sqlite", folder, "db_restore", options, leaves=leaves))


# --- SFTP ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sftp() -> Iterator[SftpServer]:
    if sshd() is None:
        pytest.skip("no OpenSSH server on this machine")
    with sftp_server() as running:
        yield running


def test_an_upload(lab: Laboratory, sftp: SftpServer, folder: Path) -> None:
    here, there = folder / "backups", folder / "there"
    there.mkdir()
    options = {"directory": str(here), "sftp": sftp.options(there)}
    oldest = min(payloads(here))
    assert run_module("backup_upload", **options, names=[oldest]).changed

    def leaves(outcome: Outcome) -> list[str]:
        arrived, sent = payloads(there), payloads(here)
        wrong = [
            f"{name} is no good backup there" for name in arrived if not arrived[name] == sent[name] == recorded(there, name)
        ]
        if oldest not in arrived:
            wrong.append(f"{oldest} was deleted there")
        uploaded, new = set(outcome.result.get("uploaded", ())), arrived.keys() - {oldest}
        failed = outcome.result.get("failed_uploads", ())
        unknown = {one["filename"] for one in failed if one["error"]["code"] == "connection_lost"}
        if not outcome.killed and not uploaded <= new <= uploaded | unknown:
            wrong.append(f"uploaded is {sorted(uploaded)}, and new is {sorted(new)}; {outcome.code}")
        return wrong

    # A prune of the server removes the partial of a manifest.
    scenario = Scenario("upload", folder, "backup_upload", options, leaves=leaves, may_leave="there/.*.manifest.json.*.partial")
    assert_clean(lab, scenario)


# --- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if not VERSIONS:
        pytest.skip("no PostgreSQL server on this machine")
    with Server.start(installation(VERSIONS[-1])) as running:
        running.create_database(DATABASE)
        running.psql("create table t as select n from generate_series(1, 10) n", DATABASE)
        yield running


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Path:
    """Two backups of a PostgreSQL database, which has changed since."""
    folder = tmp_path / "place"
    folder.mkdir()
    for _number in range(2):
        server.psql("insert into t values (0)", DATABASE)
        assert run_module("db_backup", **backing_up(server, folder)).changed
    server.psql("insert into t values (0)", DATABASE)
    return folder


def backing_up(server: Server, folder: Path) -> dict[str, object]:
    return {"directory": str(folder / "backups"), "databases": [DATABASE], "origin": "db1", **login(server)}


def databases(server: Server) -> set[str]:
    return set(server.psql("select datname from pg_database").split())


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_of_postgresql(lab: Laboratory, server: Server, site: Path, form: str) -> None:
    options = {**backing_up(server, site), "format": form, "include_globals": True}
    assert_clean(lab, Scenario(f"dump {form}, postgresql", site, "db_backup", options))


def test_a_restore_of_postgresql(lab: Laboratory, server: Server, site: Path) -> None:
    def count() -> int:
        return int(server.psql("select count(*) from t", DATABASE))

    backed_up = count() - 1

    def reset() -> None:
        if count() == backed_up:
            server.psql("insert into t values (0)", DATABASE)

    def leaves(outcome: Outcome) -> list[str]:
        found = count()
        wrong = [] if found in (backed_up, backed_up + 1) else [f"the database has {found} rows"]
        if not outcome.killed:
            if bool(outcome.result.get("changed")) != (found == backed_up):
                wrong.append(f"changed is {outcome.result.get('changed')} with {found} rows; {outcome.stdout[-300:]}")
            # Where no call works any more, the database can't be dropped: the next restore does that.
            may_stay = outcome.code == "store_failed"
            wrong += [f"the database {name} is left" for name in databases(server) - there if name in left or not may_stay]
        left.clear()
        left.update(databases(server) - there)
        return wrong

    there, left = databases(server), set[str]()
    options = {
        "directory": str(site / "backups"),
        "database": DATABASE,
        "if_exists": "replace",
        "terminate_sessions": True,
        **login(server),
    }
    scenario = Scenario("restore, postgresql", site, "db_restore", options, reset=reset, leaves=leaves)
    assert_clean(lab, scenario)
    assert databases(server) == there


def test_a_verify_of_postgresql(lab: Laboratory, server: Server, site: Path) -> None:
    options = {"directory": str(site / "backups"), "level": "structure", "bin_directory": login(server)["bin_directory"]}
    assert_clean(lab, Scenario("verify structure, postgresql", site, "backup_verify", options))


def test_a_drill_of_postgresql(lab: Laboratory, server: Server, site: Path) -> None:
    options = {
        "directory": str(site / "backups"),
        "newest": 1,
        "level": "restore",
        "bin_directory": login(server)["bin_directory"],
    }
    # Each run starts a server, and so does the next: there are fewer.
    share = SHARE and max(1, SHARE // 4)
    assert_clean(lab, Scenario("drill, postgresql", site, "backup_verify", options), share)
