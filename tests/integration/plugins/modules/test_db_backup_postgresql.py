"""db_backup of real PostgreSQL servers: the module as a process, restores by PostgreSQL's own programs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import glob
import gzip
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from ansible_collections.lastgood.database.plugins.module_utils._text import unescaped
from ansible_collections.lastgood.database.tests.support.impostor import HALF, HOLD, Impostor
from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import Host, ModuleProcess, collections_path, run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    LOCK,
    STATUS,
    assert_whole,
    contents,
    leftovers,
    manifest,
    manifest_path,
    payload,
    payloads,
    rewrite_manifest,
    runs,
    state_of,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.postgresql import (
    CONTENT,
    PASSWORD,
    Site,
    database_on,
    dump_of,
    every_version,
    facts_of,
    login,
    restore,
    restore_plain,
)
from tools.throwaway_postgresql import Server

LONG_AGO = "2026-01-01T00:00:00Z"
AS_ROOT = os.geteuid() == 0


def utc(seconds_from_now: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return time.strftime(form, time.gmtime(time.time() + seconds_from_now))


def as_if_made(one: Path, seconds_from_now: float, **values: str) -> Path:
    """Give a backup the name and the time of another moment, and return where it is then."""
    _backup, database, _rest = one.name.split("_", 2)
    other = one.with_name(f"backup_{database}_{utc(seconds_from_now, '%Y-%m-%d_%H-%M-%S')}.dump.gz")
    manifest_path(one).rename(manifest_path(other))
    one.rename(other)
    rewrite_manifest(other, created_at=utc(seconds_from_now), **values)
    return other


# --- A backup, and no second one without need ----------------------------------------------------


def assert_only_changes_are_stored(site: Site, **options: str) -> None:
    first = site.back_up(**options)
    assert (first.changed, first.outcomes) == (True, ["created"])
    one = payload(site.directory)
    rewrite_manifest(one, confirmed_at=LONG_AGO)
    said, facts = manifest(one), one.stat()

    second = site.back_up(**options)
    assert (second.changed, second.outcomes) == (False, ["unchanged"])
    assert payload(site.directory) == one
    assert (one.stat().st_ino, one.stat().st_mtime_ns, one.stat().st_ctime_ns) == (
        facts.st_ino,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
    )
    renewed = manifest(one)
    assert renewed.pop("confirmed_at") >= said["created_at"] > said.pop("confirmed_at")
    assert renewed == said
    assert second.backups[0]["filename"] == one.name

    before = contents(site.directory)
    site.sql("update t set n = n + 1")
    third = site.back_up(**options)
    assert (third.changed, third.outcomes) == (True, ["created"])
    assert len(payloads(site.directory)) == 2
    assert before.items() <= contents(site.directory).items()
    assert_whole(site.directory)


@every_version
@pytest.mark.parametrize("form, compression", [("custom", "gzip"), ("plain", "none")])
def test_a_second_run_stores_nothing_and_one_changed_row_stores_one_backup(site: Site, form: str, compression: str) -> None:
    assert_only_changes_are_stored(site, format=form, compression=compression)


@pytest.mark.parametrize("form, compression", [("plain", "gzip"), ("custom", "zstd"), ("custom", "none")])
def test_so_it_is_with_every_format_and_compression(site: Site, form: str, compression: str) -> None:
    assert_only_changes_are_stored(site, format=form, compression=compression)


@every_version
@pytest.mark.parametrize("compression, ending", [("gzip", ".dump.gz"), ("none", ".dump")])
def test_an_archive_goes_back_by_pg_restore_alone(site: Site, compression: str, ending: str) -> None:
    site.sql(CONTENT)
    assert site.back_up(compression=compression).changed
    assert payload(site.directory).name.endswith(ending)
    with database_on(site.server, sql="") as other:
        restore(site.server, payload(site.directory), into=other)
        assert dump_of(site.server, other) == dump_of(site.server, site.database)


def test_an_archive_is_compressed_once(site: Site) -> None:
    site.sql("create table words as select repeat('again and ', 100) as n from generate_series(1, 100)")
    site.back_up()
    assert b"again and again and" in gzip.decompress(payload(site.directory).read_bytes())


@every_version
@pytest.mark.parametrize("compression, ending", [("gzip", ".dump.gz"), ("zstd", ".dump.zst")])
def test_a_plain_dump_goes_back_by_psql_alone(site: Site, compression: str, ending: str) -> None:
    site.sql(CONTENT)
    assert site.back_up(format="plain", compression=compression).changed
    assert payload(site.directory).name.endswith(ending)
    with database_on(site.server, sql="") as other:
        restore_plain(site.server, payload(site.directory), into=other)
        assert dump_of(site.server, other) == dump_of(site.server, site.database)


@every_version
def test_the_record_and_the_manifest_say_what_was_backed_up(site: Site) -> None:
    outcome = site.back_up(origin="db7", format="plain")
    one, [record] = payload(site.directory), outcome.backups
    system = site.server.psql("select system_identifier from pg_control_system()")
    expected = {
        "kind": "database",
        "origin": "db7",
        "engine": "postgresql",
        "instance": system,
        "database": site.database,
        "format": "plain",
        "compression": "gzip",
        "encrypted": False,
        "recipients": None,
    }
    assert {key: record[key] for key in expected} == expected
    assert {key: manifest(one)[key] for key in expected} == expected
    assert manifest(one)["server_version"].startswith(str(site.server.major))
    assert manifest(one)["tool"].startswith(f"pg_dump {site.server.major}")
    assert manifest(one)["major_mismatch"] is False
    assert (record["state"], record["filename"], record["path"]) == ("good", one.name, str(one))
    assert record["size_bytes"] == one.stat().st_size
    [listed] = site.facts()["files"]
    assert listed.pop("age_seconds") >= record.pop("age_seconds")
    assert (listed.pop("uploaded_at"), listed.pop("uploaded_at_epoch")) == (None, None)
    assert listed == {key: value for key, value in record.items() if key not in ("outcome", "reason", "clock_behind", "shrunk")}
    assert (record["clock_behind"], record["shrunk"]) == (0, None)


def test_unchanged_databases_are_stored_again_when_asked_for(site: Site) -> None:
    for count in (1, 2):
        assert site.back_up(skip_unchanged=False).outcomes == ["created"]
        assert len(payloads(site.directory)) == count


# --- Which databases ------------------------------------------------------------------------------


def test_without_a_list_it_is_every_database_and_the_globals(site: Site) -> None:
    site.sql("create role keeper login password 'digest me'")
    try:
        outcome = site.back_up(databases=None)
        found = {(record["kind"], record["database"]): Path(record["path"]) for record in outcome.backups}
        assert set(found) == {("database", "postgres"), ("database", site.database), ("globals", None)}
        assert found["globals", None].name.startswith("backup_@globals_")
        assert site.back_up(databases=None).outcomes == ["unchanged"] * 3
        digest = site.sql("select rolpassword from pg_authid where rolname = 'keeper'")
        site.sql("drop role keeper")
        # The role that restores is there already: its line fails, the others do not.
        restore_plain(site.server, found["globals", None], into="postgres", stop_on_error=False)
        assert site.sql("select rolpassword from pg_authid where rolname = 'keeper'") == digest
    finally:
        site.sql("drop role if exists keeper")
    assert_whole(site.directory)


@pytest.mark.parametrize(
    "options, kinds",
    [
        ({}, ["database"]),
        ({"include_globals": True}, ["database", "globals"]),
        ({"databases": None, "include_globals": False}, ["database", "database"]),
    ],
    ids=["named", "named, globals wanted", "all, globals not wanted"],
)
def test_globals_come_with_all_databases_or_when_asked_for(site: Site, options: dict[str, bool | None], kinds: list[str]) -> None:
    assert [record["kind"] for record in site.back_up(**options).backups] == kinds


@every_version
def test_who_may_not_read_password_digests_gets_globals_without_and_is_told(site: Site) -> None:
    site.sql("create role plainuser login; create role keeper login password 'digest me'")
    try:
        outcome = site.back_up(login_user="plainuser", databases=["postgres"], include_globals=True)
        assert outcome.outcomes == ["created", "created"]
        assert any("password" in warning for warning in outcome.warnings)
        [path] = [Path(record["path"]) for record in outcome.backups if record["kind"] == "globals"]
        text = gzip.decompress(path.read_bytes()).decode()
        assert "CREATE ROLE keeper" in text
        assert "SCRAM" not in text
    finally:
        site.sql("drop role plainuser; drop role keeper")


def test_patterns_leave_databases_out(site: Site) -> None:
    with database_on(site.server, "test_1"), database_on(site.server, "Test_2"), database_on(site.server, "contest_3"):
        outcome = site.back_up(databases=None, include_globals=False, exclude_databases=["test_*", "postgres", "app?*"])
    assert sorted(record["database"] for record in outcome.backups) == ["Test_2", "contest_3"]


def test_a_database_that_is_closed_is_left_out_of_all_with_a_warning_and_an_error_when_named(site: Site) -> None:
    site.server.psql(f"alter database {site.database} allow_connections false")
    everything = site.back_up(databases=None, include_globals=False)
    assert [record["database"] for record in everything.backups] == ["postgres"]
    assert any(site.database in warning for warning in everything.warnings)
    assert site.back_up().error_code == "database_closed"


def test_the_way_out_for_a_closed_database_is_sql_that_works_whatever_its_name(server: Server, tmp_path: Path) -> None:
    with database_on(server, 'two "quotes" -- and more') as name:
        site = Site(server, name, tmp_path / "backups")
        server.psql("update pg_database set datallowconn = false where datname like 'two %'")
        closed = site.back_up()
        assert closed.error_code == "database_closed"
        server.psql(closed.msg.partition("Allow them: ")[2])
        assert site.back_up().outcomes == ["created"]


def test_a_database_that_is_half_dropped_is_left_out_with_the_way_out(site: Site) -> None:
    site.server.psql(f"update pg_database set datconnlimit = -2 where datname = '{site.database}'")
    outcome = site.back_up()
    assert outcome.error_code == "database_closed"
    assert f'DROP DATABASE "{site.database}"' in outcome.msg
    assert payloads(site.directory) == []


def test_an_empty_list_of_databases_is_an_error(site: Site) -> None:
    outcome = site.back_up(databases=[])
    assert outcome.error_code == "argument_invalid"
    assert not site.directory.exists()


def test_a_database_that_is_not_there_is_an_error(site: Site) -> None:
    outcome = site.back_up(databases=["no such"])
    assert outcome.error_code == "database_missing"
    assert "no such" in outcome.msg
    assert outcome.outcomes == ["failed"]
    assert payloads(site.directory) == []


def test_one_that_fails_lets_the_others_go_on_and_fails_the_task(site: Site) -> None:
    names = [site.database, "no such", "postgres"]
    outcome = site.back_up(databases=names)
    assert outcome.error_code == "database_missing"
    assert outcome.result["changed"] is True
    became = {record["database"]: record["outcome"] for record in outcome.backups}
    assert became == {site.database: "created", "no such": "failed", "postgres": "created"}
    [lost] = [record for record in outcome.backups if record["outcome"] == "failed"]
    assert lost["error"]["code"] == "database_missing"
    assert "no such" in lost["msg"]
    assert len(payloads(site.directory)) == 2

    again = site.back_up(databases=names)
    assert again.error_code == "database_missing"
    assert again.result["changed"] is False
    assert sorted(again.outcomes) == ["failed", "unchanged", "unchanged"]


def test_a_dump_that_fails_lets_the_others_go_on(site: Site, tmp_path: Path) -> None:
    impostor = Impostor(
        tmp_path / "fake",
        site.server.bin_directory,
        f'if any("{site.database}" in one for one in arguments): sys.exit("pg_dump: error: out of luck")\ngo_on()',
    )
    outcome = site.back_up(databases=[site.database, "postgres"], bin_directory=str(impostor.bin_directory))
    assert outcome.error_code == "program_failed"
    assert "out of luck" in outcome.msg
    assert {record["database"]: record["outcome"] for record in outcome.backups} == {
        site.database: "failed",
        "postgres": "created",
    }
    assert_whole(site.directory)


def test_backups_of_another_origin_do_not_stand_for_this_one(site: Site) -> None:
    assert site.back_up(origin="db7").outcomes == ["created"]
    assert site.back_up(origin="db8").outcomes == ["created"]
    assert site.back_up(origin="db7", interval="1h").outcomes == ["fresh"]
    assert site.back_up(origin="db7").outcomes == ["unchanged"]
    assert site.back_up(origin="db8").outcomes == ["unchanged"]
    assert [group["origin"] for group in site.facts()["databases"]] == ["db7", "db8"]


def test_databases_of_one_name_in_two_clusters_never_stand_for_each_other(site: Site) -> None:
    with Server.start(site.server.installation) as other_server:
        other_server.create_database(site.database)
        other_server.psql("create table t as select 1 as n", site.database)
        other = Site(other_server, site.database, site.directory)
        assert dump_of(other_server, other.database) == dump_of(site.server, site.database)
        for expected in ("created", "unchanged"):
            for one in (site, other):
                assert one.back_up(format="plain").outcomes == [expected]
        assert other.back_up(format="plain", interval="1h").outcomes == ["fresh"]
    assert len(site.facts()["databases"]) == 2


def test_arguments_of_the_user_reach_pg_dump(site: Site) -> None:
    site.sql("create table secret_plans as select 1")
    assert site.back_up(format="plain", compression="none", extra_args=["--exclude-table=secret*"]).changed
    assert "secret_plans" not in payload(site.directory).read_text()
    refused = site.back_up(extra_args=["--file=/tmp/elsewhere"])
    assert refused.error_code == "argument_invalid"


# --- A backup that is not what it was -------------------------------------------------------------


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_rotten_payload_is_noticed_though_the_data_has_not_changed(site: Site) -> None:
    site.back_up()
    old = payload(site.directory)
    flip_a_bit(old)
    assert [one["state"] for one in site.facts()["files"]] == ["good"]  # only reading it would tell

    outcome = site.back_up()
    assert (outcome.changed, outcome.outcomes) == (True, ["created"])
    assert any(old.name in warning for warning in outcome.warnings)
    states = {one["filename"]: one["state"] for one in site.facts()["files"]}
    new = outcome.backups[0]["filename"]
    assert states == {old.name: "corrupt", new: "good"}
    assert site.facts()["databases"][0]["newest_good"] == new
    assert site.back_up().outcomes == ["unchanged"]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def make_unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "harm, state",
    [(truncate, "corrupt"), (Path.unlink, None), (make_unreadable, None)],
    ids=["cut short", "deleted", "a directory"],
)
def test_a_payload_that_is_cut_or_gone_does_not_count(site: Site, harm: Callable[[Path], None], state: str | None) -> None:
    site.back_up()
    old = payload(site.directory)
    harm(old)
    outcome = site.back_up(interval="1h")
    assert outcome.outcomes == ["created"]
    states = {one["filename"]: one["state"] for one in site.facts()["files"]}
    assert states.pop(outcome.backups[0]["filename"]) == "good"
    assert states == ({} if state is None else {old.name: state})


@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        lambda path: path.write_bytes(b"\x00\xff{"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text(path.read_text()[:-2] + " " * 100_000 + "}"),
        lambda path: path.write_text(path.read_text().replace('"manifest_version": 1', '"manifest_version": 2')),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["deleted", "garbage", "deep", "huge", "of the future", "a directory", "a link", "a pipe"],
)
def test_a_backup_without_a_usable_manifest_does_not_count(site: Site, harm: Callable[[Path], object]) -> None:
    site.back_up()
    old = payload(site.directory)
    harm(manifest_path(old))
    outcome = site.back_up(interval="1h")
    assert outcome.outcomes == ["created"]
    states = {one["filename"]: one["state"] for one in site.facts()["files"]}
    assert states == {old.name: "unverified", outcome.backups[0]["filename"]: "good"}


def test_what_was_put_into_the_directory_by_others_is_left_alone(site: Site) -> None:
    site.directory.mkdir()
    for name in (
        "notes.txt",
        f"backup_{site.database}.dump",
        ".hidden.partial",
        f"backup_{site.database}_2026-13-01_00-00-00.dump",
    ):
        (site.directory / name).write_text(name)
    (site.directory / f".backup_{site.database}_2026-01-01_00-00-00.dump.partial").symlink_to("/etc/passwd")
    before = contents(site.directory)
    site.back_up()
    assert before.items() <= contents(site.directory).items()
    assert os.readlink(site.directory / f".backup_{site.database}_2026-01-01_00-00-00.dump.partial") == "/etc/passwd"


# --- Check mode, diff mode, interval --------------------------------------------------------------


def test_check_mode_makes_nothing_not_even_the_directory(site: Site, tmp_path: Path) -> None:
    before = state_of(tmp_path)
    outcome = site.back_up(check=True, diff=True)
    assert (outcome.changed, outcome.outcomes) == (True, ["created"])
    assert state_of(tmp_path) == before
    assert site.database in outcome.result["diff"]["after"]
    assert outcome.result["diff"]["before"] == ""


def test_check_mode_touches_nothing_that_is_there(site: Site) -> None:
    site.back_up()
    (site.directory / f".backup_{site.database}_2026-01-01_00-00-00.dump.gz.partial").touch()  # a dead run's
    before = state_of(site.directory)
    assert site.back_up(check=True).changed is True
    fresh = site.back_up(check=True, diff=True, interval="1h")
    assert (fresh.changed, fresh.outcomes) == (False, ["fresh"])
    assert fresh.result["diff"]["before"] == fresh.result["diff"]["after"]
    assert site.back_up(check=True, databases=["no such"]).error_code == "database_missing"
    assert state_of(site.directory) == before


def test_diff_names_the_file_that_comes_and_the_one_that_stays(site: Site) -> None:
    made = site.back_up(diff=True).result
    assert made["diff"]["after"].strip() == made["backups"][0]["filename"]
    assert made["diff"]["before"] == ""
    kept = site.back_up(diff=True).result
    assert kept["diff"]["after"] == kept["diff"]["before"]
    assert "diff" not in site.back_up().result


def test_within_the_interval_nothing_is_dumped_or_written(site: Site) -> None:
    site.back_up()
    before = contents(site.directory)
    site.sql("update t set n = n + 1")
    outcome = site.back_up(interval="1h")
    assert (outcome.changed, outcome.outcomes) == (False, ["fresh"])
    assert outcome.backups[0]["filename"] == payload(site.directory).name
    assert contents(site.directory) == before


def test_age_counts_from_the_confirmation(site: Site) -> None:
    site.back_up()
    one = as_if_made(payload(site.directory), -7200, confirmed_at=utc(-3000))
    assert site.back_up(interval="1h").outcomes == ["fresh"]
    rewrite_manifest(one, confirmed_at=utc(-4000))
    assert site.back_up(interval="1h").outcomes == ["unchanged"]
    assert site.back_up(interval="1h").outcomes == ["fresh"]


def test_a_backup_dated_in_the_future_makes_nothing_fresh(site: Site) -> None:
    site.back_up()
    day = 24 * 3600
    new = as_if_made(payload(site.directory), day, confirmed_at=utc(day))
    assert site.back_up(check=True, interval="52w").changed is True
    done = site.back_up(interval="52w")
    assert done.outcomes == ["created"]
    assert [str(new) in warning for warning in done.warnings] == [True]
    assert len(payloads(site.directory)) == 2


def test_a_confirmation_dated_in_the_future_makes_nothing_fresh(site: Site) -> None:
    site.back_up()
    old = as_if_made(payload(site.directory), -7200, confirmed_at=utc(24 * 3600))
    assert site.back_up(interval="1h").outcomes == ["unchanged"]
    assert manifest(old)["confirmed_at"] <= utc(0)


# --- Two at a time --------------------------------------------------------------------------------


@contextlib.contextmanager
def held(site: Site, folder: Path, **options: object) -> Iterator[tuple[ModuleProcess, Impostor]]:
    """A run whose pg_dump has begun, and waits for ``say("go")``."""
    impostor = Impostor(folder, site.server.bin_directory, HOLD)
    with site.backing_up(bin_directory=str(impostor.bin_directory), **options) as process:
        impostor.wait_for("started", unless=lambda: process.ended)
        yield process, impostor
        impostor.say("go")


def has_open(process: ModuleProcess, path: Path) -> bool:
    with contextlib.suppress(OSError):
        for one in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(one) == str(path):
                    return True
    return False


def test_a_second_run_waits_for_the_first_and_then_finds_nothing_to_store(site: Site, tmp_path: Path) -> None:
    with held(site, tmp_path / "fake") as (first, impostor), site.backing_up() as second:
        wait_until(lambda: has_open(second, site.directory))
        wait_until(lambda: len(leftovers(site.directory)) == 1)  # the first one's; the status is written for a moment
        impostor.say("go")
        assert first.wait().outcomes == ["created"]
        assert second.wait().outcomes == ["unchanged"]
    assert_whole(site.directory)


def test_a_second_run_gives_up_after_lock_timeout_and_the_first_is_not_disturbed(site: Site, tmp_path: Path) -> None:
    with held(site, tmp_path / "fake") as (first, impostor):
        running = leftovers(site.directory)
        second = site.back_up(lock_timeout="1s")
        assert second.error_code == "locked"
        assert second.warnings == []
        assert leftovers(site.directory) == running
        assert len(running) == 1
        impostor.say("go")
        assert first.wait().outcomes == ["created"]
    assert_whole(site.directory)


def test_different_databases_go_side_by_side(site: Site, tmp_path: Path) -> None:
    with held(site, tmp_path / "fake") as (first, impostor):
        assert site.back_up(databases=["postgres"], lock_timeout="0s").outcomes == ["created"]
        assert not first.ended
        impostor.say("go")
        assert first.wait().outcomes == ["created"]
    assert_whole(site.directory)


def test_one_run_dumps_as_many_at_a_time_as_it_is_told(site: Site, tmp_path: Path) -> None:
    together = (
        'note("dump%d" % os.getpid())\nwhile sum(name.startswith("dump") for name in os.listdir(folder)) < 3: time.sleep(0.01)\n'
    )
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, together + "go_on()")
    with database_on(site.server) as second, database_on(site.server) as third:
        outcome = site.back_up(
            databases=[third, site.database, second],
            parallel_databases=3,
            bin_directory=str(impostor.bin_directory),
        )
        assert [record["database"] for record in outcome.backups] == [third, site.database, second]
        assert outcome.outcomes == ["created"] * 3
    assert_whole(site.directory)


# --- Killed and interrupted -----------------------------------------------------------------------


def test_a_run_that_is_killed_leaves_only_a_partial_that_the_next_run_sweeps(site: Site, tmp_path: Path) -> None:
    site.back_up(compression="none")
    earlier = contents(site.directory)
    site.grow(6)
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, HALF.format(count=3 << 20))
    with site.backing_up(compression="none", bin_directory=str(impostor.bin_directory)) as process:
        impostor.wait_for("half", unless=lambda: process.ended)
        [partial] = leftovers(site.directory)
        wait_until(lambda: (site.directory / partial).stat().st_size >= 1 << 20)
        process.kill()
    impostor.say("go")
    wait_until(lambda: not runs(impostor.pid()) and not runs(impostor.pid("child")))
    left = contents(site.directory)
    assert left.pop(partial)
    assert left == earlier
    assert site.facts()["count"] == 1

    outcome = site.back_up(compression="none")
    assert outcome.outcomes == ["created"]
    assert any(partial in warning for warning in outcome.warnings)
    assert len(payloads(site.directory)) == 2
    assert earlier.items() <= contents(site.directory).items()
    assert_whole(site.directory)


def test_pg_dump_does_not_outlive_a_run_that_is_killed(site: Site, tmp_path: Path) -> None:
    site.grow(6)
    with held(site, tmp_path / "fake") as (process, impostor):
        process.send_signal(signal.SIGSTOP)  # now nobody reads, and pg_dump waits with the pipe full
        impostor.say("go")
        wait_until(lambda: Path(f"/proc/{impostor.pid()}/comm").read_text().strip() == "pg_dump")
        assert runs(impostor.pid())
        process.kill()
        wait_until(lambda: not runs(impostor.pid()))
    assert payloads(site.directory) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_told_to_stop_cleans_up_and_says_so(site: Site, tmp_path: Path, number: signal.Signals) -> None:
    site.back_up()
    earlier = contents(site.directory)
    site.grow(3)
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, HALF.format(count=1 << 20))
    with site.backing_up(bin_directory=str(impostor.bin_directory)) as process:
        impostor.wait_for("half", unless=lambda: process.ended)
        process.send_signal(number)
        outcome = process.wait()
    assert outcome.error_code == "interrupted"
    assert number.name in outcome.msg
    assert contents(site.directory) == earlier
    wait_until(lambda: not runs(impostor.pid()) and not runs(impostor.pid("child")))


def test_a_run_that_waits_for_another_can_be_told_to_stop(site: Site, tmp_path: Path) -> None:
    with held(site, tmp_path / "fake") as (first, impostor):
        with site.backing_up(lock_timeout="1w") as second:
            wait_until(lambda: has_open(second, site.directory))
            second.send_signal(signal.SIGTERM)
            assert second.wait().error_code == "interrupted"
        impostor.say("go")
        assert first.wait().outcomes == ["created"]
    assert_whole(site.directory)


# --- Dumps that go wrong --------------------------------------------------------------------------

BAD_DUMPS = {
    "fails before the end": ("custom", 'open(out, "wb").write(b"PGDMP" + bytes(5000)); sys.exit("no more")', "program_failed"),
    "dies by a signal": ("custom", "os.kill(os.getpid(), signal.SIGSEGV)", "program_failed"),
    "writes nothing": ("custom", "", "content_invalid"),
    "opens and writes nothing": ("plain", 'open(out, "wb")', "content_invalid"),
    "writes garbage": ("custom", 'open(out, "wb").write(b"garbage" * 100)', "content_invalid"),
    "writes half a plain dump": (
        "plain",
        'chunks = list(real_output(0)); open(out, "wb").write(b"".join(chunks)[:-200])',
        "content_invalid",
    ),
    "can't be run": ("custom", None, "program_missing"),
}


@pytest.mark.parametrize("form, script, code", BAD_DUMPS.values(), ids=BAD_DUMPS.keys())
def test_a_pg_dump_that_goes_wrong_leaves_all_as_it_was(
    site: Site, tmp_path: Path, form: str, script: str | None, code: str
) -> None:
    site.back_up(format=form)
    earlier = state_of(site.directory)
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, script or "")
    if script is None:
        (impostor.bin_directory / "pg_dump").write_text("#!/nonexistent\n")
    outcome = site.back_up(format=form, bin_directory=str(impostor.bin_directory))
    assert outcome.error_code == code
    assert outcome.result.get("changed", False) is False
    after = state_of(site.directory)
    for path in (site.directory, *(site.directory / name for name in (LOCK, STATUS))):  # which say that it failed
        assert after.pop(str(path))
        assert earlier.pop(str(path))
    assert after == earlier
    assert site.back_up(format=form).outcomes == ["unchanged"]


def test_the_error_has_the_programs_own_words(site: Site, tmp_path: Path) -> None:
    script = 'sys.stderr.write("pg_dump: error: query failed: it is Monday\\n"); sys.exit(3)'
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, script)
    outcome = site.back_up(bin_directory=str(impostor.bin_directory))
    assert "it is Monday" in outcome.msg
    assert outcome.result["error"]["exit_status"] == 3


@pytest.mark.parametrize(
    "first", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"], ids=["that can be asked to end", "that can't be asked"]
)
def test_a_dump_that_takes_too_long_is_ended(site: Site, tmp_path: Path, first: str) -> None:
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, f"{first}wait_for('never')")
    outcome = site.back_up(bin_directory=str(impostor.bin_directory), timeout="1s")
    assert outcome.error_code == "timeout"
    assert "after 1 second" in outcome.msg
    assert not runs(impostor.pid())
    assert contents(site.directory) == {}


def test_a_server_that_dies_in_mid_dump_fails_the_run_and_spoils_nothing(server: Server, tmp_path: Path) -> None:
    with Server.start(server.installation) as mortal:
        site = Site(mortal, "postgres", tmp_path / "backups")
        site.back_up()
        earlier = contents(site.directory)
        site.grow(6)
        impostor = Impostor(tmp_path / "fake", mortal.bin_directory, HALF.format(count=1 << 20))
        with site.backing_up(bin_directory=str(impostor.bin_directory)) as process:
            impostor.wait_for("half", unless=lambda: process.ended)
            mortal.kill()
            impostor.say("go")
            outcome = process.wait()
        assert outcome.error_code == "program_failed"
        assert "server closed the connection" in outcome.msg
        assert contents(site.directory) == earlier


def test_a_lock_on_a_table_is_named_as_the_cause(site: Site) -> None:
    site.sql("".join(f"create table table_{number}_{'of_many' * 5} ();" for number in range(200)))  # locked by one statement
    connection = psycopg2.connect(
        host=str(site.server.socket_directory), port=site.server.port, user="postgres", dbname=site.database
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("lock table t in access exclusive mode")
        outcome = site.back_up(lock_timeout="1s")
        assert outcome.error_code == "source_busy"
        assert "locked for more than 1 seconds" in outcome.msg
        assert "lock_timeout" in outcome.msg
        assert contents(site.directory) == {}
    assert site.back_up(lock_timeout="1s").outcomes == ["created"]


def test_a_server_that_is_down_is_an_error(site: Site, tmp_path: Path) -> None:
    outcome = site.back_up(login_unix_socket=str(tmp_path))
    assert outcome.error_code == "connection_failed"
    assert str(tmp_path) in outcome.msg
    assert not site.directory.exists()


def test_a_missing_psycopg2_is_an_error_that_says_what_to_install(site: Site, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'psycopg2':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    outcome = site.back_up(host=Host(search_path=(tmp_path, collections_path())))
    assert outcome.error_code == "library_missing"
    assert "python3-psycopg2" in outcome.msg


# --- No room --------------------------------------------------------------------------------------


def test_a_disk_without_room_for_another_is_told_before_the_dump(
    site: Site, small_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    site = site._replace(directory=small_disk("size=3m"))
    site.grow(2)
    assert site.back_up(compression="none").outcomes == ["created"]
    earlier = contents(site.directory)
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, "go_on()")
    outcome = site.back_up(compression="none", bin_directory=str(impostor.bin_directory))
    assert outcome.error_code == "no_space"
    assert not impostor.has_noted("pid")
    assert contents(site.directory) == earlier


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_disk_that_fills_up_in_mid_dump_leaves_earlier_backups_and_nothing_else(
    site: Site, small_disk: Callable[[str], Path], compression: str
) -> None:
    site = site._replace(directory=small_disk("size=2m"))
    assert site.back_up(compression=compression).outcomes == ["created"]
    earlier = contents(site.directory)
    site.grow(8)
    outcome = site.back_up(compression=compression)
    assert outcome.error_code == "no_space"
    assert contents(site.directory) == earlier
    assert_whole(site.directory)
    site.sql("drop table noise; update t set n = n + 1")
    assert site.back_up(compression=compression).outcomes == ["created"]


def test_a_disk_without_room_for_the_manifest_gets_no_payload_either(site: Site, small_disk: Callable[[str], Path]) -> None:
    # The directory itself, the lock, the first payload and its manifest; one more, and that is the second's partial.
    site = site._replace(directory=small_disk("size=3m,nr_inodes=5"))
    assert site.back_up().outcomes == ["created"]
    earlier = contents(site.directory)
    site.sql("update t set n = n + 1")
    outcome = site.back_up()
    assert outcome.error_code == "no_space"
    assert contents(site.directory) == earlier
    assert_whole(site.directory)


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(site: Site) -> None:
    site.back_up()
    earlier = contents(site.directory)
    site.grow(3)
    outcome = site.back_up(host=Host(largest_file=1 << 20))
    assert outcome.error_code == "no_space"
    assert contents(site.directory) == earlier
    assert_whole(site.directory)


def test_a_manifest_that_cannot_be_written_keeps_the_payload_from_its_name(site: Site) -> None:
    site.sql("drop table t")
    site.back_up(format="plain")
    earlier = contents(site.directory)
    one = payload(site.directory)
    limit = manifest_path(one).stat().st_size - 100
    assert one.stat().st_size < limit
    outcome = site.back_up(format="plain", skip_unchanged=False, host=Host(largest_file=limit))
    assert outcome.error_code == "no_space"
    assert contents(site.directory) == earlier
    assert_whole(site.directory)


# --- The directory --------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_for_its_owner_alone(site: Site, tmp_path: Path) -> None:
    site = site._replace(directory=tmp_path / "a" / "b" / "backups")
    assert site.back_up().changed
    assert {mode_of(path) for path in (tmp_path / "a", tmp_path / "a" / "b", site.directory)} == {0o700}
    assert {path.name[0]: mode_of(path) for path in site.directory.iterdir()} == {"b": 0o600, ".": 0o600}


def test_a_directory_that_is_there_keeps_its_mode(site: Site) -> None:
    site.directory.mkdir()
    site.directory.chmod(0o2750)
    assert site.back_up().changed
    assert mode_of(site.directory) == 0o2750


def test_a_file_in_place_of_the_directory_is_an_error(site: Site) -> None:
    site.directory.write_text("mine")
    for check in (False, True):
        assert site.back_up(check=check).error_code == "not_a_directory"
    assert site.directory.read_text() == "mine"


def test_a_link_in_place_of_the_directory_is_refused(site: Site, tmp_path: Path) -> None:
    for target in ("there", "not-there"):
        (tmp_path / "there").mkdir(exist_ok=True)
        site.directory.unlink(missing_ok=True)
        site.directory.symlink_to(tmp_path / target)
        for check in (False, True):
            assert site.back_up(check=check).error_code == "directory_unusable"
    assert list((tmp_path / "there").iterdir()) == []
    assert not (tmp_path / "not-there").exists()


def test_a_relative_directory_is_an_error(site: Site) -> None:
    assert site.back_up(directory="backups").error_code == "argument_invalid"


def test_a_directory_that_may_not_be_written_to_is_an_error_also_in_check_mode(
    site: Site, unprivileged: Host, open_folder: Path
) -> None:
    site = site._replace(directory=open_folder / "backups")
    site.directory.mkdir()
    site.directory.chmod(0o555)  # root's, or ours
    try:
        for check in (True, False):
            outcome = site.back_up(host=unprivileged, check=check)
            assert outcome.error_code == "directory_not_writable"
            assert str(site.directory) in outcome.msg
        assert list(site.directory.iterdir()) == []
    finally:
        site.directory.chmod(0o755)


def test_a_user_without_privileges_backs_up_into_a_directory_of_his_own(
    site: Site, unprivileged: Host, open_folder: Path
) -> None:
    site = site._replace(directory=open_folder / "backups")
    assert site.back_up(host=unprivileged).outcomes == ["created"]
    assert site.back_up(host=unprivileged).outcomes == ["unchanged"]
    one = payload(site.directory)
    assert one.stat().st_uid == (UNPRIVILEGED if AS_ROOT else os.geteuid())
    assert (mode_of(site.directory), mode_of(one), mode_of(manifest_path(one))) == (0o700, 0o600, 0o600)


def test_mode_is_that_of_payload_and_manifest(site: Site) -> None:
    assert site.back_up(mode="0640").changed
    one = payload(site.directory)
    assert (mode_of(one), mode_of(manifest_path(one))) == (0o640, 0o640)
    site.sql("update t set n = n + 1")
    assert site.back_up(mode="u=rw,g=r,o=").changed
    assert mode_of(payloads(site.directory)[-1]) == 0o640


def test_owner_and_group_are_those_of_payload_and_manifest(site: Site) -> None:
    if not AS_ROOT:
        pytest.skip("only root can give files away")
    assert site.back_up(owner="nobody", group=str(UNPRIVILEGED)).changed
    one = payload(site.directory)
    for path in (one, manifest_path(one)):
        assert (path.stat().st_uid, path.stat().st_gid) == (UNPRIVILEGED, UNPRIVILEGED)
    assert site.directory.stat().st_uid == UNPRIVILEGED


def test_an_owner_that_nobody_knows_is_an_error(site: Site) -> None:
    assert site.back_up(owner="no-such-user").error_code == "argument_invalid"
    assert not site.directory.exists()


# --- Hostile names --------------------------------------------------------------------------------

HOSTILE_NAMES = [
    "two words",
    " leading and trailing ",
    "single ' quote",
    'double " quote',
    "slash/es",
    "../../../../tmp/up",
    "..",
    "-dash",
    ".dot",
    "--version",
    "-f",
    "dbname=postgres host=/nonexistent",
    "postgres://postgres@nowhere/postgres",
    "%41",
    "$(touch x)",
    "`id`;&|<>*?",
    "$HOME",
    "~",
    "back\\slash\\",
    "tab\there",
    "@globals",
    "\u00e9" * 31 + "x",  # 63 bytes
    "backup_app_2026-01-01_00-00-00.dump.gz",
    "app.partial",
    "UPPER",
    "upper",
]
REFUSED_NAME = "new\nline"


def test_names_are_data_and_nothing_else(server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "er" / "backups"
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(HOSTILE_NAMES):
            stack.enter_context(database_on(server, name, f"create table t as select {number} as n"))
        stack.enter_context(database_on(server, REFUSED_NAME, ""))
        options = {"directory": str(directory), **login(server)}

        outcome = run_module("db_backup", databases=[*HOSTILE_NAMES, REFUSED_NAME], **options)
        assert outcome.error_code == "name_refused"
        records = {unescaped(record["database"]): record for record in outcome.backups}
        assert records.pop(REFUSED_NAME)["outcome"] == "failed"
        assert {name: record["outcome"] for name, record in records.items()} == dict.fromkeys(HOSTILE_NAMES, "created")
        assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent != directory] == []
        paths = {unescaped(record["database"]): Path(record["path"]) for record in facts_of(directory)["files"]}
        assert set(paths) == set(HOSTILE_NAMES)
        assert_whole(directory)

        fresh = stack.enter_context(database_on(server, sql=""))
        for number, name in enumerate(HOSTILE_NAMES):
            path = paths[name]
            assert path.parent == directory
            assert manifest(path)["database"] == name
            restore(server, path, into=fresh)
            assert server.psql("select n from t; drop table t", fresh) == str(number), name

        again = run_module("db_backup", databases=HOSTILE_NAMES, **options)
        assert set(again.outcomes) == {"unchanged"}

        without = [glob.escape(name) for name in HOSTILE_NAMES[1:]]
        [left] = run_module("db_backup", databases=HOSTILE_NAMES, exclude_databases=without, check=True, **options).backups
        assert left["database"] == HOSTILE_NAMES[0]


# --- Secrets --------------------------------------------------------------------------------------

RECORD = """
note("argv", repr(arguments))
note("environment", "".join("%s=%s\\n" % item for item in os.environ.items()))
note("cmdline", open("/proc/%d/cmdline" % os.getppid()).read())
go_on()
"""


def tcp_login(server: Server, **over: object) -> dict[str, object]:
    return {
        "login_host": "127.0.0.1",
        "login_port": server.port,
        "login_user": server.user,
        "login_password": PASSWORD,
        "bin_directory": str(server.bin_directory),
        **over,
    }


def assert_nowhere(secret: str, top: Path) -> None:
    files = [path for path in top.rglob("*") if path.is_file()]
    for path in files:
        assert secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("program", ["pg_dump", "pg_dumpall"])
def test_the_password_opens_the_server_and_is_seen_nowhere(guarded: Server, tmp_path: Path, program: str) -> None:
    impostor = Impostor(tmp_path / "fake", guarded.bin_directory, RECORD, program=program)
    (tmp_path / "temporary").mkdir()
    outcome = run_module(
        "db_backup",
        host=Host(environment={"TMPDIR": str(tmp_path / "temporary")}),
        diff=True,
        directory=str(tmp_path / "backups"),
        databases=["postgres"],
        include_globals=True,
        **tcp_login(guarded, bin_directory=str(impostor.bin_directory)),
    )
    assert outcome.outcomes == ["created", "created"]
    assert "127.0.0.1" in (impostor.notes / "argv").read_text()
    assert "PGPASSFILE=/dev/fd/" in (impostor.notes / "environment").read_text()
    assert PASSWORD not in outcome.stdout + outcome.stderr
    assert "quo:ted" not in outcome.stdout + outcome.stderr  # nor escaped in some way
    assert_nowhere(PASSWORD, tmp_path)
    assert_nowhere("quo:ted", tmp_path)


def test_a_wrong_password_is_an_error_that_does_not_tell_it(guarded: Server, tmp_path: Path) -> None:
    outcome = run_module(
        "db_backup", directory=str(tmp_path / "backups"), **tcp_login(guarded, login_password="wrong " + PASSWORD)
    )
    assert outcome.error_code == "authentication_failed"
    assert "login_password" in outcome.msg
    assert "quo:ted" not in outcome.stdout + outcome.stderr
    assert_nowhere("quo:ted", tmp_path)


def test_a_server_out_of_reach_is_an_error_that_does_not_tell_the_password(guarded: Server, tmp_path: Path) -> None:
    outcome = run_module("db_backup", directory=str(tmp_path / "backups"), **tcp_login(guarded, login_port=1))
    assert outcome.error_code == "connection_failed"
    assert "quo:ted" not in outcome.stdout + outcome.stderr
    assert_nowhere("quo:ted", tmp_path)


def test_the_given_password_wins_over_one_in_the_environment(guarded: Server, tmp_path: Path) -> None:
    outcome = run_module(
        "db_backup",
        host=Host(environment={"PGPASSWORD": "another"}),
        directory=str(tmp_path / "backups"),
        databases=["postgres"],
        **tcp_login(guarded),
    )
    assert outcome.outcomes == ["created"]
