"""db_backup when something goes wrong in the middle: earlier backups stay, nothing half is left, the result is true."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.impostor import HALF, Impostor
from ansible_collections.lastgood.database.tests.support.modules import ModuleProcess, run_module
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    contents,
    manifest,
    payload,
    payloads,
    runs,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on

# The one database whose dump waits; the others are dumped at once.
HOLD_ONE = """
if any("{database}'" in argument for argument in arguments):
    note("started")
    wait_for("go")
go_on()
"""


@contextlib.contextmanager
def half_dumped(site: Site, folder: Path) -> Iterator[tuple[ModuleProcess, Impostor]]:
    """A run whose pg_dump has written a part of a large database, and waits for ``say("go")``."""
    site.grow(6)
    impostor = Impostor(folder, site.server.bin_directory, HALF.format(count=1 << 20))
    with site.backing_up(bin_directory=str(impostor.bin_directory)) as process:
        impostor.wait_for("half", unless=lambda: process.ended)
        yield process, impostor
        impostor.say("go")


# --- Ended by a signal ----------------------------------------------------------------------------


def test_a_run_that_is_told_to_stop_tells_what_it_had_stored_by_then(site: Site, tmp_path: Path) -> None:
    with database_on(site.server) as second, database_on(site.server) as third:
        script = HOLD_ONE.format(database=second)
        impostor = Impostor(tmp_path / "fake", site.server.bin_directory, script)
        options = {"databases": [site.database, second, third], "bin_directory": str(impostor.bin_directory)}
        with site.backing_up(**options) as process:
            impostor.wait_for("started", unless=lambda: process.ended)
            process.send_signal(signal.SIGTERM)
            outcome = process.wait()
        assert outcome.error_code == "interrupted"
        assert outcome.result["error"]["signal"] == signal.SIGTERM
        assert outcome.result["changed"] is True
        assert outcome.outcomes == ["created", "failed", "failed"]
        assert {record["error"]["code"] for record in outcome.backups[1:]} == {"interrupted"}
        assert [path.name for path in payloads(site.directory)] == [outcome.backups[0]["filename"]]
        assert_whole(site.directory)
        wait_until(lambda: not runs(impostor.pid()))


def test_a_run_that_waits_for_the_directorys_lock_can_be_told_to_stop(site: Site) -> None:
    site.back_up()
    lock = os.open(site.directory / ".lastgood.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with site.backing_up(lock_timeout="1w") as process:
            wait_until(lambda: has_open(process, site.directory / ".lastgood.lock"))
            process.send_signal(signal.SIGTERM)
            assert process.wait().error_code == "interrupted"
    finally:
        os.close(lock)
    assert_whole(site.directory)


def has_open(process: ModuleProcess, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(os.path.realpath(one) == str(path) for one in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


def test_a_run_that_nobody_listens_to_any_more_still_ends_with_a_whole_backup(site: Site, tmp_path: Path) -> None:
    # As when the connection that started it is gone.
    with half_dumped(site, tmp_path / "fake") as (process, impostor):
        process.close_output()
        impostor.say("go")
        wait_until(lambda: process.ended)
    assert len(payloads(site.directory)) == 1
    assert_whole(site.directory)
    assert site.back_up().outcomes == ["unchanged"]


# --- The server in the middle of a dump -----------------------------------------------------------

END_OF_PG_DUMP = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pg_dump'"


@pytest.mark.parametrize(
    "harm",
    [
        lambda site: site.server.psql(END_OF_PG_DUMP),
        lambda site: site.server.psql(f'drop database "{site.database}" with (force)'),
    ],
    ids=["its connection is ended", "the database is dropped"],
)
def test_a_dump_that_loses_its_database_fails_and_leaves_all_as_it_was(
    site: Site, tmp_path: Path, harm: Callable[[Site], object]
) -> None:
    site.back_up()
    earlier = contents(site.directory)
    with half_dumped(site, tmp_path / "fake") as (process, impostor):
        harm(site)
        impostor.say("go")
        outcome = process.wait()
    assert outcome.error_code == "program_failed"
    assert "PQgetCopyData() failed" in outcome.msg
    assert outcome.result["changed"] is False
    assert contents(site.directory) == earlier
    assert_whole(site.directory)


# --- What a failed run still says and leaves ------------------------------------------------------


def test_what_was_swept_is_told_though_the_backup_then_fails(site: Site, tmp_path: Path) -> None:
    site.directory.mkdir(mode=0o700)
    partial = f".backup_{site.database}_2026-01-01_00-00-00.dump.gz.partial"
    (site.directory / partial).touch()
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, "sys.exit(1)")
    outcome = site.back_up(bin_directory=str(impostor.bin_directory))
    assert outcome.error_code == "program_failed"
    assert any(partial in warning for warning in outcome.warnings)
    assert contents(site.directory) == {}


def test_a_rotten_backup_is_not_written_off_before_there_is_another(site: Site, small_disk: Callable[[str], Path]) -> None:
    # The directory itself, the lock, the first payload and its manifest; one more, and that is the second's partial.
    site = site._replace(directory=small_disk("size=3m,nr_inodes=5"))
    site.back_up()
    old = payload(site.directory)
    rotten = bytearray(old.read_bytes())
    rotten[-1] ^= 1
    old.write_bytes(rotten)
    earlier = contents(site.directory)
    assert site.back_up().error_code == "no_space"
    assert contents(site.directory) == earlier
    assert manifest(old)["verification"] is None


def test_a_failure_has_only_what_failed_in_full_unless_asked_for_more(tmp_path: Path) -> None:
    good = tmp_path / "good.db"
    with contextlib.closing(sqlite3.connect(good)) as database:
        database.execute("create table t (n)")
    options = {
        "engine": "sqlite",
        "directory": str(tmp_path / "backups"),
        "databases": [str(good), str(tmp_path / "no.db")],
        "origin": "db1",
    }
    outcome = run_module("db_backup", options)
    short, failed = outcome.backups
    assert (short["outcome"], short["database"], failed["outcome"]) == ("created", "good.db", "failed")
    assert short["size_bytes"] > 0 and short["filename"].startswith("backup_good.db_")
    assert "payload_sha256" not in short and "path" not in short
    assert "no.db" in failed["msg"] and failed["error"]["code"] == "database_missing"
    whole, _failed = run_module("db_backup", {**options, "_ansible_verbosity": 1}).backups
    assert whole.keys() > short.keys() and whole["payload_sha256"]
