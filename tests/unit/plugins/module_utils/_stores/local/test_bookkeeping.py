"""Small files that are replaced whole, and who is alive in a directory."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import Locked, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore

NAME = ".lastgood.status.json"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_read(store: LocalStore, tmp_path: Path, durable: bool) -> None:
    books = store.bookkeeping()
    assert books.read(NAME, 10) is None
    for data in (b"one", b"another"):
        with books.locked(0):
            books.write(NAME, data, durable=durable)
        assert books.read(NAME, 100) == data
    assert books.read(NAME, 3) == b"ano"
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lastgood.lock", NAME]


def test_what_a_killed_run_left_of_a_file_is_replaced(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.partial").symlink_to(tmp_path / "victim")
    store.bookkeeping().write(NAME, b"data", durable=False)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_link_is_neither_read_nor_replaced(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("of worth")
    (tmp_path / NAME).symlink_to("victim")
    with pytest.raises(StoreFailed, match="not ours"):
        store.bookkeeping().read(NAME, 10)
    with pytest.raises(StoreFailed, match="not ours"):
        store.bookkeeping().write(NAME, b"data", durable=False)
    assert (tmp_path / NAME).is_symlink() and (tmp_path / "victim").read_text() == "of worth"


def test_a_write_that_fails_leaves_the_old_file(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = store.bookkeeping()
    books.write(NAME, b"old", durable=False)

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(StoreFailed, match="Input/output error"):
        books.write(NAME, b"new", durable=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {NAME: b"old"}


def test_the_lock_leaves_no_mark_for_the_listing_of_a_run(store: LocalStore) -> None:
    with store.lock() as before:
        pass
    with store.bookkeeping().locked(0):
        pass
    with store.lock() as after:
        assert after.found == before.left


def test_a_lock_that_is_held_is_waited_for_no_longer_than_said(store: LocalStore) -> None:
    began = time.monotonic()
    with store.lock(), pytest.raises(Locked), store.bookkeeping().locked(0.2):
        pass
    assert 0.2 <= time.monotonic() - began < 2


def test_a_stopped_run_still_waits_to_note_that_it_was_stopped(tmp_path: Path) -> None:
    stopped = LocalStore(str(tmp_path), is_stopped=lambda: True)
    with stopped.lock(), pytest.raises(Locked), stopped.bookkeeping().locked(0.1):
        pass
    stopped.close()


def test_a_directory_has_no_live_run_unless_one_marks_itself_alive(store: LocalStore) -> None:
    books = store.bookkeeping()
    assert books.has_no_live_run()
    with books.mark_alive():
        assert not books.has_no_live_run()
        with books.mark_alive():
            assert not books.has_no_live_run()
        assert not books.has_no_live_run()
    assert books.has_no_live_run()


def test_a_run_that_is_killed_is_present_no_more(store: LocalStore, tmp_path: Path) -> None:
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_SH); print(1, flush=True); input()"
    with subprocess.Popen((sys.executable, "-c", hold, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not store.bookkeeping().has_no_live_run()
        process.kill()
        process.wait()
        assert store.bookkeeping().has_no_live_run()


def test_a_stranger_who_holds_the_directory_stops_nobody_for_long(store: LocalStore, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    began = time.monotonic()
    with store.bookkeeping().mark_alive():
        assert time.monotonic() - began < 5
    os.close(descriptor)
