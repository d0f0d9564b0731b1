"""db_restore of SQLite files: what the file has beside its content, and what a restore that was killed left of its names."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import struct
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import dump as sqlite
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import (
    SqliteDumpOptions,
    SqliteRestoreOptions,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.restore import (
    SqliteRestoration,
    SqliteRestorer,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted, SourceBusy
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED
from ansible_collections.lastgood.database.tests.support.modules import OURSELVES, Host, Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import state_of
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.processes import death_of

ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
NAMED_USER = 2034
STAMP = "20260101T000000Z"


def acl(user: int, named: int, group: int, mask: int, other: int) -> bytes:
    """An access control list with one named user. https://man7.org/linux/man-pages/man5/acl.5.html"""
    nobody = 0xFFFFFFFF
    entries = ((1, user, nobody), (2, named, NAMED_USER), (4, group, nobody), (0x10, mask, nobody), (0x20, other, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


class Notes(NamedTuple):
    """An application's database, and the directory where its backups go."""

    path: Path
    directory: Path

    def sql(self, text: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(text)

    def rows(self, path: Path | None = None) -> list[Any]:
        with contextlib.closing(sqlite3.connect(path or self.path)) as connection:
            return connection.execute("select text from note order by 1").fetchall()

    def back_up(self, *, host: Host = OURSELVES, **over: Any) -> Outcome:
        options = {"directory": str(self.directory), "databases": [str(self.path)], **over}
        return run_module("db_backup", engine="sqlite", host=host, **options)

    def restore(self, *, host: Host = OURSELVES, check: bool = False, **over: Any) -> Outcome:
        options = {"directory": str(self.directory), "database": str(self.path), "if_exists": "replace", **over}
        return run_module("db_restore", engine="sqlite", host=host, check=check, **options)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir())

    @contextlib.contextmanager
    def restoring(self, *, keep_old: bool = False, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[SqliteRestoration]:
        """A restore of another database, in this process."""
        other = self.directory.parent / "other.db"
        with contextlib.closing(sqlite3.connect(other)) as connection:
            connection.executescript("create table if not exists note (text text); insert into note values ('restored')")
        engine = SqliteRestorer(SqliteRestoreOptions(str(self.path), keep_old), is_stopped)
        with engine.restoring(Manifest(), datetime.now(timezone.utc), lambda: -1) as restoration:
            restoration.write(other.read_bytes())
            yield restoration


def give(*paths: Path) -> None:
    """Give files to the user without privileges, if we can."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)


@pytest.fixture
def notes(open_folder: Path) -> Notes:
    (open_folder / "app").mkdir()
    one = Notes(open_folder / "app" / "notes.db", open_folder / "backups")
    one.sql("create table note (text text); insert into note values ('first')")
    give(one.path.parent, one.path)
    assert one.back_up().changed
    one.sql("insert into note values ('second')")
    return one


# --- What the file has beside its content ---------------------------------------------------------


def test_an_access_control_list_comes_with_the_file(notes: Notes) -> None:
    wanted = acl(user=6, named=6, group=0, mask=6, other=0)
    os.setxattr(notes.path, ACL, wanted)
    assert stat.S_IMODE(notes.path.stat().st_mode) == 0o660  # the mask shows as the group's
    outcome = notes.restore()
    assert (outcome.changed, outcome.warnings) == (True, [])
    assert notes.rows() == [("first",)]
    assert os.getxattr(notes.path, ACL) == wanted


def test_a_list_that_can_not_be_set_is_named_and_its_mask_is_no_right_of_the_group(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    os.setxattr(notes.path, ACL, acl(user=6, named=6, group=4, mask=6, other=0))
    monkeypatch.setattr(os, "setxattr", refuse)
    with notes.restoring() as restoration:
        swapped = restoration.swap()
    assert ACL in swapped.warnings[0]
    assert stat.S_IMODE(notes.path.stat().st_mode) == 0o640


def test_a_list_that_the_folder_gives_to_new_files_is_not_taken(notes: Notes) -> None:
    os.setxattr(notes.path.parent, DEFAULT_ACL, acl(user=7, named=7, group=7, mask=7, other=0))
    notes.path.chmod(0o660)
    assert notes.restore().changed
    assert ACL not in os.listxattr(notes.path)
    assert stat.S_IMODE(notes.path.stat().st_mode) == 0o660


def test_attributes_come_with_the_file(notes: Notes) -> None:
    try:
        os.setxattr(notes.path, "user.owner", b"the team")
    except OSError:  # tmpfs has them from Linux 6.6 on
        os.setxattr(notes.path, "trusted.owner", b"the team")
    before = {name: os.getxattr(notes.path, name) for name in os.listxattr(notes.path)}
    outcome = notes.restore()
    assert (outcome.changed, outcome.warnings) == (True, [])
    assert {name: os.getxattr(notes.path, name) for name in os.listxattr(notes.path)} == before


@only_root
def test_a_group_that_the_owner_is_not_in_is_said_before_anything_is_read(notes: Notes, unprivileged: Host) -> None:
    group = 4
    give(notes.directory, *notes.directory.iterdir())
    os.chown(notes.path, UNPRIVILEGED, group)
    before = state_of(notes.path)
    for check in (True, False):
        outcome = notes.restore(host=unprivileged, check=check)
        assert outcome.error_code == "not_owner"
        assert f"the group with id {group}" in outcome.msg and "Run as root" in outcome.msg
    assert state_of(notes.path) == before
    assert notes.restore().changed  # by root
    assert notes.path.stat().st_gid == group


# --- A log that the application could not write to ------------------------------------------------


def test_a_read_only_database_in_wal_mode_is_left_without_a_log(notes: Notes, unprivileged: Host) -> None:
    notes.sql("pragma journal_mode=wal")
    give(notes.directory, *notes.directory.iterdir())
    notes.path.chmod(0o444)
    before = state_of(notes.path)
    assert notes.back_up(host=unprivileged).outcomes == ["created"]
    assert (notes.names, state_of(notes.path)) == (["notes.db"], before)
    assert notes.back_up().outcomes == ["unchanged"]
    assert (notes.names, state_of(notes.path)) == (["notes.db"], before)
    assert notes.restore(host=unprivileged).changed
    assert (notes.names, stat.S_IMODE(notes.path.stat().st_mode)) == (["notes.db"], 0o444)
    assert notes.rows() == [("first",), ("second",)]


@only_root
def test_a_read_only_database_that_is_written_to_while_it_is_read_is_an_error(
    notes: Notes, unprivileged: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.sql("pragma journal_mode=wal")
    notes.path.chmod(0o444)
    engine = sqlite.SqliteDumper(SqliteDumpOptions((str(notes.path),)), lambda: False)
    [target] = engine.survey().targets

    real = sqlite.SqliteDumper._begin

    def begin_and_write(self: sqlite.SqliteDumper, *arguments: Any) -> None:
        real(self, *arguments)
        notes.sql("insert into note values ('meanwhile')")

    monkeypatch.setattr(sqlite.SqliteDumper, "_begin", begin_and_write)
    copy = notes.directory.parent / "copy"
    with copy.open("xb"), pytest.raises(SourceBusy), engine.dumping(target, lambda: str(copy)):
        pass


# --- Names, when a restore is stopped -------------------------------------------------------------


@pytest.mark.parametrize("step", ["link", "rename", "unlink"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_wherever_a_restore_is_killed_the_old_one_has_a_name_and_the_next_leaves_no_other(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    real = getattr(os, step)

    def kill(name: str, *arguments: Any, **folders: Any) -> None:
        try:
            if when == "after":
                real(name, *arguments, **folders)
        finally:
            os._exit(9)

    def restore() -> None:
        with notes.restoring(keep_old=True) as restoration:
            monkeypatch.setattr(os, step, kill)
            restoration.swap()

    assert death_of(restore) == 9
    monkeypatch.undo()
    old = [("first",), ("second",)]
    assert old in [notes.rows(path) for path in notes.path.parent.glob("notes.db*") if not path.name.endswith("-journal")]
    replaced = notes.rows() != old
    assert notes.restore().changed
    kept = [path for path in notes.path.parent.iterdir() if path != notes.path]
    assert [notes.rows(path) for path in kept] == ([old] if replaced else [])


@pytest.mark.parametrize("keep_old", [True, False])
def test_journals_that_a_killed_restore_set_aside_come_back(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, keep_old: bool
) -> None:
    notes.path.write_bytes(b"no database at all" * 1000)
    journal = notes.path.with_name("notes.db-wal")
    journal.write_bytes(b"nor is this")
    real = os.rename

    def kill(name: str, *arguments: Any, **folders: Any) -> None:
        if "_restoring_" in name:
            os._exit(9)
        real(name, *arguments, **folders)

    def restore() -> None:
        with notes.restoring(keep_old=keep_old) as restoration:
            monkeypatch.setattr(os, "rename", kill)
            restoration.swap()

    assert death_of(restore) == 9
    assert not journal.exists()
    with notes.restoring():
        pass
    assert {"notes.db", "notes.db-wal"} <= set(notes.names) <= {"notes.db", "notes.db-wal", "notes.db-shm"}
    assert journal.read_bytes() == b"nor is this"


def test_a_second_name_is_left_while_another_restore_runs(notes: Notes) -> None:
    with notes.restoring(keep_old=True):
        second = notes.path.with_name(f"notes.db_replaced_{STAMP}")
        os.link(notes.path, second)
        with notes.restoring():
            assert second.exists()
    with notes.restoring():
        assert not second.exists()


def test_an_old_database_that_was_retained_stays(notes: Notes) -> None:
    kept = Path(notes.restore(keep_old=True).result["previous"])
    assert notes.restore().changed
    assert notes.rows(kept) == [("first",), ("second",)]


def test_a_failure_in_the_moment_of_the_swap_loses_no_name(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def swap_and_fail(name: str, *arguments: Any, **folders: Any) -> None:
        real(name, *arguments, **folders)
        raise KeyboardInterrupt

    old = [("first",), ("second",)]
    monkeypatch.setattr(SqliteRestoration, "_may_have_name", lambda self: False)  # as if it ended there, too
    with contextlib.suppress(KeyboardInterrupt), notes.restoring(keep_old=True) as restoration:
        monkeypatch.setattr(os, "rename", swap_and_fail)
        restoration.swap()
    [kept] = notes.path.parent.glob("notes.db_replaced_*")
    assert (notes.rows(), notes.rows(kept)) == ([("restored",)], old)


@pytest.mark.parametrize("exists", [True, False])
def test_a_run_that_is_over_puts_nothing_in_place(notes: Notes, exists: bool) -> None:
    if not exists:
        notes.path.unlink()
    before, names = state_of(notes.path.parent), notes.names
    with pytest.raises(Interrupted), notes.restoring(is_stopped=lambda: True, keep_old=True) as restoration:
        restoration.swap()
    assert {path: facts[-1] for path, facts in state_of(notes.path.parent).items()} == {
        path: facts[-1] for path, facts in before.items()
    }
    assert notes.names == names


@pytest.mark.parametrize("step", ["rename", "link"])
def test_a_name_that_was_given_though_an_error_says_otherwise_is_reported_as_given(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(os, step)

    def do_and_fail(*arguments: Any, **folders: Any) -> None:
        real(*arguments, **folders)
        raise OSError(errno.EIO, "Input/output error")

    if step == "link":
        notes.path.unlink()
    with notes.restoring() as restoration, monkeypatch.context() as patched:
        patched.setattr(os, step, do_and_fail)
        swapped = restoration.swap()
    assert "was restored" in swapped.warnings[0] and "Input/output error" in swapped.warnings[0]
    assert (notes.rows(), notes.names) == ([("restored",)], ["notes.db"])


@pytest.mark.parametrize("call", ["unlink", "close"])
def test_an_error_of_tidying_up_does_not_fail_a_restore_that_is_done(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(os, call)

    def fail(what: Any, **folders: Any) -> None:
        if call == "close":
            real(what)
        raise OSError(errno.EIO, "Input/output error")

    with contextlib.ExitStack() as restore:
        restoration = restore.enter_context(notes.restoring())
        restoration.swap()
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            restore.close()
    assert notes.rows() == [("restored",)]


def test_a_stale_journal_of_the_old_one_goes_with_it(notes: Notes) -> None:
    stale = notes.path.with_name("notes.db-journal")
    stale.write_bytes(bytes(512))
    give(stale)
    kept = Path(notes.restore(keep_old=True).result["previous"])
    assert notes.rows() == [("first",)]
    assert not stale.exists()
    assert notes.rows(kept) == [("first",), ("second",)]
