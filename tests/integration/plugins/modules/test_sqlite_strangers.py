"""db_backup and db_restore of SQLite files by root, in folders of users who want more than is theirs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import opening
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import find_file, opened
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.owner import as_owner
from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceInvalid
from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import contents, payloads, state_of
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.processes import death_of

STRANGER = 2034
VICTIM = 2035
SECRET = "of the victim"

pytestmark = only_root


class Place(NamedTuple):
    """A stranger's home, which has an application and the backups that root makes for them, and a victim's database."""

    home: Path
    victim: Path

    @property
    def database(self) -> Path:
        return self.home / "app" / "app.db"

    @property
    def directory(self) -> Path:
        return self.home / "backups"

    def back_up(self, path: Path | None = None, **over: Any) -> Outcome:
        databases = [str(path or self.database)]
        options = {"compression": "none", "lock_timeout": "1s", **over}
        return run_module("db_backup", engine="sqlite", directory=str(self.directory), databases=databases, **options)

    def restore(self, path: Path | None = None, **over: Any) -> Outcome:
        options = {"if_exists": "replace", "source_database": "app.db", **over}
        database = str(path or self.database)
        return run_module("db_restore", engine="sqlite", directory=str(self.directory), database=database, **options)


def make_database(path: Path, owner: int, text: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"create table t (body); insert into t values ('{text}')")
    os.chown(path, owner, owner)
    path.chmod(0o600)
    return path


@pytest.fixture(params=[0, VICTIM], ids=["of root", "of a user"])
def place(request: pytest.FixtureRequest, open_folder: Path) -> Place:
    home, theirs = open_folder / "home", open_folder / "theirs"
    os.chown(open_folder, 0, 0)
    for folder, owner in ((home, STRANGER), (home / "app", STRANGER), (theirs, request.param)):
        folder.mkdir(mode=0o755)
        os.chown(folder, owner, owner)
    victim = make_database(theirs / "app.db", request.param, SECRET)
    return Place(home, victim)


def is_secret_out(place: Place) -> bool:
    return any(SECRET.encode() in path.read_bytes() for path in payloads(place.directory))


@contextlib.contextmanager
def swapping(place: Place) -> Iterator[None]:
    """A stranger who makes their file a link to the victim's, and back, as fast as they can."""
    make_database(place.home / "app" / "mine.db", STRANGER, "mine")
    code = f"""
import os
os.chdir({str(place.home / "app")!r})
while True:
    os.link("mine.db", "new")
    os.rename("new", "app.db")
    os.symlink({str(place.victim)!r}, "new")
    os.rename("new", "app.db")
"""
    command = ("/usr/bin/env", "python3", "-c", code)
    with subprocess.Popen(command, user=STRANGER, group=STRANGER, extra_groups=[], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)


# --- What is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setter", [0, STRANGER])
def test_a_link_in_a_stranger_s_folder_does_not_lead_to_a_victim_s_database(place: Place, setter: int) -> None:
    place.database.symlink_to(place.victim)
    os.lchown(place.database, setter, setter)
    outcome = place.back_up()
    assert outcome.error_code == "source_invalid"
    assert str(place.victim) in outcome.msg and "without links" in outcome.msg
    assert not place.directory.exists() or payloads(place.directory) == []


def test_nor_does_a_link_that_is_a_folder_on_the_way(place: Place) -> None:
    link = place.home / "link"
    link.symlink_to(place.victim.parent)
    os.lchown(link, STRANGER, STRANGER)
    assert place.back_up(link / "app.db").error_code == "source_invalid"
    assert place.back_up(link / ".." / "theirs" / "app.db").error_code == "source_invalid"


def test_nor_does_a_second_name_of_it(place: Place) -> None:
    os.link(place.victim, place.database)
    outcome = place.back_up()
    assert outcome.error_code == "source_invalid"
    assert not place.directory.exists() or payloads(place.directory) == []


def test_a_race_for_the_name_brings_nothing_but_the_stranger_s_own(place: Place) -> None:
    with swapping(place):
        outcomes = [place.back_up(skip_unchanged=False) for _time in range(12)]
    assert {one.error_code for one in outcomes} <= {None, "source_invalid", "database_missing"}
    assert not is_secret_out(place)


def test_a_link_of_root_s_is_followed(place: Place, open_folder: Path) -> None:
    link = open_folder / "app.db"
    link.symlink_to(make_database(place.database, STRANGER, "mine"))
    outcome = place.back_up(link)
    assert outcome.outcomes == ["created"]
    assert outcome.backups[0]["instance"] == str(place.database)


def test_so_is_a_link_of_the_owner_s_own(place: Place) -> None:
    make_database(place.home / "real.db", STRANGER, "mine")
    place.database.symlink_to(place.home / "real.db")
    os.lchown(place.database, STRANGER, STRANGER)
    assert place.back_up().outcomes == ["created"]


def test_a_file_that_is_swapped_before_it_is_opened_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    make_database(place.database, STRANGER, "mine")
    other = make_database(place.home / "other.db", STRANGER, "another")
    file = find_file(str(place.database))
    real = opening.connect

    def swap_and_connect(path: str, parameters: str) -> sqlite3.Connection:
        other.rename(place.database)
        return real(path, parameters)

    monkeypatch.setattr(opening, "connect", swap_and_connect)
    with pytest.raises(SourceInvalid, match="replaced by another file"), opened(file):
        pass


def test_work_as_the_owner_has_the_owner_s_rights_and_no_others(place: Place, open_folder: Path) -> None:
    secret = open_folder / "root.txt"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    theirs = make_database(place.database, STRANGER, "mine")

    def look() -> str:
        assert theirs.read_bytes()
        with pytest.raises(PermissionError):
            secret.read_text()
        with pytest.raises(PermissionError):
            os.chown(theirs, 0, 0)
        return Path("/proc/thread-self/status").read_text()

    status = dict(line.split(":\t", 1) for line in as_owner(theirs.stat(), str(theirs.parent), look).splitlines())
    assert int(status["CapEff"], 16) == 0
    assert status["Uid"].split()[3] == status["Gid"].split()[3] == str(STRANGER)
    assert set(status["Groups"].split()) <= {str(STRANGER)}
    assert secret.read_text() == SECRET  # and we are root again


def test_the_groups_of_the_process_can_be_set_as_soon_as_the_work_is_done(place: Place) -> None:
    theirs = make_database(place.database, STRANGER, "mine")

    def work_again_and_again() -> None:
        for _time in range(300):
            as_owner(theirs.stat(), str(theirs.parent), os.getpid)

    assert death_of(work_again_and_again) == 0


def test_a_group_of_the_host_is_not_a_right_of_a_user_whom_the_host_does_not_know(place: Place, open_folder: Path) -> None:
    of_group = open_folder / "group.txt"
    of_group.write_text(SECRET)
    os.chown(of_group, 0, 4)
    of_group.chmod(0o640)
    theirs = make_database(place.database, STRANGER, "mine")
    os.chown(theirs, STRANGER, 4)  # as in a folder that hands its group on

    def look() -> None:
        with pytest.raises(PermissionError):
            of_group.read_text()

    as_owner(theirs.stat(), str(theirs.parent), look)


# --- What is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_a_restore_is_not_led_to_a_victim_s_folder_by_a_link(place: Place, exists: bool) -> None:
    make_database(place.database, STRANGER, "mine")
    assert place.back_up().changed
    link = place.home / "link"
    link.symlink_to(place.victim.parent)
    os.lchown(link, STRANGER, STRANGER)
    before = state_of(place.victim.parent)
    outcome = place.restore(link / ("app.db" if exists else "new.db"))
    assert outcome.error_code == "source_invalid"
    assert state_of(place.victim.parent) == before


def test_a_restore_over_a_second_name_of_a_victim_s_file_is_refused(place: Place) -> None:
    make_database(place.database, STRANGER, "mine")
    assert place.back_up().changed
    place.database.unlink()
    os.link(place.victim, place.database)
    before = contents(place.victim.parent)
    assert place.restore().error_code == "source_invalid"
    assert contents(place.victim.parent) == before


def test_a_restore_by_root_leaves_the_owner_s_database_to_them(place: Place) -> None:
    make_database(place.database, STRANGER, "mine")
    assert place.back_up().changed
    assert place.restore(keep_old=True).changed
    facts = place.database.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (STRANGER, STRANGER, 0o600)


def test_a_race_for_the_name_lets_a_restore_write_nothing_of_the_victim_s(place: Place) -> None:
    make_database(place.database, STRANGER, "mine")
    assert place.back_up().changed
    before = contents(place.victim.parent)
    with swapping(place):
        outcomes = [place.restore() for _time in range(8)]
    assert all(one.status == 0 or one.error_code in ("source_invalid", "store_failed", "database_in_use") for one in outcomes)
    assert contents(place.victim.parent) == before
