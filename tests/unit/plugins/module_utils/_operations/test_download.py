"""Downloads from a store in memory into a folder: what is fetched, what is continued, and what a fault leaves."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ConnectionLost, NothingFound
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.labelling import relabelled
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import from_bytes
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name, upload_name
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, Selection
from ansible_collections.lastgood.database.plugins.module_utils._operations.arrivals import RECORD_NAME
from ansible_collections.lastgood.database.plugins.module_utils._operations.download import DownloadRequest, download
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Outcome
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, manifest_of, put_backup
from ansible_collections.lastgood.database.tests.support.contexts import context_at, diff_in
from ansible_collections.lastgood.database.tests.support.memory_store import MemoryStore
from ansible_collections.lastgood.database.tests.support.places import only_root, tiny_file_system

DATA = bytes(range(256)) * 4000
Rot = Callable[[int, bytes], bytes]  # changes a chunk that begins at an offset


class Source(MemoryStore):
    """Counts the bytes that are read of payloads, may change them on the way, and may break."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.files = files
        self.read_bytes = 0
        self.breaks_at: int | None = None
        self.rots: Rot = lambda _offset, data: data

    def chunks(self, name: str, offset: int = 0) -> Generator[memoryview, None, None]:
        for chunk in super().chunks(name, offset):
            if self.breaks_at is not None and offset + len(chunk) > self.breaks_at:
                raise ConnectionLost("The server went away.", "Run again.")
            self.read_bytes += len(chunk)
            yield memoryview(self.rots(offset, bytes(chunk)))
            offset += len(chunk)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Two good backups, the older one first."""
    folder = tmp_path / "host"
    folder.mkdir()
    put_backup(folder, ago(days=2), b"small")
    put_backup(folder, ago(days=1), DATA)
    return Source({path.name: path.read_bytes() for path in folder.iterdir()})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "db7"


def names(source: Source) -> list[str]:
    return sorted(name for name in source.files if not name.endswith(".json"))


def run(source: Source, folder: Path, *, check: bool = False, **over: Any) -> Outcome:
    request = DownloadRequest(**{"source": source, "selection": EVERYTHING, "folder": LocalStore(str(folder)), **over})
    return download(request, context_at(NOW, check=check))


def code(outcome: Outcome) -> str | None:
    return None if outcome.failure is None else outcome.failure.code


def payloads(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("backup_")}


def partial_of(name: str, source: Source) -> str:
    return upload_name(name, str(from_bytes(source.files[manifest_name(name)]).payload_sha256))


def test_what_is_fetched_is_whole_and_a_second_run_reads_nothing(source: Source, folder: Path) -> None:
    planned = run(source, folder, check=True)
    assert (planned.values["changed"], planned.values["downloaded"], folder.exists()) == (True, names(source), False)
    first = run(source, folder)
    assert (code(first), first.values["downloaded"], first.values["up_to_date"]) == (None, names(source), [])
    assert payloads(folder) == source.files
    read, before = source.read_bytes, os.stat(folder / RECORD_NAME).st_mtime_ns
    for over in ({}, {"rereads": True}, {"check": True}):
        again = run(source, folder, **over)
        assert (again.values["changed"], again.values["up_to_date"], again.values["bytes"]) == (False, names(source), 0)
        assert diff_in(again)["before"] == diff_in(again)["after"]
    assert source.read_bytes == read
    assert os.stat(folder / RECORD_NAME).st_mtime_ns >= before


@pytest.mark.parametrize("percent", [10, 50, 99])
@pytest.mark.parametrize("is_sound", [True, False])
def test_a_cut_transfer_goes_on_and_one_that_rotted_begins_anew(
    source: Source, folder: Path, percent: int, is_sound: bool
) -> None:
    large = names(source)[1]
    source.breaks_at = len(DATA) * percent // 100
    cut = run(source, folder)
    assert code(cut) == "connection_lost"
    assert large not in payloads(folder)
    partial = folder / partial_of(large, source)
    arrived = partial.stat().st_size
    assert arrived <= source.breaks_at
    if not is_sound:
        partial.write_bytes(b"x" * max(arrived, 1))
    source.breaks_at, source.read_bytes = None, 0
    result = run(source, folder)
    assert (code(result), payloads(folder)) == (None, source.files)
    if is_sound:
        assert source.read_bytes == len(DATA) - arrived == result.values["bytes"]
    assert not partial.exists()


def test_a_lost_connection_ends_the_run_and_says_so_for_the_rest(source: Source, folder: Path) -> None:
    source.breaks_at = 0
    result = run(source, folder)
    assert [one["error"]["code"] for one in result.values["failed_downloads"]] == ["connection_lost"] * 2


ROTTEN: list[Rot] = [
    lambda offset, data: bytes([data[0] ^ 1]) + data[1:] if offset > 100_000 else data,
    lambda offset, data: data[:-1] if offset > 100_000 else data,
    lambda _offset, data: data + data,
]


@pytest.mark.parametrize("rots", ROTTEN)
def test_a_payload_that_rots_on_the_way_gets_no_name_and_leaves_nothing(source: Source, folder: Path, rots: Rot) -> None:
    source.rots = rots
    result = run(source, folder)
    assert code(result) == "payload_corrupt"
    assert names(source)[1] in [one["filename"] for one in result.values["failed_downloads"]]
    assert names(source)[1] not in payloads(folder)
    assert [path.name for path in folder.iterdir() if path.name.endswith(".partial")] == []


def test_a_source_that_never_ends_does_not_fill_the_disk(source: Source, folder: Path) -> None:
    source.rots = lambda _offset, data: data * 2
    run(source, folder)
    assert source.read_bytes < len(DATA) // 2 + 200_000


@only_root
def test_a_disk_that_fills_up_on_the_way_is_left_as_it_was(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStore, "free_bytes", lambda _store: 10**12)  # somebody else takes it meanwhile
    small, large = names(source)
    with tiny_file_system(tmp_path / "tiny") as disk:
        result = run(source, disk)
        assert (code(result), result.values["downloaded"]) == ("no_space", [small])
        assert [one["filename"] for one in result.values["failed_downloads"]] == [large]
        assert sorted(payloads(disk)) == [small, manifest_name(small)]
        assert not [path for path in disk.iterdir() if path.name.endswith(".partial")]


def test_a_faster_way_is_taken_and_what_it_does_not_bring_comes_in_chunks(source: Source, folder: Path) -> None:
    def whole(name: str, path: str) -> bool:
        Path(path).write_bytes(source.files[name])
        return True

    def half(name: str, path: str) -> bool:
        Path(path).write_bytes(source.files[name][: len(source.files[name]) // 2])
        return False

    def hole(name: str, path: str) -> bool:
        Path(path).write_bytes(bytes(len(source.files[name]) // 2))
        return False

    for fetch, least, most in ((whole, 0, 0), (half, 1, len(DATA) // 2 + 10), (hole, 1, 2 * len(DATA))):
        source.read_bytes = 0
        assert code(run(source, folder, fetch=fetch)) is None
        assert payloads(folder) == source.files
        assert least <= source.read_bytes <= most
        for path in folder.iterdir():
            path.unlink()


def test_a_copy_that_was_damaged_or_put_there_by_others_is_read_and_fetched_again(source: Source, folder: Path) -> None:
    run(source, folder)
    large = names(source)[1]
    (folder / large).write_bytes(DATA[:-1] + b"x")
    planned = run(source, folder, check=True)
    assert planned.values["downloaded"] == [large]
    result = run(source, folder)
    assert (result.values["downloaded"], payloads(folder)) == ([large], source.files)
    (folder / RECORD_NAME).write_bytes(b"[garbled")
    assert not run(source, folder).values["changed"]


def test_another_backup_of_the_same_name_is_never_replaced(source: Source, folder: Path) -> None:
    run(source, folder)
    large = names(source)[1]
    other = DATA[::-1]
    source.files[large] = other
    source.files[manifest_name(large)] = manifest_of(other, created_at=ago(days=1)).to_bytes()
    result = run(source, folder)
    assert (code(result), (folder / large).read_bytes()) == ("name_conflict", DATA)


def test_a_newer_pin_is_carried_over_and_one_of_the_copy_stays(source: Source, folder: Path) -> None:
    run(source, folder)
    small, large = names(source)
    for name in (small, large):
        path = folder / manifest_name(name)
        if name == small:
            source.files[path.name] = relabelled(from_bytes(source.files[path.name]), True, {"a": "b"}, NOW).to_bytes()
        else:
            path.write_bytes(relabelled(from_bytes(path.read_bytes()), True, {}, NOW).to_bytes())
    result = run(source, folder)
    assert (result.values["changed"], result.values["refreshed"], result.values["downloaded"]) == (True, [small], [])
    assert [from_bytes((folder / manifest_name(name)).read_bytes()).pinned for name in (small, large)] == [True, True]
    assert not run(source, folder).values["changed"]


def test_a_partial_that_another_run_holds_is_left_to_it(source: Source, folder: Path) -> None:
    small, large = names(source)
    folder.mkdir(parents=True)
    partial = folder / partial_of(large, source)
    with partial.open("wb") as held:
        assert try_lock(held.fileno())
        result = run(source, folder)
    assert (code(result), result.values["downloaded"]) == ("locked", [small])
    assert code(run(source, folder)) is None


def test_partials_that_no_run_continues_are_deleted_after_a_day(source: Source, folder: Path) -> None:
    folder.mkdir(parents=True)
    old, new = (folder / upload_name(f"backup_{label}_2026-01-01_00-00-00.dump.gz", "0" * 64) for label in ("old", "new"))
    for path, at in ((old, ago(days=2)), (new, ago(hours=1))):
        path.write_bytes(b"begun")
        os.utime(path, (at.timestamp(), at.timestamp()))
    run(source, folder)
    assert (old.exists(), new.exists()) == (False, True)


def test_only_good_ones_are_fetched_and_a_named_other_is_an_error(source: Source, folder: Path) -> None:
    small, large = names(source)
    del source.files[manifest_name(small)]
    source.files[large] += b"more"
    with pytest.raises(NothingFound, match="unverified"):
        run(source, folder)
    source.files[large] = DATA
    result = run(source, folder)
    assert (code(result), result.values["downloaded"]) == (None, [large])
    assert result.values["not_downloaded"] == [{"filename": small, "reason": "it is unverified"}]
    assert code(run(source, folder, selection=Selection(names=(small, large)))) == "manifest_unusable"


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar"])
def test_an_archive_is_made_once_and_a_rotten_payload_leaves_none(source: Source, folder: Path, suffix: str) -> None:
    planned = run(source, folder, archive=suffix, check=True)
    assert (planned.values["changed"], folder.exists()) == (True, False)
    source.rots = ROTTEN[0]
    with pytest.raises(BackupError, match="digest"):
        run(source, folder, archive=suffix)
    assert payloads(folder) == {}
    assert list(folder.iterdir()) == []
    source.rots = lambda _offset, data: data
    first, second = run(source, folder, archive=suffix), run(source, folder, archive=suffix)
    assert [outcome.values["changed"] for outcome in (first, second)] == [True, False]
    assert (first.values["downloaded"], second.values["up_to_date"]) == (names(source), names(source))
    assert [path.name for path in folder.iterdir()] == [f"backups.{suffix}"]
