"""A real directory as a store: what it makes, what it refuses, and what it never follows."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    DirectoryMissing,
    DirectoryNotWritable,
    DirectoryUnusable,
    FileForbidden,
    FileMissing,
    Interrupted,
    Locked,
    LocksUnavailable,
    NoSpace,
    NotADirectory,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES, write_all
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import Store
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.lock_file import LOCK_NAME
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.observe import state_of
from ansible_collections.lastgood.database.tests.support.places import (
    AS_ROOT,
    common_directory,
    only_root,
    tiny_file_system,
)
from ansible_collections.lastgood.database.tests.support.processes import (
    HANGS_AFTER_SECONDS,
    UNPRIVILEGED,
    as_unprivileged,
    child,
    hear,
    in_child,
)

NAME = "backup_app_2026-02-28_12-00-00.dump.gz"
LONG = HANGS_AFTER_SECONDS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


@pytest.fixture
def common() -> Iterator[Path]:
    with common_directory() as path:
        yield path


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    with tiny_file_system(tmp_path / "tiny") as path:
        yield path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def is_free(store: LocalStore) -> bool:
    """Whether nobody holds the lock: it is taken, and given back at once."""
    try:
        with store.lock(0):
            return True
    except Locked:
        return False


def refusal(work: Callable[[], object], kind: type[BackupError]) -> str:
    """What is said by the error that doing so ends with."""
    with pytest.raises(kind) as caught:
        work()
    assert caught.value.__class__ is kind
    assert caught.value.remedy
    return str(caught.value)


def put(store: LocalStore, name: str, data: bytes = b"data") -> None:
    descriptor = store.create(name)
    try:
        write_all(descriptor, data)
        store.finish(descriptor)
    finally:
        os.close(descriptor)


def whole(store: LocalStore, name: str) -> bytes:
    return b"".join(bytes(chunk) for chunk in store.chunks(name))


def is_a_store(store: Store) -> Store:
    return store


def make_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"elsewhere")
    path.symlink_to(target)


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    # A socket's own path has to be short, shorter than those that tests are given.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{folder}/socket")
        os.rename(f"{folder}/socket", path)


NO_FILES: list[Callable[[Path], None]] = [make_link, make_dangling_link, make_fifo, make_socket, Path.mkdir]


class TestTheDirectory:
    """The place itself."""

    def test_one_that_is_missing_is_not_there_and_asking_makes_nothing(self, tmp_path: Path) -> None:
        store = LocalStore(str(tmp_path / "a" / "b"))
        assert not store.exists()
        store.check()
        assert list(tmp_path.iterdir()) == []
        assert "does not exist" in refusal(store.names, DirectoryMissing)

    def test_one_that_is_missing_is_made_with_those_above_it_for_their_owner_alone(self, tmp_path: Path) -> None:
        old = os.umask(0)
        try:
            store = LocalStore(str(tmp_path / "a" / "b" / "c"))
            store.ensure()
        finally:
            os.umask(old)
        assert store.exists()
        assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3

    def test_one_that_is_there_stays_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir(mode=0o750)
        before = state_of(tmp_path)
        LocalStore(str(tmp_path / "there"), FileAttributes(mode=0o640)).ensure()
        assert state_of(tmp_path) == before

    def test_one_that_appears_after_it_was_missing_is_seen(self, tmp_path: Path) -> None:
        store = LocalStore(str(tmp_path / "later"))
        assert not store.exists()
        (tmp_path / "later").mkdir()
        assert store.exists()
        assert store.names() == []

    def test_a_file_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("text")
        store = LocalStore(str(tmp_path / "file"))
        for work in (store.exists, store.ensure, store.check, store.names):
            assert "is not a directory" in refusal(work, NotADirectory)
        assert (tmp_path / "file").read_text() == "text"

    def test_a_file_above_it_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("text")
        with pytest.raises((DirectoryUnusable, StoreFailed)):
            LocalStore(str(tmp_path / "file" / "below")).ensure()

    @pytest.mark.parametrize("ending", ["", "/", "//", "/.", "/./"])
    def test_a_link_is_refused_however_it_is_written_and_says_where_it_leads(self, tmp_path: Path, ending: str) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        store = LocalStore(f"{tmp_path}/link{ending}")
        for work in (store.exists, store.ensure, store.check, store.names):
            message = refusal(work, DirectoryUnusable)
            assert "is a link" in message
            assert str(tmp_path / "real") in message
        assert list((tmp_path / "real").iterdir()) == []

    @pytest.mark.parametrize("target", ["nowhere", "file", "link"])
    def test_a_link_to_no_directory_is_refused_and_nothing_is_made(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "file").write_text("text")
        (tmp_path / "link").symlink_to(target)
        store = LocalStore(str(tmp_path / "link"))
        for work in (store.exists, store.ensure):
            assert "is a link" in refusal(work, DirectoryUnusable)
        assert not (tmp_path / "nowhere").exists()

    def test_dots_and_slashes_are_tidied_before_anybody_looks(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        store = LocalStore(f"{tmp_path}/missing/..//./real/")
        assert store.location == str(tmp_path / "real")
        assert store.exists()
        assert store.path(NAME) == str(tmp_path / "real" / NAME)
        assert not (tmp_path / "missing").exists()

    def test_dots_do_not_lead_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "near").mkdir()
        (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "away")
        store = LocalStore(f"{tmp_path}/near/link/../new")
        store.ensure()
        assert store.location == str(tmp_path / "near" / "new")
        assert (tmp_path / "near" / "new").is_dir()
        assert not (tmp_path / "far" / "new").exists()

    def test_what_happens_to_the_path_leads_no_write_astray(self, tmp_path: Path) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "trap").mkdir()
        store = LocalStore(str(tmp_path / "here"))
        assert store.exists()
        (tmp_path / "here").rename(tmp_path / "moved")
        (tmp_path / "here").symlink_to("trap")
        put(store, NAME)
        with store.lock(0):
            store.replace("x", b"x")
        assert list((tmp_path / "trap").iterdir()) == []
        assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == [LOCK_NAME, NAME, "x"]

    def test_one_that_may_not_be_written_to_can_be_read_but_not_used(self, common: Path) -> None:
        (common / NAME).write_bytes(b"data")
        common.chmod(0o555)

        def look() -> tuple[list[str], str, str]:
            store = LocalStore(str(common))
            assert store.exists()
            return store.names(), refusal(store.check, DirectoryNotWritable), refusal(store.ensure, DirectoryNotWritable)

        names, *messages = as_unprivileged(look)
        assert names == [NAME]
        for message in messages:
            assert "may not write to" in message
            assert str(common) in message

    def test_one_that_may_not_be_opened_says_so(self, common: Path) -> None:
        place = common / "private"
        place.mkdir()
        place.chmod(0o000)
        if AS_ROOT:
            os.chown(place, 0, 0)

        def look() -> list[str]:
            store = LocalStore(str(place))
            return [refusal(work, DirectoryUnusable) for work in (store.exists, store.check, store.ensure, store.names)]

        messages = as_unprivileged(look)
        place.chmod(0o700)
        for message in messages:
            assert "Permission denied" in message

    def test_one_that_is_hidden_by_permissions_is_not_called_missing(self, common: Path) -> None:
        place = common / "private" / "backups"
        place.mkdir(parents=True)
        (common / "private").chmod(0o000)
        if AS_ROOT:
            os.chown(common / "private", 0, 0)
        try:
            message = as_unprivileged(lambda: refusal(LocalStore(str(place)).exists, DirectoryUnusable))
        finally:
            (common / "private").chmod(0o700)
        assert "Permission denied" in message

    def test_one_that_cannot_be_made_says_which_and_why(self, common: Path) -> None:
        common.chmod(0o555)
        message = as_unprivileged(lambda: refusal(LocalStore(str(common / "a" / "b")).ensure, FileForbidden))
        assert str(common / "a") in message
        assert "Permission denied" in message

    @only_root
    def test_one_that_is_made_gets_its_owner(self, tmp_path: Path) -> None:
        LocalStore(str(tmp_path / "a"), FileAttributes(uid=1234, gid=2345, mode=0o640)).ensure()
        found = (tmp_path / "a").stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o700)


class TestReading:
    """What is a file, and what is not."""

    def test_it_is_a_store(self, store: LocalStore) -> None:
        assert is_a_store(store) is store

    def test_only_regular_files_are_listed(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(b"data")
        (tmp_path / ".hidden").write_bytes(b"")
        for number, make in enumerate(NO_FILES):
            make(tmp_path / f"backup_app_2026-02-28_12-00-0{number + 1}.dump.gz")
        assert sorted(store.names()) == [".hidden", NAME, "elsewhere"]

    @pytest.mark.parametrize("make", NO_FILES)
    def test_what_is_no_file_has_no_facts_and_no_content_and_nobody_waits_for_it(
        self, store: LocalStore, tmp_path: Path, make: Callable[[Path], None], bounded: Callable[[Callable[[], object]], object]
    ) -> None:
        make(tmp_path / NAME)
        assert store.facts(NAME) is None
        assert bounded(lambda: store.read(NAME, 100)) is None
        bounded(lambda: refusal(lambda: whole(store, NAME), StoreFailed))

    def test_a_fifo_that_somebody_writes_to_is_not_read(
        self, store: LocalStore, tmp_path: Path, bounded: Callable[[Callable[[], object]], object]
    ) -> None:
        os.mkfifo(tmp_path / NAME)
        descriptor = os.open(tmp_path / NAME, os.O_RDWR)
        try:
            assert bounded(lambda: store.read(NAME, 100)) is None
            os.write(descriptor, b"{}")
            assert bounded(lambda: store.read(NAME, 100)) is None
            bounded(lambda: refusal(lambda: whole(store, NAME), StoreFailed))
        finally:
            os.close(descriptor)

    def test_the_facts_are_size_and_time_of_the_last_change(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(b"12345")
        os.utime(tmp_path / NAME, (0, 1772366400.5))
        facts = store.facts(NAME)
        assert facts is not None
        assert facts.size_bytes == 5
        assert facts.modified_at == datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=timezone.utc)

    @pytest.mark.parametrize("seconds", [-(2**40), -(2**62), 2**40, 2**62])
    def test_a_time_that_no_calendar_has_is_the_nearest_that_one_has(self, seconds: int) -> None:
        # On a file system that keeps such times; most disks don't.
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            path = Path(place, NAME)
            path.write_bytes(b"12345")
            os.utime(path, (seconds, seconds))
            assert path.stat().st_mtime == seconds
            store = LocalStore(place)
            facts = store.facts(NAME)
            store.close()
        assert facts is not None
        assert facts.modified_at.year == (1 if seconds < 0 else 9999)
        assert facts.modified_at.utcoffset() is not None

    @pytest.mark.parametrize("name", ["missing", "missing/below", "file/below", "x" * 256, "x" * 5000, "a\x00b", ""])
    def test_what_is_not_there_has_no_facts_and_no_content(self, store: LocalStore, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_bytes(b"data")
        assert store.facts(name) is None
        assert store.read(name, 100) is None

    def test_what_may_not_be_looked_at_is_not_called_missing(self, common: Path) -> None:
        (common / NAME).write_bytes(b"data")
        common.chmod(0o444)

        def look() -> list[str]:
            store = LocalStore(str(common))
            return [refusal(lambda: store.facts(NAME), FileForbidden), refusal(lambda: store.taken(NAME), FileForbidden)]

        for message in as_unprivileged(look):
            assert NAME in message
            assert "Permission denied" in message

    def test_a_file_that_may_not_be_read_has_facts_and_no_content(self, common: Path) -> None:
        (common / NAME).write_bytes(b"12345")
        (common / NAME).chmod(0o000)
        if AS_ROOT:
            os.chown(common / NAME, 0, 0)

        def look() -> tuple[int, str, str, str]:
            store = LocalStore(str(common))
            facts, [unread] = store.facts(NAME), store.read_many([NAME], 100)
            assert facts is not None
            refused = refusal(lambda: store.read(NAME, 100), FileForbidden)
            return facts.size_bytes, refused, str(unread), refusal(lambda: whole(store, NAME), FileForbidden)

        size, *messages = as_unprivileged(look)
        assert size == 5
        for message in messages:
            assert "Permission denied" in message

    def test_a_short_read_is_not_taken_for_the_end(self, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
        put(store, NAME, b"12345")
        real = os.read
        monkeypatch.setattr(os, "read", lambda descriptor, count: real(descriptor, min(count, 2)))
        assert store.read(NAME, 100) == b"12345"

    @pytest.mark.parametrize(("limit", "content"), [(0, b""), (3, b"123"), (5, b"12345"), (100, b"12345")])
    def test_no_more_is_read_than_the_limit_says(self, store: LocalStore, limit: int, content: bytes) -> None:
        put(store, NAME, b"12345")
        assert store.read(NAME, limit) == content

    @pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5])
    def test_a_file_comes_whole_in_chunks(self, store: LocalStore, tmp_path: Path, size: int) -> None:
        data = bytes(range(251)) * (size // 251 + 1)
        (tmp_path / NAME).write_bytes(data[:size])
        lengths = [len(chunk) for chunk in store.chunks(NAME)]
        assert whole(store, NAME) == data[:size]
        assert all(length <= CHUNK_BYTES for length in lengths)

    def test_a_file_that_is_not_read_to_its_end_is_closed(self, store: LocalStore, nothing_left: None) -> None:
        put(store, NAME, b"x" * (2 * CHUNK_BYTES))
        chunks = store.chunks(NAME)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
        store.close()

    def test_a_directory_may_be_listed_by_several_at_once(self, store: LocalStore, tmp_path: Path) -> None:
        # More than one read of the directory gives, so that two who share one place in it miss some.
        expected = {f"backup_app_2026-02-28_12-00-00.dump.{number:0100}" for number in range(3000)}
        for name in expected:
            (tmp_path / name).touch()
        seen: list[set[str]] = []
        start = threading.Barrier(4)

        def list_often() -> None:
            start.wait(LONG)
            seen.extend(set(store.names()) for _time in range(20))

        threads = [threading.Thread(target=list_often) for _time in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(expected - names) for names in seen] == [0] * 80


class TestMaking:
    """Files that are made: for their owner alone, over nothing."""

    def test_a_file_is_made_for_its_owner_alone(self, store: LocalStore, tmp_path: Path) -> None:
        old = os.umask(0)
        try:
            os.close(store.create(NAME))
        finally:
            os.umask(old)
        assert mode_of(tmp_path / NAME) == 0o600

    def test_a_file_is_not_made_over_another(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(b"earlier")
        assert "File exists" in refusal(lambda: store.create(NAME), StoreFailed)
        assert (tmp_path / NAME).read_bytes() == b"earlier"

    @pytest.mark.parametrize("make", NO_FILES)
    def test_a_file_is_not_made_through_a_link_or_over_anything_else(
        self, store: LocalStore, tmp_path: Path, make: Callable[[Path], None]
    ) -> None:
        make(tmp_path / NAME)
        before = state_of(tmp_path)
        refusal(lambda: store.create(NAME), StoreFailed)
        assert state_of(tmp_path) == before

    def test_programs_that_are_started_do_not_get_it(self, store: LocalStore) -> None:
        descriptor = store.create(NAME)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)

    def test_a_finished_file_has_the_mode_that_was_asked_for(self, tmp_path: Path) -> None:
        put(LocalStore(str(tmp_path), FileAttributes(mode=0o640)), NAME)
        assert mode_of(tmp_path / NAME) == 0o640

    @only_root
    @pytest.mark.parametrize(
        ("uid", "gid", "owner"), [(1234, 2345, (1234, 2345)), (1234, None, (1234, 0)), (None, 2345, (0, 2345)), (0, 0, (0, 0))]
    )
    def test_a_finished_file_has_the_owner_that_was_asked_for(
        self, tmp_path: Path, uid: int | None, gid: int | None, owner: tuple[int, int]
    ) -> None:
        store = LocalStore(str(tmp_path), FileAttributes(uid, gid, 0o640))
        put(store, NAME)
        store.replace("small", b"x")
        for name in (NAME, "small"):
            found = (tmp_path / name).stat()
            assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*owner, 0o640)

    def test_an_owner_that_may_not_be_given_is_an_error(self, common: Path) -> None:
        store = LocalStore(str(common), FileAttributes(uid=1))
        message = as_unprivileged(lambda: refusal(lambda: put(store, NAME), FileForbidden))
        assert "Operation not permitted" in message

    def test_a_file_that_is_removed_was_there_or_not(self, store: LocalStore, tmp_path: Path) -> None:
        put(store, NAME)
        assert store.remove(NAME)
        assert not store.remove(NAME)
        assert list(tmp_path.iterdir()) == []

    def test_of_a_link_the_link_is_removed(self, store: LocalStore, tmp_path: Path) -> None:
        make_link(tmp_path / NAME)
        assert store.remove(NAME)
        assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]

    def test_what_cannot_be_removed_is_an_error(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir()
        assert NAME in refusal(lambda: store.remove(NAME), StoreFailed)

    @pytest.mark.parametrize("make", [Path.touch, *NO_FILES])
    def test_a_name_is_taken_by_whatever_bears_it(self, store: LocalStore, tmp_path: Path, make: Callable[[Path], None]) -> None:
        assert not store.taken(NAME)
        make(tmp_path / NAME)
        assert store.taken(NAME)

    def test_a_file_gets_another_name(self, store: LocalStore, tmp_path: Path) -> None:
        put(store, "old")
        store.rename("old", "new")
        assert [path.name for path in tmp_path.iterdir()] == ["new"]
        assert "No such file" in refusal(lambda: store.rename("old", "new"), FileMissing)

    @pytest.mark.parametrize("knows_such_files", [True, False])
    def test_a_file_without_a_name_is_for_its_owner_alone_and_nobody_finds_it(
        self, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows_such_files: bool
    ) -> None:
        real = os.open

        def without(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "this file system has none")
            return real(path, flags, *rest, **more)

        if not knows_such_files:
            monkeypatch.setattr(os, "open", without)
        before = set(tmp_path.rglob("*"))
        descriptor = store.unnamed_file()
        try:
            assert set(tmp_path.rglob("*")) == before
            assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
            os.write(descriptor, b"data")
            assert os.pread(descriptor, 10, 0) == b"data"
        finally:
            os.close(descriptor)


class TestReplacing:
    """Small files: whole, or as they were."""

    def test_a_small_file_is_written_and_written_again(self, store: LocalStore, tmp_path: Path) -> None:
        for data in (b"old", b"", b"new" * 1000):
            store.replace(NAME, data)
            assert (tmp_path / NAME).read_bytes() == data
            assert mode_of(tmp_path / NAME) == 0o600
            assert store.names() == [NAME]

    def test_a_reader_finds_the_old_one_or_the_new_one(self, store: LocalStore) -> None:
        contents = {bytes([65 + number]) * 10_000 for number in range(2)}
        store.replace(NAME, min(contents))
        done = threading.Event()

        def keep_replacing() -> None:
            for _time in range(150):
                for data in contents:
                    store.replace(NAME, data)
            done.set()

        writer = threading.Thread(target=keep_replacing)
        writer.start()
        found = set()
        while not done.is_set():
            found.add(store.read(NAME, 100_000))
        writer.join()
        assert found <= contents

    def test_who_has_the_old_one_open_keeps_it(self, store: LocalStore, tmp_path: Path) -> None:
        store.replace(NAME, b"old")
        with (tmp_path / NAME).open("rb") as reader:
            store.replace(NAME, b"new")
            assert reader.read() == b"old"

    @pytest.mark.parametrize("make", [Path.touch, make_link, make_dangling_link, make_fifo])
    def test_what_an_interrupted_one_left_is_in_nobodys_way(
        self, store: LocalStore, tmp_path: Path, make: Callable[[Path], None]
    ) -> None:
        make(tmp_path / f".{NAME}.partial")
        store.replace(NAME, b"new")
        assert (tmp_path / NAME).read_bytes() == b"new"
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "elsewhere") == [NAME]
        if (tmp_path / "elsewhere").exists():
            assert (tmp_path / "elsewhere").read_bytes() == b"elsewhere"

    def test_a_link_in_its_place_is_replaced_and_not_followed(self, store: LocalStore, tmp_path: Path) -> None:
        make_link(tmp_path / NAME)
        store.replace(NAME, b"new")
        assert not (tmp_path / NAME).is_symlink()
        assert (tmp_path / NAME).read_bytes() == b"new"
        assert (tmp_path / "elsewhere").read_bytes() == b"elsewhere"

    def test_one_that_cannot_be_put_in_place_leaves_nothing(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir()
        refusal(lambda: store.replace(NAME, b"new"), StoreFailed)
        assert [path.name for path in tmp_path.iterdir()] == [NAME]

    def test_one_that_cannot_be_finished_leaves_the_old_one_alone(self, common: Path) -> None:
        (common / NAME).write_bytes(b"old")
        store = LocalStore(str(common), FileAttributes(uid=1))
        as_unprivileged(lambda: refusal(lambda: store.replace(NAME, b"new"), FileForbidden))
        assert (common / NAME).read_bytes() == b"old"
        assert [path.name for path in common.iterdir()] == [NAME]


class TestLocking:
    """One at a time, in this process and in all others."""

    def test_a_lock_that_is_free_is_taken_and_given_back(self, store: LocalStore, tmp_path: Path) -> None:
        assert is_free(store)
        assert is_free(store)
        assert mode_of(tmp_path / LOCK_NAME) == 0o600
        assert (tmp_path / LOCK_NAME).read_bytes() == b""

    def test_a_lock_is_given_back_after_an_error(self, store: LocalStore) -> None:
        with pytest.raises(KeyError), store.lock(0):
            raise KeyError
        assert is_free(store)

    def test_another_process_is_kept_out_until_it_is_given_back(self, store: LocalStore, tmp_path: Path) -> None:
        def hold(talk: Connection) -> None:
            with LocalStore(str(tmp_path)).lock(0):
                talk.send("held")
                talk.recv()
            talk.send("given back")
            talk.recv()

        with child(hold) as (_process, talk):
            assert hear(talk) == "held"
            message = refusal(lambda: store.lock(0).__enter__(), Locked)
            assert LOCK_NAME in message
            assert "0 seconds" in message
            talk.send("go on")
            assert hear(talk) == "given back"
            assert is_free(store)

    def test_the_lock_of_a_process_that_was_killed_is_free(self, store: LocalStore, tmp_path: Path) -> None:
        def hold(talk: Connection) -> None:
            with LocalStore(str(tmp_path)).lock(0):
                talk.send("held")
                talk.recv()

        with child(hold) as (process, talk):
            assert hear(talk) == "held"
            process.kill()
            process.join()
            assert is_free(store)

    def test_who_waits_can_be_told_to_stop(self, store: LocalStore, tmp_path: Path) -> None:
        asked: list[bool] = []
        waiting = LocalStore(str(tmp_path), is_stopped=lambda: bool(asked) or asked.append(True) is not None)
        with store.lock(0):
            refusal(lambda: waiting.lock(LONG).__enter__(), Interrupted)

    @pytest.mark.parametrize("same_store", [True, False])
    def test_another_thread_is_kept_out_and_waits_its_turn(self, store: LocalStore, tmp_path: Path, same_store: bool) -> None:
        other = store if same_store else LocalStore(str(tmp_path))
        events: list[str] = []

        def take_it() -> None:
            with other.lock(LONG):
                events.append("taken")

        thread = threading.Thread(target=take_it)
        with store.lock(0):
            with pytest.raises(Locked), other.lock(0.05):
                events.append("taken while held")
            thread.start()
            events.append("given back")
        thread.join()
        assert events == ["given back", "taken"]

    @only_root
    def test_root_leaves_a_lock_that_the_directorys_owner_can_take(self) -> None:
        with common_directory() as folder:  # an unprivileged user's
            assert is_free(LocalStore(str(folder)))

            def take() -> bool:
                with LocalStore(str(folder)).lock(0):
                    return True

            assert as_unprivileged(take)

    @only_root
    def test_root_hands_its_lock_on_with_the_directory(self) -> None:
        with common_directory() as folder:
            owner = folder.stat()
            os.chown(folder, 0, 0)
            assert is_free(LocalStore(str(folder)))
            os.chown(folder, owner.st_uid, owner.st_gid)
            assert is_free(LocalStore(str(folder)))
            assert (folder / LOCK_NAME).stat().st_uid == owner.st_uid

    @only_root
    @pytest.mark.parametrize("put", [os.link, os.symlink, shutil.copy])
    def test_root_gives_no_file_away_that_was_put_there(self, tmp_path: Path, put: Callable[[Path, Path], object]) -> None:
        victim = tmp_path / "victim"
        victim.write_text("of worth")
        with common_directory() as folder:
            put(victim, folder / LOCK_NAME)
            with contextlib.suppress(StoreFailed), LocalStore(str(folder)).lock(0):
                pass
            assert (folder / LOCK_NAME).stat().st_uid == 0
            if put is not shutil.copy:
                refusal(lambda: LocalStore(str(folder)).lock(0).__enter__(), StoreFailed)
        assert victim.stat().st_uid == 0

    def test_a_program_that_was_started_under_the_lock_does_not_keep_it(self, store: LocalStore) -> None:
        with store.lock(0):
            sleeper = subprocess.Popen(["sleep", str(LONG)])
        try:
            assert is_free(store)
        finally:
            sleeper.kill()
            sleeper.wait()

    def test_a_disk_that_fails_under_the_lock_is_an_error_of_the_store(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(descriptor: int) -> os.stat_result:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, "utime", lambda *_file, **_time: patch.setattr(os, "fstat", broken))
            assert LOCK_NAME in refusal(lambda: is_free(store), StoreFailed)
        assert is_free(store)

    @pytest.mark.parametrize("make", [make_link, make_dangling_link, Path.mkdir])
    def test_a_lock_that_is_no_file_is_an_error(self, store: LocalStore, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / LOCK_NAME)
        before = state_of(tmp_path)
        assert LOCK_NAME in refusal(lambda: store.lock(0).__enter__(), StoreFailed)
        assert state_of(tmp_path) == before

    def test_a_file_is_held_while_somebody_who_lives_has_its_lock(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / NAME).touch()
        assert not store.is_held(NAME)
        descriptor = os.open(tmp_path / NAME, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert store.is_held(NAME)
        os.close(descriptor)
        assert not store.is_held(NAME)

    def test_a_file_that_is_gone_is_held_by_nobody(self, store: LocalStore) -> None:
        assert not store.is_held(NAME)

    def test_a_file_that_may_not_be_opened_is_taken_for_held(self, common: Path) -> None:
        (common / NAME).touch()
        (common / NAME).chmod(0o000)
        if AS_ROOT:
            os.chown(common / NAME, 0, 0)
        assert as_unprivileged(lambda: LocalStore(str(common)).is_held(NAME))

    def test_asking_whether_a_file_is_held_does_not_hold_it(self, store: LocalStore) -> None:
        descriptor = store.create(NAME)
        assert not store.is_held(NAME)
        assert try_lock(descriptor)
        os.close(descriptor)


class TestAFileSystemWithoutLocks:
    """NFS whose lock service is missing, and file systems in user space that never heard of locks."""

    @pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO], ids=errno.errorcode.get)
    def words(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refuse)
        return os.strerror(request.param)

    def test_says_so_wherever_a_lock_is_taken(self, store: LocalStore, tmp_path: Path, words: str) -> None:
        put(store, "file")
        for work in (
            store.lock().__enter__,
            lambda: store.is_held("file"),
            lambda: store.claim("file"),
            lambda: store.claim("new"),
        ):
            said = refusal(work, LocksUnavailable)
            assert f"flock: {words}" in said
            assert str(tmp_path) in said
            assert "mount NFS with locks" in said


class TestRoom:
    """Where there is none left, it says so, and what was there before is as it was."""

    def test_there_is_as_much_as_the_file_system_gives_us(self, store: LocalStore, tmp_path: Path) -> None:
        space = os.statvfs(tmp_path)
        assert 0 < store.free_bytes() <= space.f_blocks * space.f_frsize

    @only_root
    def test_room_is_counted_in_bytes(self, tiny: Path) -> None:
        store = LocalStore(str(tiny))
        before = store.free_bytes()
        (tiny / "x").write_bytes(b"x" * 4096)
        assert 0 < before <= 65536
        assert before - store.free_bytes() == 4096

    @only_root
    def test_a_full_disk_is_no_space(self, tiny: Path) -> None:
        store = LocalStore(str(tiny))
        store.replace("small", b"old")
        message = refusal(lambda: store.replace("small", b"x" * 100_000), NoSpace)
        assert "No space left" in message
        assert (tiny / "small").read_bytes() == b"old"
        assert [path.name for path in tiny.iterdir()] == ["small"]

    @only_root
    def test_no_room_for_one_more_name_is_no_space(self, tiny: Path) -> None:
        subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(tiny)], check=True)
        store = LocalStore(str(tiny))
        os.close(store.create("first"))
        assert "No space left" in refusal(lambda: store.create("second"), NoSpace)
        refusal(lambda: store.replace("second", b"x"), NoSpace)
        refusal(lambda: store.lock(0).__enter__(), NoSpace)
        refusal(LocalStore(str(tiny / "below")).ensure, NoSpace)
        assert [path.name for path in tiny.iterdir()] == ["first"]

    def test_a_file_that_may_grow_no_further_is_no_space(self, store: LocalStore, tmp_path: Path) -> None:
        store.replace("small", b"old")

        def write_too_much() -> str:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
            return refusal(lambda: store.replace("small", b"x" * 100_000), NoSpace)

        assert "File too large" in in_child(write_too_much)
        assert (tmp_path / "small").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_closed_store_holds_nothing_and_can_be_used_again(tmp_path: Path, nothing_left: None) -> None:
    store = LocalStore(str(tmp_path))
    assert store.names() == []
    store.close()
    store.close()
    assert store.names() == []
    store.close()


def test_nothing_stays_open_after_errors(tmp_path: Path, nothing_left: None) -> None:
    store = LocalStore(str(tmp_path))
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("directory", "fifo", "missing"):
        store.read(name, 10)
        store.is_held(name)
        with pytest.raises(StoreFailed):
            whole(store, name)
    refusal(lambda: store.replace("directory", b""), StoreFailed)
    with store.lock(0):
        refusal(lambda: store.lock(0).__enter__(), Locked)
    store.close()


class TestOwner:
    """What is made for somebody else is his, down to the lock: a later run of his own needs them."""

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_directories_and_the_lock_belong_to_the_owner(self, tmp_path: Path) -> None:
        place = tmp_path / "made" / "too" / "backups"
        store = LocalStore(str(place), FileAttributes(uid=UNPRIVILEGED, gid=UNPRIVILEGED))
        store.ensure()
        with store.lock(0):
            pass
        made = [tmp_path / "made", tmp_path / "made" / "too", place, place / ".lastgood.lock"]
        assert {path.stat().st_uid for path in made} == {UNPRIVILEGED}


class TestContinuing:
    def test_what_a_dead_run_wrote_is_continued_and_a_living_one_keeps_it(self, store: LocalStore, tmp_path: Path) -> None:
        first = store.claim_to_continue("partial")
        assert first is not None
        write_all(first, b"begun")
        assert store.claim_to_continue("partial") is None
        os.close(first)
        second = store.claim_to_continue("partial")
        assert second is not None
        assert (os.fstat(second).st_size, (tmp_path / "partial").stat().st_mode & 0o777) == (5, 0o600)
        os.close(second)

    def test_a_link_or_a_file_with_another_name_is_not_written_to(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "other").write_bytes(b"theirs")
        (tmp_path / "hard").hardlink_to(tmp_path / "other")
        (tmp_path / "soft").symlink_to(tmp_path / "other")
        for name in ("hard", "soft"):
            with pytest.raises(StoreFailed):
                store.claim_to_continue(name)
        assert (tmp_path / "other").read_bytes() == b"theirs"

    def test_a_fingerprint_changes_with_the_file(self, store: LocalStore, tmp_path: Path) -> None:
        assert store.fingerprint("file") is None
        path = tmp_path / "file"
        path.write_bytes(b"one")
        before = store.fingerprint("file")
        assert before == store.fingerprint("file")
        os.utime(path, ns=(1, 1))
        changed = store.fingerprint("file")
        assert changed != before
        path.with_name("new").write_bytes(b"one")
        os.replace(path.with_name("new"), path)
        assert store.fingerprint("file") not in (before, changed)
