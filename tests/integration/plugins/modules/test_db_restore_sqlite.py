"""db_restore of real SQLite files: what comes back, and what a restore that goes wrong leaves."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.restore import (
    SqliteRestoration,
    SqliteRestorer,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import DatabaseExists, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.tests.support.interpreters import (
    UNPRIVILEGED,
    make_host_of_another_python,
    other_pythons,
)
from ansible_collections.lastgood.database.tests.support.modules import OURSELVES, Host, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import contents, payload, rewrite_manifest, state_of, wait_until
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.sqlite import plant_journal

AS_ROOT = os.geteuid() == 0
OTHER_PYTHONS = other_pythons()

in_each_journal_mode = pytest.mark.parametrize("notes", ["delete", "wal"], indirect=True)

APPLICATION = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("select * from note").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


class Notes(NamedTuple):
    """An application's database, and the directory where its backups go."""

    path: Path
    directory: Path

    def options(self, **over: Any) -> dict[str, Any]:
        return {"engine": "sqlite", "directory": str(self.directory), **over}

    def back_up(self, **over: Any) -> Outcome:
        return run_module("db_backup", **self.options(databases=[str(self.path)], **over))

    def restore(self, *, host: Host = OURSELVES, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
        options = self.options(**{"database": str(self.path), "if_exists": "replace", **over})
        return run_module("db_restore", host=host, check=check, diff=diff, **options)

    def sql(self, text: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(text)

    def read(self, path: Path | None = None) -> list[Any]:
        with contextlib.closing(sqlite3.connect(path or self.path)) as connection:
            return connection.execute("select text from note order by 1").fetchall()


@pytest.fixture
def notes(request: pytest.FixtureRequest, tmp_path: Path) -> Notes:
    """A database in WAL mode or the one asked for, with a backup of it and a change since."""
    (tmp_path / "app").mkdir()
    return make_notes(tmp_path, getattr(request, "param", "wal"))


def make_notes(folder: Path, journal_mode: str, owner: int | None = None) -> Notes:
    app = folder / "app"
    app.mkdir(exist_ok=True)
    one = Notes(app / "notes.db", folder / "backups")
    one.sql(f"pragma journal_mode={journal_mode}; create table note (text text); insert into note values ('first')")
    one.path.chmod(0o640)
    if owner is not None:
        os.chown(app, owner, owner)
        os.chown(one.path, owner, owner)
    assert one.back_up().changed
    one.sql("insert into note values ('second')")
    return one


def test_an_origin_selects_among_backups_of_one_name(notes: Notes) -> None:
    notes.back_up(origin="db7")
    notes.sql("insert into note values ('third')")
    notes.back_up(origin="db8")
    outcome = notes.restore()
    assert outcome.error_code == "backup_ambiguous"
    assert "origin db7" in outcome.msg and "origin db8" in outcome.msg
    assert notes.restore(origin="db7").changed
    assert notes.read() == [("first",), ("second",)]


def test_an_instance_is_selected_by_its_identifier_or_its_source(notes: Notes) -> None:
    older = payload(notes.directory)
    rewrite_manifest(older, origin="db7", instance="7300000000000000001", source="/run/postgresql:5432")
    assert notes.back_up().changed
    outcome = notes.restore()
    assert outcome.error_code == "backup_ambiguous"
    assert f"{older.name} is of origin db7, source /run/postgresql:5432, instance 7300000000000000001" in outcome.msg
    for instance in ("7300000000000000001", "/run/postgresql:5432"):
        assert notes.restore(instance=instance).result["restored"]["filename"] == older.name


def test_an_origin_or_instance_without_backups_is_an_error_that_says_which_have_some(notes: Notes) -> None:
    for over in ({"origin": "db9"}, {"instance": "/elsewhere.db"}):
        outcome = notes.restore(**over)
        assert outcome.error_code == "backup_missing"
        assert payload(notes.directory).name in outcome.msg and str(notes.path) in outcome.msg
        assert notes.restore(backup=payload(notes.directory).name, **over).error_code == "argument_invalid"


@contextlib.contextmanager
def opened(path: Path, code: str = APPLICATION) -> Iterator[subprocess.Popen[str]]:
    """An application that has the database open."""
    command = (sys.executable, "-c", code, str(path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def as_it_was(notes: Notes) -> Iterator[None]:
    before = contents(notes.path.parent), notes.path.stat().st_ino, notes.path.stat().st_mode
    yield
    assert (contents(notes.path.parent), notes.path.stat().st_ino, notes.path.stat().st_mode) == before


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_what_was_backed_up_comes_back_with_owner_and_mode(open_folder: Path, journal_mode: str) -> None:
    notes = make_notes(open_folder, journal_mode, UNPRIVILEGED if AS_ROOT else None)
    facts = notes.path.stat()
    outcome = notes.restore()
    assert outcome.changed
    assert outcome.result["restored"]["filename"] == payload(notes.directory).name
    assert notes.read() == [("first",)]
    after = notes.path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (facts.st_uid, facts.st_gid, facts.st_mode)
    assert sorted(path.name for path in notes.path.parent.iterdir()) == ["notes.db"]


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_so_it_is_with_every_compression(notes: Notes, compression: str) -> None:
    name = notes.back_up(compression=compression).backups[0]["filename"]
    notes.sql("delete from note")
    assert notes.restore(backup=name).changed
    assert notes.read() == [("first",), ("second",)]


def test_one_that_is_not_there_is_made_for_its_owner_alone(notes: Notes) -> None:
    other = notes.path.with_name("other.db")
    outcome = notes.restore(database=str(other), source_database="notes.db", if_exists="fail")
    assert outcome.changed
    assert notes.read(other) == [("first",)]
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert notes.read() == [("first",), ("second",)]


def test_one_that_is_there_is_an_error_unless_told_what_to_do(notes: Notes) -> None:
    with as_it_was(notes):
        assert notes.restore(if_exists="fail").error_code == "database_exists"
        assert notes.restore(if_exists="keep").changed is False


@in_each_journal_mode
def test_the_old_one_is_kept_with_all_that_was_in_its_journal(notes: Notes) -> None:
    killed = (
        "import os; connection.execute(\"insert into note values ('third')\"); print('open', flush=True); os.kill(os.getpid(), 9)"
    )
    with opened(notes.path, APPLICATION.replace('print("open", flush=True)', killed)) as process:
        process.wait()
    outcome = notes.restore(keep_old=True)
    assert outcome.changed
    assert notes.read(Path(outcome.result["previous"])) == [("first",), ("second",), ("third",)]
    assert notes.read() == [("first",)]


def test_two_old_ones_can_be_kept_of_one_second(notes: Notes) -> None:
    kept = [notes.restore(keep_old=True).result["previous"] for _time in range(3)]
    assert len(set(kept)) == 3
    assert [notes.read(Path(path)) for path in kept] == [[("first",), ("second",)], [("first",)], [("first",)]]


@in_each_journal_mode
def test_a_journal_that_was_left_does_not_come_into_the_restored_one(notes: Notes) -> None:
    killed = (
        "import os; connection.execute(\"insert into note values ('third')\"); print('open', flush=True); os.kill(os.getpid(), 9)"
    )
    with opened(notes.path, APPLICATION.replace('print("open", flush=True)', killed)) as process:
        process.wait()
    assert notes.restore().changed
    assert notes.read() == [("first",)]
    assert sorted(path.name for path in notes.path.parent.iterdir()) == ["notes.db"]


@in_each_journal_mode
@pytest.mark.parametrize("keep_old", [False, True])
def test_a_database_that_is_broken_is_replaced_and_its_journals_with_it(notes: Notes, keep_old: bool) -> None:
    broken = b"no database at all" * 1000
    notes.path.write_bytes(broken)
    for ending in ("-wal", "-journal"):
        notes.path.with_name(notes.path.name + ending).write_bytes(b"nor is this")
    outcome = notes.restore(keep_old=keep_old)
    assert outcome.changed
    assert notes.read() == [("first",)]
    if keep_old:
        previous = Path(outcome.result["previous"])
        assert previous.read_bytes() == broken
        assert previous.with_name(previous.name + "-wal").read_bytes() == b"nor is this"
    else:
        assert sorted(path.name for path in notes.path.parent.iterdir()) == ["notes.db"]


@contextlib.contextmanager
def swapping(notes: Notes, folder: Path, *, keep_old: bool = False) -> Iterator[SqliteRestoration]:
    """A restore in this process that is about to put another database in place."""
    with contextlib.closing(sqlite3.connect(folder / "restored.db")) as connection:
        connection.executescript("create table note (text text); insert into note values ('restored')")
    engine = SqliteRestorer(SqliteRestoreOptions(str(notes.path), keep_old), lambda: False)
    with engine.restoring(Manifest(), datetime.now(timezone.utc), lambda: -1) as restoration:
        restoration.write((folder / "restored.db").read_bytes())
        yield restoration


@in_each_journal_mode
def test_the_old_one_survives_what_goes_wrong_after_the_swap(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with swapping(notes, tmp_path, keep_old=True) as restoration:
        monkeypatch.setattr(os, "fsync", refuse)
        swapped = restoration.swap()
    assert "Input/output error" in swapped.warnings[-1]
    [kept] = notes.path.parent.glob("notes.db_replaced_*")
    assert str(kept) == swapped.previous
    assert sorted(path.name for path in notes.path.parent.iterdir()) == ["notes.db", kept.name]
    assert (notes.read(), notes.read(kept)) == ([("restored",)], [("first",), ("second",)])


@pytest.mark.parametrize("notes", ["delete"], indirect=True)  # in WAL mode it is another file, with the same in it
@pytest.mark.parametrize("keep_old", [False, True])
@pytest.mark.parametrize("broken", [False, True])
def test_a_name_that_is_refused_leaves_all_as_it_was(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_old: bool, broken: bool
) -> None:
    real = os.rename

    def refuse(name: str, new_name: str, **folders: int) -> None:
        if "_restoring_" in name:
            raise OSError(errno.EIO, "Input/output error")
        real(name, new_name, **folders)

    if broken:
        notes.path.write_bytes(b"no database at all" * 1000)
    with as_it_was(notes), swapping(notes, tmp_path, keep_old=keep_old) as restoration, monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        with pytest.raises(StoreFailed, match="Renaming"):
            restoration.swap()


def test_one_that_comes_into_being_during_the_restore_is_not_replaced(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, data = os.link, notes.path.read_bytes()

    def lose_the_race(*arguments: Any, **options: Any) -> None:
        notes.path.write_bytes(data)
        real(*arguments, **options)

    notes.path.unlink()
    with swapping(notes, tmp_path) as restoration:
        monkeypatch.setattr(os, "link", lose_the_race)
        with pytest.raises(DatabaseExists):
            restoration.swap()
    assert notes.read() == [("first",), ("second",)]
    assert sorted(path.name for path in notes.path.parent.iterdir()) == ["notes.db"]


def test_a_file_system_without_links_takes_a_new_one_all_the_same(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    notes.path.unlink()
    with swapping(notes, tmp_path) as restoration:
        monkeypatch.setattr(os, "link", refuse)
        restoration.swap()
    assert notes.read() == [("restored",)]
    assert sorted(path.name for path in notes.path.parent.iterdir()) == ["notes.db"]


@only_root
def test_a_journal_that_was_planted_makes_root_remove_nothing(tmp_path: Path, open_folder: Path) -> None:
    notes = make_notes(open_folder, "delete", UNPRIVILEGED)
    victim = plant_journal(notes.path, tmp_path / "victim")
    notes.restore()
    assert victim.exists()


@in_each_journal_mode
def test_an_application_that_has_it_open_is_named_in_the_error(notes: Notes) -> None:
    with opened(notes.path) as process, as_it_was(notes):
        for check in (True, False):
            outcome = notes.restore(check=check)
            assert outcome.error_code == "database_in_use"
            assert f"process {process.pid}" in outcome.msg


@pytest.mark.skipif(not AS_ROOT, reason="only root can run as two users")
def test_an_application_that_can_not_be_seen_is_told_by_its_lock(notes: Notes, unprivileged: Host, open_folder: Path) -> None:
    path = open_folder / "notes.db"
    path.write_bytes(notes.path.read_bytes())
    os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    notes.directory.chmod(0o777)
    for one in notes.directory.iterdir():
        one.chmod(0o644)
    code = APPLICATION.replace('print("open"', 'connection.execute("begin exclusive"); print("open"')
    one = Notes(path, open_folder / "backups")
    one.directory.mkdir()
    for file in notes.directory.glob("backup_*"):
        (one.directory / file.name).write_bytes(file.read_bytes())
    os.chown(one.directory, UNPRIVILEGED, UNPRIVILEGED)
    for file in one.directory.iterdir():
        os.chown(file, UNPRIVILEGED, UNPRIVILEGED)
    with opened(path, code), as_it_was(one):
        outcome = one.restore(host=unprivileged)
    assert outcome.error_code == "database_in_use"


def test_check_mode_changes_nothing_and_diff_says_what_comes(notes: Notes, tmp_path: Path) -> None:
    before = state_of(tmp_path)
    outcome = notes.restore(check=True, diff=True)
    assert outcome.changed
    assert payload(notes.directory).name in outcome.result["diff"]["after"]
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("place", [0, 0.5, -1], ids=["start", "middle", "end"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_one_bit_is_enough_to_refuse_a_backup(notes: Notes, compression: str, place: float) -> None:
    path = Path(notes.back_up(compression=compression).backups[0]["path"])
    data = bytearray(path.read_bytes())
    data[int(len(data) * place) if place == 0.5 else int(place)] ^= 1
    path.write_bytes(data)
    with as_it_was(notes):
        assert notes.restore(backup=path.name).error_code == "payload_corrupt"


def test_a_database_that_was_broken_when_it_was_backed_up_is_refused(notes: Notes, tmp_path: Path) -> None:
    notes.sql(
        "create table many as with recursive c(n) as (select 1 union all select n + 1 from c where n < 5000) select n from c"
    )
    notes.sql("pragma journal_mode=delete")
    data = bytearray(notes.path.read_bytes())
    data[4096 * 3 : 4096 * 4] = bytes(4096)
    notes.path.write_bytes(data)
    name = notes.back_up().backups[0]["filename"]
    with as_it_was(notes):
        outcome = notes.restore(backup=name)
    assert outcome.error_code == "content_invalid"
    assert "SQLite says" in outcome.msg


def test_what_a_killed_restore_left_is_removed_by_the_next(notes: Notes) -> None:
    left = notes.path.with_name(f".{notes.path.name}_restoring_20260101T000000Z")
    left.write_bytes(b"half of it")
    other = notes.path.with_name(f".{notes.path.name}_restoring_of_mine")
    other.write_bytes(b"mine")
    outcome = notes.restore()
    assert outcome.changed
    assert any(str(left) in warning for warning in outcome.warnings)
    assert not left.exists()
    assert other.exists()


def test_a_restore_that_is_killed_leaves_the_database_and_its_remains_go_with_the_next(notes: Notes) -> None:
    notes.sql(
        "create table noise as with recursive c(n) as (select 1 union all select n + 1 from c where n < 60)"
        " select randomblob(1000000) as raw from c"
    )
    assert notes.back_up(compression="none").changed
    before = contents(notes.path.parent)
    with running_module("db_restore", **notes.options(database=str(notes.path), if_exists="replace")) as process:
        wait_until(lambda: len(list(notes.path.parent.glob(".*_restoring_*"))) == 1 or process.ended)
        process.kill()
    [left] = notes.path.parent.glob(".*_restoring_*")
    assert {name: digest for name, digest in contents(notes.path.parent).items() if name != left.name} == before
    outcome = notes.restore()
    assert any(left.name in warning for warning in outcome.warnings)
    assert not left.exists()


def test_a_disk_without_room_is_told_before_the_start_and_one_that_fills_up_leaves_all_as_it_was(
    notes: Notes, small_disk: Callable[[str], Path]
) -> None:
    notes.sql("create table noise as select zeroblob(2000000) as raw")
    notes.back_up()
    small = small_disk("size=1m") / "notes.db"
    small.write_bytes(b"")
    tight = notes._replace(path=small)
    with as_it_was(tight):
        assert tight.restore().error_code == "no_space"
        rewrite_manifest(sorted(notes.directory.glob("backup_*.gz"))[-1], content_bytes=None)
        assert tight.restore().error_code == "no_space"


@pytest.mark.parametrize("option", ["terminate_sessions", "include_globals", "no_owner"])
def test_what_means_nothing_for_sqlite_is_refused(notes: Notes, option: str) -> None:
    with as_it_was(notes):
        assert notes.restore(**{option: True}).error_code == "argument_invalid"


def test_a_link_and_a_directory_are_refused(notes: Notes) -> None:
    link = notes.path.with_name("link.db")
    link.symlink_to(notes.path)
    outcome = notes.restore(database=str(link), source_database="notes.db")
    assert outcome.error_code == "source_invalid"
    assert str(notes.path) in outcome.msg
    outcome = notes.restore(database=str(notes.directory), source_database="notes.db")
    assert outcome.error_code == "source_invalid"
    assert notes.restore(database="notes.db").error_code == "source_invalid"


@pytest.mark.skipif(not AS_ROOT, reason="only root can give files away")
def test_a_file_of_somebody_elses_is_refused(notes: Notes, unprivileged: Host, open_folder: Path) -> None:
    path = open_folder / "notes.db"
    path.write_bytes(b"")
    one = Notes(path, open_folder / "backups")
    one.directory.mkdir()
    for file in notes.directory.glob("backup_*"):
        (one.directory / file.name).write_bytes(file.read_bytes())
        (one.directory / file.name).chmod(0o644)
    assert one.restore(host=unprivileged).error_code == "not_owner"


@pytest.mark.parametrize("python", [path for _name, path in OTHER_PYTHONS], ids=[name for name, _path in OTHER_PYTHONS])
def test_it_works_with_every_python(notes: Notes, tmp_path: Path, python: Path) -> None:
    (tmp_path / "imports").mkdir()
    assert notes.restore(host=make_host_of_another_python(python, tmp_path / "imports")).changed
    assert notes.read() == [("first",)]
