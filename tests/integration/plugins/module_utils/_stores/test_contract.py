"""What every store promises. A new store joins by one line in ``PLACES``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    DirectoryUnusable,
    FileMissing,
    Interrupted,
    Locked,
    NameConflict,
    PayloadCorrupt,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import NewPayload, Sidecar, Store, Written
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.store import SftpStore
from ansible_collections.lastgood.database.tests.support.memory_store import MemoryStore
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

NAME = "backup_app_2026-02-28_12-00-00.dump.gz"
SIDECAR = f"{NAME}.manifest.json"
LARGE = 3_000_001  # bytes: more than a chunk, and no multiple of one


@dataclass(frozen=True)
class Place:
    """Where a store's files are. ``open`` returns another store with the same files."""

    open: Callable[[], Store]
    open_missing: Callable[[], Store]
    folder: Path | None = None  # where the files are files of this host


def in_memory(request: pytest.FixtureRequest) -> Iterator[Place]:
    files: dict[str, bytes] = {}
    yield Place(lambda: MemoryStore(files), lambda: MemoryStore(None))


def in_a_directory(request: pytest.FixtureRequest) -> Iterator[Place]:
    folder: Path = request.getfixturevalue("tmp_path")
    with contextlib.ExitStack() as stack:

        def open_at(path: Path) -> LocalStore:
            return stack.enter_context(contextlib.closing(LocalStore(str(path))))

        yield Place(lambda: open_at(folder), lambda: open_at(folder / "a" / "b"), folder)


def on_an_sftp_server(request: pytest.FixtureRequest) -> Iterator[Place]:
    folder: Path = request.getfixturevalue("tmp_path")
    server: SftpServer = request.getfixturevalue("sftp")
    with contextlib.ExitStack() as stack:

        def open_at(path: Path) -> SftpStore:
            return stack.enter_context(contextlib.closing(SftpStore(SftpSettings(**server.options(path)))))

        yield Place(lambda: open_at(folder), lambda: open_at(folder / "a" / "b"), folder)


PLACES = {"memory": in_memory, "local": in_a_directory, "sftp": on_an_sftp_server}
HAVE_FOLDERS = ["local", "sftp"]  # where something else than a file can bear a name


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from PLACES[request.param](request)


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


def whole(store: Store, name: str) -> bytes:
    with contextlib.closing(store.chunks(name)) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


def write(store: Store, name: str, data: bytes) -> None:
    with store.lock():
        store.replace(name, data)


class TestThePlace:
    def test_a_place_exists_or_does_not_and_only_the_one_that_exists_is_listed(self, place: Place) -> None:
        assert place.open().exists()
        missing = place.open_missing()
        assert not missing.exists()
        with pytest.raises(DirectoryUnusable):
            missing.names()
        missing.check()  # no complaint: what does not exist can still be made

    def test_a_place_that_is_missing_is_made_and_one_that_exists_keeps_its_files(self, place: Place) -> None:
        missing = place.open_missing()
        missing.ensure()
        assert missing.exists()
        assert missing.names() == []
        write(missing, NAME, b"data")
        missing.ensure()
        assert whole(missing, NAME) == b"data"

    def test_the_path_of_a_file_begins_with_the_location(self, store: Store) -> None:
        assert store.path(NAME).startswith(store.location)
        assert store.path(NAME).endswith(f"/{NAME}")

    def test_a_file_without_a_name_can_be_made_beside_the_backups_or_the_store_says_that_it_can_not(self, store: Store) -> None:
        staging = store.staging()
        if staging is None:
            return
        assert staging.free_bytes() > 0
        before = store.names()
        descriptor = staging.unnamed_file()
        try:
            assert os.write(descriptor, b"data") == 4
            assert store.names() == before
        finally:
            os.close(descriptor)

    def test_a_place_that_can_be_used_gives_no_warning(self, store: Store) -> None:
        store.check()
        write(store, NAME, b"data")
        assert whole(store, NAME) == b"data"
        assert store.warnings == []


class TestReading:
    def test_a_file_is_found_with_its_size_and_time_and_read_to_its_end(self, store: Store) -> None:
        data = os.urandom(LARGE)
        write(store, NAME, data)
        facts = store.facts(NAME)
        assert facts is not None
        assert facts.size_bytes == LARGE
        assert abs(facts.modified_seconds - time.time()) < 60
        assert whole(store, NAME) == data
        assert store.taken(NAME)
        assert NAME in store.names()

    def test_the_first_bytes_of_a_file_are_as_many_as_asked_for_or_all(self, store: Store) -> None:
        data = os.urandom(100_000)
        write(store, NAME, data)
        assert store.read(NAME, 70_000) == data[:70_000]
        assert store.read(NAME, 200_000) == data

    def test_an_empty_file_is_a_file(self, store: Store) -> None:
        write(store, NAME, b"")
        facts = store.facts(NAME)
        assert facts is not None
        assert facts.size_bytes == 0
        assert store.read(NAME, 10) == b""
        assert whole(store, NAME) == b""

    def test_a_file_that_does_not_exist_is_none_and_can_not_be_read_to_its_end(self, store: Store) -> None:
        assert store.facts(NAME) is None
        assert store.read(NAME, 10) is None
        assert not store.taken(NAME)
        assert not store.is_held(NAME)
        with pytest.raises(FileMissing) as caught:
            whole(store, NAME)
        assert NAME in caught.value.problem

    def test_what_is_asked_of_many_files_comes_in_their_order(self, store: Store) -> None:
        names = [f"file{number}" for number in range(150)]
        for name in names[::2]:
            write(store, name, name.encode())
        expected = [name.encode() if not number % 2 else None for number, name in enumerate(names)]
        assert list(store.read_many(names, 100)) == expected
        sizes = [None if facts is None else facts.size_bytes for facts in store.facts_of(names)]
        assert sizes == [None if data is None else len(data) for data in expected]

    def test_a_reader_may_stop_early_and_the_store_goes_on(self, store: Store) -> None:
        write(store, NAME, bytes(LARGE))
        with contextlib.closing(store.chunks(NAME)) as chunks:
            assert next(chunks)
        assert store.names().count(NAME) == 1
        assert len(whole(store, NAME)) == LARGE

    @pytest.mark.parametrize("offset", [0, 1, 65536, 1_000_001, LARGE - 1, LARGE])
    def test_a_file_is_read_from_an_offset(self, store: Store, offset: int) -> None:
        data = bytes(range(251)) * (LARGE // 251) + b"end of it"
        data = data[:LARGE]
        write(store, NAME, data)
        with contextlib.closing(store.chunks(NAME, offset)) as chunks:
            assert b"".join(map(bytes, chunks)) == data[offset:]

    @pytest.mark.parametrize("name", ["two words", "two\nlines", "ünï", "%41", "-rf"])
    def test_a_name_is_data(self, store: Store, name: str) -> None:
        write(store, name, b"data")
        assert (whole(store, name), store.names().count(name)) == (b"data", 1)

    def test_a_file_whose_cache_was_dropped_reads_as_before(self, store: Store) -> None:
        write(store, NAME, b"data")
        store.drop_cache(NAME)
        assert whole(store, NAME) == b"data"
        store.drop_cache("missing")

    @pytest.mark.parametrize("place", HAVE_FOLDERS, indirect=True)
    def test_only_regular_files_count_and_no_link_is_followed_for_its_facts(self, place: Place) -> None:
        assert place.folder is not None
        (place.folder / "elsewhere").write_bytes(b"elsewhere")
        (place.folder / "link").symlink_to("elsewhere")
        (place.folder / "folder").mkdir()
        store = place.open()
        assert store.names() == ["elsewhere"]
        for name in ("link", "folder"):
            assert store.facts(name) is None
            assert store.taken(name)


class TestWriting:
    def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(self, place: Place) -> None:
        store = place.open()
        before = set(store.names())
        write(store, SIDECAR, b"old" * 10_000)
        write(store, SIDECAR, b"new")
        assert whole(place.open(), SIDECAR) == b"new"
        assert {name for name in set(store.names()) - before if not name.startswith(".lastgood.")} == {SIDECAR}

    def test_a_reader_finds_the_old_content_or_the_new_one(self, place: Place) -> None:
        contents = [bytes([number]) * 50_000 for number in range(20)]
        writer, reader, done = place.open(), place.open(), threading.Event()
        found = [*contents] if writer.capabilities.replaces_atomically else [*contents, None]
        write(writer, SIDECAR, contents[0])

        def replace_often() -> None:
            try:
                for content in contents:
                    write(writer, SIDECAR, content)
            finally:
                done.set()

        thread = threading.Thread(target=replace_often)
        thread.start()
        try:
            while not done.is_set():
                assert reader.read(SIDECAR, 60_000) in found
        finally:
            thread.join()
        assert reader.read(SIDECAR, 60_000) == contents[-1]

    def test_a_file_is_deleted_once(self, place: Place) -> None:
        store = place.open()
        write(store, NAME, b"data")
        with store.lock():
            assert store.remove(NAME)
            assert not store.remove(NAME)
        assert place.open().facts(NAME) is None

    def test_a_lock_that_a_store_has_keeps_another_run_out(self, place: Place) -> None:
        first, second = place.open(), place.open()
        with first.lock(), contextlib.ExitStack() as stack:
            if first.capabilities.has_locks:
                stack.enter_context(pytest.raises(Locked))
            stack.enter_context(second.lock(0))

    def test_a_lock_is_given_back_whatever_happens(self, place: Place) -> None:
        with contextlib.suppress(ZeroDivisionError), place.open().lock():
            raise ZeroDivisionError
        with place.open().lock(0):
            pass


def payload_of(data: bytes, *, owner: bytes = b"ours", **over: Any) -> NewPayload:
    """A payload whose sidecar says whose it is. ``source`` may read otherwise than it should."""

    def chunks() -> Generator[memoryview, None, None]:
        for start in range(0, len(data), 256 * 1024):
            yield memoryview(data)[start : start + 256 * 1024]

    sha256 = hashlib.sha256(data).hexdigest()
    sidecar = Sidecar(SIDECAR, owner, 1000, lambda found: found.startswith(owner))
    partial = f".{NAME}.{sha256[:16]}.partial"
    return NewPayload(
        **{
            "name": NAME,
            "partial": partial,
            "size_bytes": len(data),
            "sha256": sha256,
            "source": "/backups/x",
            "chunks": chunks,
            "sidecar": sidecar,
            **over,
        }
    )


def put(store: Store, payload: NewPayload, *, stops_after: float = float("inf"), reads_back: bool = False) -> Written:
    """Store a payload, and give up before more than so many bytes."""
    seen = 0

    def count(size: int) -> None:
        nonlocal seen
        seen += size
        if seen > stops_after:
            raise Interrupted("The run was ended.", "Run it again.")

    written = store.put(payload, count, reads_back=reads_back)
    assert seen == written.bytes
    return written


def files_of(store: Store) -> dict[str, bytes]:
    return {name: whole(store, name) for name in store.names() if not name.startswith(".lastgood.")}


class TestPutting:
    DATA = bytes(range(251)) * 12_000

    @pytest.mark.parametrize("reads_back", [False, True])
    def test_a_payload_gets_its_name_whole_with_its_sidecar_and_nothing_else(self, place: Place, reads_back: bool) -> None:
        written = put(place.open(), payload_of(self.DATA), reads_back=reads_back)
        assert written == (len(self.DATA), False)
        assert files_of(place.open()) == {NAME: self.DATA, SIDECAR: b"ours"}

    def test_an_empty_payload_is_one(self, store: Store) -> None:
        assert put(store, payload_of(b"")) == (0, False)
        assert files_of(store) == {NAME: b"", SIDECAR: b"ours"}

    def test_one_that_is_cut_off_has_no_name_and_the_next_call_goes_on(self, place: Place) -> None:
        with pytest.raises(Interrupted):
            put(place.open(), payload_of(self.DATA), stops_after=2_000_000)
        assert place.open().facts(NAME) is None
        assert place.open().facts(SIDECAR) is None
        written = put(place.open(), payload_of(self.DATA))
        assert written.resumed
        assert 0 < written.bytes < len(self.DATA)
        assert files_of(place.open()) == {NAME: self.DATA, SIDECAR: b"ours"}

    @pytest.mark.parametrize("begun", [b"x" * 1000, bytes(range(251)) * 6000 + b"x", bytes(range(251)) * 13_000])
    def test_what_an_earlier_call_left_is_read_and_not_trusted(self, store: Store, begun: bytes) -> None:
        payload = payload_of(self.DATA)
        write(store, payload.partial, begun)
        put(store, payload)
        assert files_of(store) == {NAME: self.DATA, SIDECAR: b"ours"}

    def test_a_source_that_is_not_as_its_digest_says_is_not_stored(self, store: Store) -> None:
        rotten = payload_of(self.DATA, chunks=payload_of(self.DATA[:-1] + b"x").chunks)
        with pytest.raises(PayloadCorrupt, match="/backups/x"):
            put(store, rotten)
        assert files_of(store) == {}

    def test_a_source_that_is_too_short_is_not_stored(self, store: Store) -> None:
        with pytest.raises(PayloadCorrupt):
            put(store, payload_of(self.DATA, chunks=payload_of(self.DATA[:-1]).chunks))
        assert files_of(store) == {}

    @pytest.mark.parametrize("other", [{NAME: b"theirs"}, {SIDECAR: b"theirs"}, {NAME: b"theirs", SIDECAR: b"theirs"}])
    def test_a_name_that_another_payload_has_is_refused(self, store: Store, other: dict[str, bytes]) -> None:
        for name, data in other.items():
            write(store, name, data)
        with pytest.raises(NameConflict) as caught:
            put(store, payload_of(self.DATA))
        assert store.path(NAME) in caught.value.problem
        assert {name: data for name, data in files_of(store).items() if data == b"theirs"} == other
        assert store.facts(NAME) is None or whole(store, NAME) == b"theirs"

    def test_a_sidecar_of_the_same_payload_stays_as_it_is(self, store: Store) -> None:
        write(store, SIDECAR, b"ours, confirmed later")
        put(store, payload_of(self.DATA))
        assert files_of(store) == {NAME: self.DATA, SIDECAR: b"ours, confirmed later"}

    def test_a_payload_is_replaced_only_where_that_is_asked_for(self, store: Store) -> None:
        put(store, payload_of(b"old", owner=b"theirs"))
        put(store, payload_of(self.DATA, replaces=True))
        assert files_of(store) == {NAME: self.DATA, SIDECAR: b"ours"}
