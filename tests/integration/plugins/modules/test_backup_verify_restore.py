"""backup_verify with level=restore: on a server of its own that is gone afterwards, and on a given one."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.everything import everything, roles_on
from ansible_collections.lastgood.database.tests.support.impostor import HOLD, Impostor
from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import Host, ModuleProcess, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import (
    manifest,
    payload,
    rewrite_manifest,
    runs,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.places import AS_ROOT, common_disk, only_root
from ansible_collections.lastgood.database.tests.support.postgresql import (
    CONTENT,
    Site,
    database_on,
    drop,
    every_version,
    facts_of,
    login,
)
from tools.throwaway_postgresql import Server

# A table that takes rows as it is made, and none when it is restored.
BREAKS_WHEN_RESTORED = """
create function fits(n int) returns boolean language plpgsql as $$
begin
    if current_database() ~ '_restoring_' then raise exception 'out of luck'; end if;
    return true;
end $$;
create table luck (n int check (fits(n))); insert into luck select generate_series(1, 1000);
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where drills put their servers: the path of a socket in it is not too long. In the end nothing is left there."""
    folder = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    folder.chmod(0o1777)
    try:
        yield folder
        assert not list(folder.iterdir())
    finally:
        for path in folder.iterdir():
            path.unlink() if path.is_symlink() else path.rmdir()
        folder.rmdir()


@pytest.fixture
def host(temporary: Path) -> Host:
    return Host(environment={"TMPDIR": str(temporary)})


def options_for(site: Site, **over: Any) -> dict[str, Any]:
    return {"directory": str(site.directory), "level": "restore", "bin_directory": str(site.server.bin_directory), **over}


def drill(site: Site, host: Host, *, check: bool = False, **over: Any) -> Outcome:
    """Restore on a server of the module's own."""
    return run_module("backup_verify", host=host, check=check, **options_for(site, **over))


def verdicts(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [(one["level"], one["verdict"], one["state"]) for one in outcome.result["verified"]]


def counts(outcome: Outcome) -> list[tuple[int | None, int | None]]:
    return [(one["tables"], one["rows"]) for one in outcome.result["verified"]]


def states(site: Site) -> list[str]:
    return [one["state"] for one in facts_of(site.directory)["files"]]


def databases(server: Server) -> set[str]:
    return set(server.psql("select datname from pg_database").split())


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Make another backup of a plain one that is not compressed, with a manifest that is true of it."""
    data = change(path.read_bytes())
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    content = re.sub(rb"^\\(un)?restrict .*\n", b"", data, flags=re.MULTILINE)
    rewrite_manifest(
        path,
        payload_bytes=len(data),
        payload_sha256=digest,
        content_bytes=None,
        content_sha256=None if content != data else digest,
        content_blake3=None,
    )


@contextlib.contextmanager
def held(site: Site, host: Host, folder: Path, **over: Any) -> Iterator[tuple[ModuleProcess, Impostor, Path]]:
    """A drill that has made its database, and waits to fill it; and the folder of its server."""
    script = f'if not any(one.startswith("--dbname") for one in arguments):\n    go_on()\n{HOLD}'
    impostor = Impostor(folder, site.server.bin_directory, script, program="pg_restore")
    for path in (impostor.bin_directory, impostor.notes, folder):
        path.chmod(0o755)
    options = options_for(site, bin_directory=str(impostor.bin_directory), **over)
    with running_module("backup_verify", host=host, **options) as process:
        impostor.wait_for("started", unless=lambda: process.ended)
        [server] = [path for path in Path(host.environment["TMPDIR"]).iterdir() if path.name.startswith("lastgood-drill-")]
        yield process, impostor, server
        impostor.say("go")


def postmaster(process: ModuleProcess) -> int:
    """The process of the server that a module has started."""
    family = {process.pid}
    found = []
    for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):
            if int((path / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) in family:
                family.add(int(path.name))
                found += [int(path.name)] if os.readlink(path / "exe").endswith("/postgres") else []
    return found[0]


# --- On a server of its own ------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zstd"}, {"format": "plain"}, {"format": "plain", "compression": "none"}],
    ids=["custom", "custom-zstd", "plain", "plain-none"],
)
def test_a_backup_passes_with_the_tables_and_rows_that_came_back(site: Site, host: Host, options: dict[str, Any]) -> None:
    site.sql(CONTENT)
    site.back_up(**options)
    before = state_of(site.directory)
    predicted = drill(site, host, check=True)
    assert predicted.changed
    assert state_of(site.directory) == before

    done = drill(site, host)
    assert done.changed
    assert verdicts(done) == [("restore", "passed", "good")]
    assert counts(done) == counts(predicted) == [(3, 203)]
    recorded = manifest(payload(site.directory))["verification"]
    assert (recorded["level"], recorded["verdict"]) == ("restore", "passed")
    assert "3 tables with 203 rows" in recorded["detail"]
    assert not drill(site, host).changed


@every_version
def test_everything_that_a_database_can_hold_is_restored_without_the_roles_of_its_server(
    server: Server, site: Site, host: Host
) -> None:
    with roles_on(server), database_on(server, sql=everything(server)) as database:
        site.back_up(databases=[database])
    done = drill(site, host)
    assert verdicts(done) == [("restore", "passed", "good")]
    assert counts(done)[0][0]


def test_globals_pass_and_many_backups_share_one_server(site: Site, host: Host) -> None:
    site.back_up(include_globals=True)
    with database_on(site.server) as another:
        site.back_up(databases=[another])
    done = drill(site, host)
    assert verdicts(done) == [("restore", "passed", "good")] * 3
    assert sorted(counts(done), key=str) == [(1, 1), (1, 1), (None, None)]


def test_names_are_data(server: Server, site: Site, host: Host) -> None:
    names = ['it\'s "quoted" \\ $(x) %41', "dbname=x host=y", "-rf", "x" * 63, "\u4e16\u754c"]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(database_on(server, name))
        site.back_up(databases=names)
    done = drill(site, host)
    assert verdicts(done) == [("restore", "passed", "good")] * len(names)


def test_a_stranger_is_none_the_worse(site: Site, unprivileged: Host, temporary: Path, open_folder: Path) -> None:
    site.back_up(directory=str(open_folder / "backups"))
    for path in (open_folder / "backups").rglob("*"):
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    os.chown(open_folder / "backups", UNPRIVILEGED, UNPRIVILEGED)
    host = Host(
        unprivileged.python, unprivileged.search_path, {**unprivileged.environment, "TMPDIR": str(temporary)}, unprivileged.uid
    )
    done = drill(site, host, directory=str(open_folder / "backups"))
    assert verdicts(done) == [("restore", "passed", "good")]


def test_an_sqlite_backup_passes_with_its_rows(tmp_path: Path, host: Host) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "app.db")) as source:
        source.executescript(
            'create table "it""s" (n); create table empty (n); create virtual table words using fts5(text); create view v as'
            ' select 1; insert into "it""s" values (1), (2); insert into words values (\'one\');'
        )
    run_module("db_backup", directory=str(tmp_path / "backups"), engine="sqlite", databases=[str(tmp_path / "app.db")])
    done = run_module("backup_verify", host=host, directory=str(tmp_path / "backups"), level="restore")
    assert verdicts(done) == [("restore", "passed", "good")]
    [(tables, rows)] = counts(done)
    assert tables and rows and tables >= 2 and rows >= 2


# --- What is wrong with a backup, and what is wrong with the host ----------------------------------


@every_version
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_backup_that_breaks_when_it_is_restored_is_suspect_and_a_look_at_its_structure_does_not_clear_it(
    site: Site, host: Host, form: str
) -> None:
    site.sql(BREAKS_WHEN_RESTORED)
    site.back_up(format=form)
    done = drill(site, host)
    assert done.error_code == "verification_failed"
    assert "out of luck" in done.msg
    assert verdicts(done) == [("restore", "failed", "suspect")]
    drill(site, host, level="structure")
    assert states(site) == ["suspect"]


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize(
    "name", ["lost_items", "connection was lost", 'role "x" does not exist', "too many clients", "out of memory"]
)
def test_a_table_s_name_is_not_taken_for_what_the_server_lacks(site: Site, host: Host, form: str, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    site.sql(
        "create function is_fine(n int) returns boolean language sql as 'select true';"
        f"create table {quoted} (n int check (is_fine(n))); insert into {quoted} values (1);"
        "create or replace function is_fine(n int) returns boolean language sql as 'select false'"
    )
    site.back_up(format=form)
    done = drill(site, host)
    assert "violates check constraint" in done.msg
    assert verdicts(done) == [("restore", "failed", "suspect")]


def test_a_backup_with_a_flipped_bit_is_corrupt(site: Site, host: Host) -> None:
    site.back_up()
    path = payload(site.directory)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verdicts(drill(site, host)) == [("checksum", "failed", "corrupt")]


@pytest.mark.parametrize(
    ("form", "program", "trouble"),
    [
        ("custom", "pg_restore", "ulimit -v 12000"),
        ("custom", "pg_restore", "ulimit -n 4"),
        ("custom", "pg_restore", "kill -KILL $$"),
        ("custom", "pg_restore", "echo 'pg_restore: error: Cannot allocate memory' >&2; exit 1"),
        ("plain", "psql", "exec /nonexistent"),
        ("plain", "psql", "kill -KILL $$"),
        ("plain", "psql", "echo 'psql: error: no luck today' >&2; exit 1"),
    ],
)
def test_trouble_that_a_program_has_with_the_host_says_nothing_of_a_backup(
    site: Site, host: Host, open_folder: Path, form: str, program: str, trouble: str
) -> None:
    site.sql("create table large as select repeat('x', 30 * 1024 * 1024)")
    site.back_up(format=form)
    for path in site.server.bin_directory.iterdir():
        (open_folder / path.name).symlink_to(path)
    (open_folder / program).unlink()
    script = f'#!/bin/sh\n[ "$1" = --version ] || {{ {trouble}; }}\nexec {site.server.bin_directory / program} "$@"\n'
    (open_folder / program).write_text(script, encoding="utf-8")
    (open_folder / program).chmod(0o755)
    done = drill(site, host, bin_directory=str(open_folder))
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert states(site) == ["good"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE EXTENSION nosuch;", "nosuch"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS '$libdir/nosuch', 'f';", "nosuch"),
        ("CREATE TABLE far (n int) TABLESPACE nosuch;", "nosuch"),
    ],
    ids=["extension", "library", "tablespace"],
)
def test_what_the_server_lacks_says_nothing_of_a_backup(site: Site, host: Host, statement: str, words: str) -> None:
    site.back_up(format="plain", compression="none")
    edit(payload(site.directory), lambda data: data.replace(b"\nSET ", f"\n{statement}\nSET ".encode(), 1))
    done = drill(site, host)
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert words in done.result["verified"][0]["detail"]
    assert any(words in one for one in done.warnings)
    assert states(site) == ["good"]


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_function_that_needs_a_search_path_is_named(site: Site, host: Host, form: str) -> None:
    site.sql(
        """
        create table allowed as select 1 as n;
        create function is_allowed(m int) returns boolean language plpgsql as
            $$ begin return exists (select from allowed where n = m); end $$;
        create table checked (n int check (is_allowed(n))); insert into checked values (1);
        """
    )
    site.back_up(format=form)
    done = drill(site, host)
    assert verdicts(done) == [("restore", "failed", "suspect")]
    assert "is_allowed" in done.msg and "search_path" in done.msg and "ALTER FUNCTION" in done.msg


@only_root
def test_a_tablespace_that_the_server_lacks_says_nothing_of_an_archive(site: Site, host: Host, open_folder: Path) -> None:
    site.server.psql(f"create tablespace far location '{open_folder}'")
    try:
        site.sql("create table far_away (n int) tablespace far")
        site.back_up()
        done = drill(site, host)
        site.sql("drop table far_away")
    finally:
        site.server.psql("drop tablespace far")
    assert verdicts(done) == [("restore", "inconclusive", "good")], done.msg
    assert "SQLSTATE" in done.result["verified"][0]["detail"]


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
def test_globals_that_no_server_accepts_fail(site: Site, host: Host, beside: bool) -> None:
    site.server.psql("create role shop_owner")
    try:
        site.sql("alter table t owner to shop_owner")
        site.back_up(include_globals=True)
        done = drill(site, host)
        whole = [one for one in done.result["verified"] if one["kind"] == "globals"]
        site.sql("alter table t owner to postgres")
    finally:
        site.server.psql("drop role shop_owner")
    assert [one["verdict"] for one in whole] == ["passed"]
    assert re.search(r"[1-9]\d* roles", whole[0]["detail"])
    [path] = site.directory.glob("backup_@globals_*.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"ROLE shop_owner WITH", b"ROLE shop_owner WIHT")))
    Path(f"{path}.manifest.json").unlink()
    done = drill(site, host, **({} if beside else {"databases": ["@globals"]}))
    assert [one["verdict"] for one in done.result["verified"] if one["kind"] == "globals"] == ["failed"]


def test_a_host_without_a_server_s_programs_can_not_tell(site: Site, host: Host, tmp_path: Path) -> None:
    site.back_up()
    (tmp_path / "bin").mkdir()
    for name in ("pg_restore", "psql", "pg_dump"):
        (tmp_path / "bin" / name).symlink_to(site.server.bin_directory / name)
    done = drill(site, host, bin_directory=str(tmp_path / "bin"))
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert "postgres" in done.result["verified"][0]["detail"]


def test_a_host_without_a_directory_for_temporary_files_can_not_tell(site: Site) -> None:
    site.back_up()
    done = drill(site, Host(largest_file=0))
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert "TMPDIR" in done.warnings[0]


def test_a_version_in_a_manifest_may_be_anything(site: Site, host: Host) -> None:
    site.back_up()
    rewrite_manifest(payload(site.directory), server_version="9" * 5000, tool="pg_dump " + "9" * 5000)
    assert verdicts(drill(site, host)) == [("restore", "passed", "good")]


@only_root
def test_a_full_disk_says_nothing_of_a_backup(site: Site) -> None:
    site.grow(60)
    site.back_up()
    with common_disk("150m") as disk:
        done = drill(site, Host(environment={"TMPDIR": str(disk)}))
        assert not list(disk.iterdir())
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert "No space left" in done.result["verified"][0]["detail"]


# --- What ends in the middle -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drill_that_is_told_to_stop_leaves_nothing(site: Site, host: Host, open_folder: Path, number: signal.Signals) -> None:
    site.back_up()
    with held(site, host, open_folder / "fake") as (process, impostor, server):
        pid = postmaster(process)
        process.send_signal(number)
        outcome = process.wait()
        assert outcome.error_code == "interrupted"
        assert not runs(pid) and not runs(impostor.pid())
        assert not server.exists()
    assert states(site) == ["good"]


def test_what_a_killed_drill_left_is_ended_and_removed_by_the_next(site: Site, host: Host, open_folder: Path) -> None:
    site.back_up()
    with held(site, host, open_folder / "fake") as (process, impostor, server):
        pid = postmaster(process)
        process.kill()
        wait_until(lambda: not runs(pid))  # it dies with the module
        assert server.exists()
        assert verdicts(drill(site, host)) == [("restore", "passed", "good")]
        assert not server.exists()
    wait_until(lambda: not runs(impostor.pid()))


def test_a_server_that_is_killed_in_the_middle_says_nothing_of_a_backup_and_the_next_gets_another(
    site: Site, host: Host, open_folder: Path
) -> None:
    site.back_up()
    with database_on(site.server) as another:
        site.back_up(databases=[another])
    with held(site, host, open_folder / "fake") as (process, impostor, _server):
        os.kill(postmaster(process), signal.SIGKILL)
        impostor.say("go")
        done = process.wait()
    assert verdicts(done) == [("restore", "inconclusive", "good"), ("restore", "passed", "good")]


def test_the_server_of_a_living_drill_is_left_alone(site: Site, host: Host, open_folder: Path) -> None:
    site.back_up()
    with held(site, host, open_folder / "fake") as (process, impostor, _server):
        assert verdicts(drill(site, host, check=True)) == [("restore", "passed", "good")]
        impostor.say("go")
        assert verdicts(process.wait()) == [("restore", "passed", "good")]


# --- Who can get at it -----------------------------------------------------------------------------


def test_a_folder_that_somebody_else_has_put_in_the_way_is_neither_followed_nor_touched(
    site: Site, temporary: Path, host: Host, tmp_path: Path
) -> None:
    site.back_up()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    link = temporary / "lastgood-drill-planted"
    link.symlink_to(tmp_path / "precious")
    theirs = temporary / "lastgood-drill-theirs"
    theirs.mkdir(mode=0o755)
    assert verdicts(drill(site, host)) == [("restore", "passed", "good")]
    assert (tmp_path / "precious" / "file").exists() and link.is_symlink() and theirs.is_dir()
    link.unlink()
    theirs.rmdir()


def test_a_temporary_folder_with_too_long_a_path_for_a_socket_is_not_used(site: Site, tmp_path: Path) -> None:
    site.back_up()
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    done = drill(site, Host(environment={"TMPDIR": str(deep)}))
    assert verdicts(done) == [("restore", "passed", "good")]
    assert not list(deep.iterdir())


def test_nobody_else_reaches_the_server(site: Site, host: Host, open_folder: Path) -> None:
    site.back_up()
    with held(site, host, open_folder / "fake") as (process, impostor, server):
        found = server.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (os.geteuid(), 0o700)
        status = Path(f"/proc/{postmaster(process)}/status").read_text()
        assert "\nNoNewPrivs:\t1\n" in status and "\nCapPrm:\t0000000000000000\n" in status
        [uid] = re.findall(r"^Uid:\t(\d+)\t\1\t\1\t\1$", status, re.MULTILINE)
        assert int(uid) > 2000000000 if AS_ROOT else int(uid) == os.geteuid()
        for kind in ("mnt", "pid", "net", "ipc", "uts"):
            assert os.readlink(f"/proc/{postmaster(process)}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        impostor.say("go")
        assert verdicts(process.wait()) == [("restore", "passed", "good")]


def test_event_triggers_in_a_backup_do_not_fire(site: Site, host: Host) -> None:
    views = "".join(f"create materialized view seen{number} as select 1 as n;" for number in range(30))
    site.sql(
        f"""
        {views} -- which are filled while event triggers are made, and after that
        create function harm() returns event_trigger language plpgsql as $$
        begin
            if current_database() ~ '_restoring_' then raise exception 'harm was done'; end if;
        end $$;
        create event trigger harm on ddl_command_start execute function harm();
        """
    )
    site.back_up()
    assert site.server.major >= 17  # an older server can't leave them out
    assert verdicts(drill(site, host)) == [("restore", "passed", "good")]


# --- On a server that is given ---------------------------------------------------------------------


@every_version
def test_a_given_server_is_as_it_was_afterwards(site: Site, server: Server, host: Host) -> None:
    site.sql(CONTENT)
    site.back_up(include_globals=True)
    before = databases(server)
    done = drill(site, host, **login(server))
    assert sorted(verdicts(done)) == [("restore", "inconclusive", "good"), ("restore", "passed", "good")]
    assert (3, 203) in counts(done)
    assert databases(server) == before


def test_timeouts_of_a_given_server_do_not_end_a_drill(site: Site, server: Server, host: Host) -> None:
    site.sql(
        "create function slow(n int) returns boolean language plpgsql as 'begin perform pg_sleep(0.5); return true; end';"
        "create table slowly (n int check (slow(n))); insert into slowly values (1);"
        "create table many as select generate_series(1, 1000000) as n"
    )
    site.back_up()
    names = ("statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
    try:
        for name in names:
            server.psql(f"alter role postgres set {name} = '30ms'")
        done = drill(site, host, **login(server))
    finally:
        server.run("psql", "--command=alter role postgres reset all", database="postgres")
    assert verdicts(done) == [("restore", "passed", "good")]


def test_a_given_server_is_left_alone_in_check_mode(site: Site, server: Server, host: Host) -> None:
    site.back_up()
    left = f"{site.database}_restoring_20260101t000000z"
    server.psql(f'create database "{left}" allow_connections false')
    try:
        done = drill(site, host, check=True, **login(server))
        assert left in databases(server)
    finally:
        drop(server, left)
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert "check mode" in done.result["verified"][0]["detail"]


def test_a_role_that_a_given_server_lacks_says_nothing_of_a_backup(site: Site, server: Server, host: Host) -> None:
    server.psql("create role owner_of_app")
    site.sql("alter table t owner to owner_of_app")
    site.back_up()
    site.sql("alter table t owner to postgres")
    server.psql("drop role owner_of_app")
    before = databases(server)
    done = drill(site, host, **login(server))
    assert verdicts(done) == [("restore", "inconclusive", "good")]
    assert "owner_of_app" in done.result["verified"][0]["detail"]
    assert databases(server) == before
    assert verdicts(drill(site, host)) == [("restore", "passed", "good")]


def test_a_given_server_that_does_not_answer_says_nothing_of_a_backup(site: Site, host: Host, tmp_path: Path) -> None:
    site.back_up()
    done = drill(site, host, **login(site.server, login_unix_socket=str(tmp_path)))
    assert verdicts(done) == [("restore", "inconclusive", "good")]
