"""backup_check on real databases, disks and servers: every problem in one run, nothing changed, and no false alarm."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import OURSELVES, Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on, drop, every_version, login
from ansible_collections.lastgood.database.tests.support.processes import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer
from tools.throwaway_postgresql import Server

ROLE = 'backup "user"'
QUOTED = '"backup ""user"""'


def check(site: Site, *, host: Host = OURSELVES, check_mode: bool = False, **over: Any) -> Outcome:
    outcome = run_module("backup_check", host=host, check=check_mode, **site.options(**over))
    assert outcome.result.get("changed") is False, outcome.stdout + outcome.stderr
    return outcome


def found(outcome: Outcome, severity: str = "error") -> list[tuple[str, str]]:
    """Return the check and the code of each problem of a severity."""
    return [(one["check"], one["code"]) for one in outcome.result["problems"] if one["severity"] == severity]


def remedies(outcome: Outcome) -> str:
    return "\n".join(one["remedy"] for one in outcome.result["problems"])


def tree(*folders: Path) -> list[tuple[str, int, int, int]]:
    """Return each file with its size, time and mode."""
    paths = sorted(path for folder in folders for path in (folder, *folder.rglob("*")))
    return [(str(path), facts.st_size, facts.st_mtime_ns, facts.st_mode) for path in paths for facts in [path.lstat()]]


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    """A role that may log in and read nothing."""
    server.psql(f"create role {QUOTED} login")
    try:
        yield ROLE
    finally:
        server.psql(f"drop role {QUOTED}")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.commit()
    return path


# --- No false alarm ---------------------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check"])
def test_a_sound_host_has_no_problem_before_and_after_its_first_backup_and_nothing_is_changed(
    site: Site, check_mode: bool
) -> None:
    over = {"databases": None, "include_globals": True, "controller_time": time.time()}
    for _number in range(2):
        before = tree(site.directory.parent)
        outcome = check(site, check_mode=check_mode, **over)
        assert outcome.status == 0, outcome.stdout
        assert found(outcome) == []
        assert [one for one in outcome.result["problems"] if one["code"] != "library_missing"] == []
        assert abs(outcome.result["clock_offset_seconds"]) < 60
        assert outcome.result["server_version"].partition(".")[0] == str(site.server.major)
        assert [name.partition(" ")[0] for name in outcome.result["programs"]] == ["pg_dump", "pg_restore", "pg_dumpall"]
        assert tree(site.directory.parent) == before
        assert site.back_up().changed
        site.grow(1)
    assert outcome.result["newest_bytes"] > 0


def test_an_sqlite_database_with_a_log_is_not_even_opened(tmp_path: Path, notes: Path) -> None:
    with contextlib.closing(sqlite3.connect(notes)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT INTO note VALUES ('in the log')")
        connection.commit()
        before = tree(tmp_path)
        outcome = run_module("backup_check", directory=str(tmp_path / "backups"), engine="sqlite", databases=[str(notes)])
        assert (outcome.status, found(outcome)) == (0, []), outcome.stdout
        assert tree(tmp_path) == before


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@every_version
def test_what_the_user_may_not_read_is_found_and_the_grants_help(site: Site, role: str) -> None:
    site.sql(
        'create schema hidden; create table hidden."odd "" name" (n int); create sequence hidden.counter;'
        f"create table policed (n int); alter table policed enable row level security; grant select on policed to {QUOTED};"
        "select lo_create(4711)"
    )
    try:
        outcome = check(site, login_user=role)
        assert outcome.error_code == "grant_missing"
        assert found(outcome) == [("grants", "grant_missing")] * 3
        assert '"odd "" name"' in str([one["problem"] for one in outcome.result["problems"]])
        assert {one["database"] for one in outcome.result["problems"] if one["severity"] == "error"} == {site.database}
        assert site.back_up(login_user=role).status != 0
        for problem in outcome.result["problems"]:
            if problem["code"] == "grant_missing":
                paste(site, problem["remedy"].partition(": ")[2])
        after = check(site, login_user=role)
        assert (after.status, found(after)) == (0, []), after.stdout
        assert site.back_up(login_user=role).changed
    finally:
        site.sql(f"drop owned by {QUOTED}")


def paste(site: Site, sql: str) -> None:
    """Execute what a remedy says, as psql would with it pasted."""
    query, gexec, _rest = sql.partition(" \\gexec")
    for statement in site.sql(query).splitlines() if gexec else [sql]:
        site.sql(statement)


def test_a_database_without_what_cannot_be_read_is_no_error_where_arguments_leave_it_out(site: Site, role: str) -> None:
    site.sql("create table secret (n int)")
    site.sql(f"grant select on t to {QUOTED}")
    try:
        outcome = check(site, login_user=role, extra_args=["--exclude-table=secret"])
        assert (outcome.status, found(outcome), found(outcome, "warning")[:1]) == (0, [], [("grants", "grant_missing")])
    finally:
        site.sql(f"drop owned by {QUOTED}")


def test_passwords_that_cannot_be_read_are_a_warning_with_the_grant(site: Site, role: str) -> None:
    outcome = check(site, login_user=role, include_globals=True)
    assert ("grants", "grant_missing") in found(outcome, "warning")
    assert f"GRANT SELECT ON pg_catalog.pg_authid TO {QUOTED};" in remedies(outcome)


def test_every_database_with_a_problem_is_listed(site: Site) -> None:
    with database_on(site.server, sql="select 1") as closed:
        site.server.psql(f"alter database {closed} allow_connections false")
        outcome = check(site, databases=[closed, "no_such", site.database])
    assert found(outcome) == [("databases", "database_closed"), ("databases", "database_missing")]
    assert [one["database"] for one in outcome.result["problems"][:2]] == [closed, "no_such"]
    assert "2 problems" in outcome.msg


def test_missing_programs_are_found_with_the_package_even_if_the_server_is_down(site: Site, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    outcome = check(site, bin_directory=str(empty))
    assert found(outcome) == [("programs", "program_missing")]
    assert f"postgresql-client-{site.server.major}" in remedies(outcome)
    down = check(site, bin_directory=str(empty), login_unix_socket=str(tmp_path))
    assert found(down) == [("connection", "connection_failed"), ("programs", "program_missing")]
    assert down.result["server_version"] is None


def test_a_host_without_psycopg2_hears_of_that_and_of_everything_else(site: Site, tmp_path: Path) -> None:
    """A directory with a module that can't be imported hides the real one."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "psycopg2.py").write_text("raise ImportError('no such library here')")
    site.directory.mkdir(mode=0o777)
    site.directory.chmod(0o777)
    host = Host(search_path=(hidden, *OURSELVES.search_path))
    outcome = check(site, host=host, controller_time=time.time() - 7200)
    assert found(outcome) == [("connection", "library_missing"), ("directory", "directory_exposed"), ("clock", "clock_wrong")]
    assert "python3-psycopg2" in remedies(outcome)
    assert 7100 < outcome.result["clock_offset_seconds"] < 7300


# --- Where the backups go -------------------------------------------------------------------------------------------


@only_root
def test_a_directory_that_is_not_there_has_to_be_one_that_the_user_can_make(
    unprivileged: Host, open_folder: Path, notes: Path
) -> None:
    mine = open_folder / "notes.db"
    mine.write_bytes(notes.read_bytes())
    os.chown(mine, UNPRIVILEGED, UNPRIVILEGED)
    options = {"engine": "sqlite", "databases": [str(mine)]}
    fine = run_module("backup_check", host=unprivileged, directory=str(open_folder / "new" / "deeper"), **options)
    assert fine.status == 0, fine.stdout
    roots = run_module("backup_check", host=unprivileged, directory="/usr/new/deeper", **options)
    assert found(roots) == [("directory", "directory_not_writable")]
    assert not (open_folder / "new").exists()


@only_root
def test_backups_that_are_another_users_are_found(unprivileged: Host, open_folder: Path, notes: Path) -> None:
    mine = open_folder / "notes.db"
    mine.write_bytes(notes.read_bytes())
    os.chown(mine, UNPRIVILEGED, UNPRIVILEGED)
    directory = open_folder / "backups"
    directory.mkdir(0o700)
    os.chown(directory, UNPRIVILEGED, UNPRIVILEGED)
    options = {"engine": "sqlite", "databases": [str(mine)], "directory": str(directory)}
    assert run_module("db_backup", **options).changed  # as root, by mistake
    for path in directory.iterdir():
        os.chown(path, 0, 0)
    outcome = run_module("backup_check", host=unprivileged, **options)
    assert ("files", "store_failed") in found(outcome)
    assert "and 1 more files" in outcome.msg


@pytest.mark.parametrize(("mode", "severity"), [(0o777, "error"), (0o770, "warning"), (0o755, "warning"), (0o700, None)])
def test_a_directory_that_others_may_enter_is_a_warning_and_one_that_all_may_write_to_an_error(
    tmp_path: Path, notes: Path, mode: int, severity: str | None
) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    directory.chmod(mode)
    outcome = run_module("backup_check", directory=str(directory), engine="sqlite", databases=[str(notes)])
    assert [one["severity"] for one in outcome.result["problems"] if one["code"] == "directory_exposed"] == (
        [severity] if severity else []
    )
    assert (outcome.status != 0) == (severity == "error")


def test_a_link_is_reported_once(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    outcome = run_module("backup_check", directory=str(tmp_path / "link"), engine="sqlite", databases=[str(notes)])
    assert found(outcome) == [("directory", "directory_unusable")]


def test_a_disk_too_small_for_the_next_backups_is_found(site: Site, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=4m")
    site = site._replace(directory=disk)
    site.grow(1)
    assert site.back_up(compression="none").changed
    assert found(check(site)) == []
    space = os.statvfs(disk)
    size = check(site).result["newest_bytes"]
    (disk / "filler").write_bytes(bytes(space.f_bavail * space.f_frsize - size // 2))
    assert found(check(site)) == [("space", "no_space")]
    down = check(site, login_unix_socket=str(disk), origin=None)
    assert found(down) == [("connection", "connection_failed"), ("space", "no_space")]


def test_files_that_are_no_databases_are_found_each(tmp_path: Path, notes: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("this is no database\n")
    paths = [str(path) for path in (notes, text, tmp_path / "missing.db")]
    outcome = run_module("backup_check", directory=str(tmp_path / "backups"), engine="sqlite", databases=paths)
    assert found(outcome) == [("databases", "database_missing"), ("databases", "source_invalid")]


# --- The SFTP server ------------------------------------------------------------------------------------------------


def test_a_server_is_tried_and_left_as_it_was(tmp_path: Path, sftp: SftpServer, notes: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    options = {"engine": "sqlite", "databases": [str(notes)], "directory": str(here)}
    known = tmp_path / "known"
    for exists in (False, True):
        for check_mode in (False, True):
            server = sftp.options(there / "db7", create_directory=True, known_hosts_file=str(known), host_key_policy="accept_new")
            outcome = run_module("backup_check", check=check_mode, sftp=server, **options)
            assert (outcome.status, found(outcome)) == (0, []), outcome.stdout
            assert outcome.result["free_bytes_elsewhere"] > 0
            assert there.exists() == exists
            assert not exists or list((there / "db7").iterdir()) == []
            assert not known.exists()
        (there / "db7").mkdir(parents=True, exist_ok=True)


@only_root
def test_a_server_that_cannot_be_reached_or_written_to_is_found_beside_the_rest(
    tmp_path: Path, sftp: SftpServer, notes: Path
) -> None:
    options = {"engine": "sqlite", "databases": [str(notes), "/no/such.db"], "directory": str(tmp_path / "here")}
    unreachable = run_module("backup_check", sftp=sftp.options(tmp_path / "there", port=1), **options)
    assert found(unreachable) == [("databases", "database_missing"), ("upload", "connection_refused")]
    missing = run_module("backup_check", sftp=sftp.options(tmp_path / "there"), **options)
    assert found(missing) == [("databases", "database_missing"), ("upload", "directory_missing")]
    proc = run_module("backup_check", sftp=sftp.options("/proc/new/db7", create_directory=True), **options)
    assert found(proc)[1][0] == "upload"


# --- Options --------------------------------------------------------------------------------------------------------


def test_a_clock_is_compared_only_with_one_that_is_given(tmp_path: Path, notes: Path) -> None:
    options = {"engine": "sqlite", "databases": [str(notes)], "directory": str(tmp_path / "here")}
    assert run_module("backup_check", **options).result["clock_offset_seconds"] is None
    ahead = run_module("backup_check", controller_time=time.time() + 600, **options)
    assert found(ahead) == [("clock", "clock_wrong")]
    assert "behind the controller's" in ahead.msg
    tolerant = run_module("backup_check", controller_time=time.time() + 600, clock_tolerance="1h", **options)
    assert tolerant.status == 0
    assert run_module("backup_check", controller_time=1e300, **options).error_code == "argument_invalid"


def test_the_password_stays_secret(guarded: Server, tmp_path: Path) -> None:
    wrong = "hunter2-and-more"
    options = login(guarded, login_unix_socket=None, login_host="127.0.0.1", login_password=wrong)
    outcome = run_module("backup_check", directory=str(tmp_path / "here"), **options)
    assert found(outcome) == [("connection", "authentication_failed")]
    assert "hunter2" not in outcome.stdout + outcome.stderr


def test_an_unfit_argument_is_a_problem_beside_others(site: Site) -> None:
    drop(site.server, "no_such")
    outcome = check(site, extra_args=["--schema-only"], databases=["no_such"])
    assert found(outcome) == [("options", "argument_invalid"), ("databases", "database_missing")]
