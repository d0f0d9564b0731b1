"""Each format, read by the programs and the libraries that users read it with."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import Chunk, Member
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS, format_by_ending

TIME = datetime(2026, 2, 28, 12, 0, 2, tzinfo=timezone.utc)
LONG_NAME = f"backup_{'x' * 150}_2026-02-28_12-00-00.dump.gz.manifest.json"
FILES = {"index.json": b"{}\n", LONG_NAME: b"long", "empty": b"", "payload": os.urandom(300_000)}
GIB = 1024**3

each_format = pytest.mark.parametrize("name", FORMATS)


class SparseFile:
    """A file in which zeros take no room."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb", buffering=0)

    def write(self, data: Chunk) -> None:
        if len(data) >= 1024 * 1024:
            self.file.seek(len(data), os.SEEK_CUR)
        else:
            self.file.write(data)

    def write_at(self, offset: int, data: bytes) -> None:
        os.pwrite(self.file.fileno(), data, offset)


class Memory(io.BytesIO):
    def write_at(self, offset: int, data: bytes) -> None:
        self.getbuffer()[offset : offset + len(data)] = data


def members_of(files: dict[str, bytes]) -> list[Member]:
    return [Member(name, len(data), TIME) for name, data in files.items()]


def archive_of(name: str, files: dict[str, bytes], chunk: int = 70_001) -> bytes:
    output = Memory()
    writer = FORMATS[name].writer(output)  # type: ignore[arg-type]
    for member in members_of(files):
        data = memoryview(files[member.name])
        writer.add(member, (data[start : start + chunk] for start in range(0, len(data), chunk)))
    writer.finish()
    return output.getvalue()


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    path = tmp_path / f"archive.{name}"
    path.write_bytes(archive_of(name, FILES))
    return path


@each_format
def test_the_programs_extract_what_was_put_in(name: str, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = ["unzip", "-q", str(path), "-d", str(out)] if name == "zip" else ["tar", "-xf", str(path), "-C", str(out)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == FILES
    assert {file.stat().st_mode & 0o777 for file in out.iterdir()} == {0o600}


@each_format
def test_pythons_readers_find_the_files_in_order_with_time_mode_and_no_owner(name: str, path: Path) -> None:
    if name == "zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert [(one.filename, archive.read(one)) for one in archive.infolist()] == list(FILES.items())
            assert {one.date_time for one in archive.infolist()} == {(2026, 2, 28, 12, 0, 2)}
            assert {one.external_attr >> 16 for one in archive.infolist()} == {0o100600}
        return
    with tarfile.open(path) as archive:
        found = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
        assert list(found.items()) == list(FILES.items())
        assert {(one.mtime, one.mode, one.uid, one.gid, one.uname) for one in archive} == {(TIME.timestamp(), 0o600, 0, 0, "")}


@each_format
@pytest.mark.parametrize("size", [0, 1, 0xFFFF - 1024, 0xFFFF * 2, 10240 - 1536, 10240 - 1535, 1_000_000])
def test_its_size_is_known_beforehand(name: str, size: int) -> None:
    for files in ({"a": bytes(size)}, {**FILES, "more": bytes(size)}):
        assert len(archive_of(name, files)) == FORMATS[name].size_bytes(members_of(files))


@each_format
def test_the_bytes_are_the_same_however_the_content_comes(name: str) -> None:
    assert archive_of(name, FILES, 1) == archive_of(name, FILES, 1_000_000)


@each_format
def test_nothing_is_compressed_and_little_is_added(name: str) -> None:
    assert 0 <= len(archive_of(name, {"a": bytes(1_000_000)})) - 1_000_000 < 15_000


@each_format
def test_the_first_file_is_read_from_the_beginning_alone(name: str) -> None:
    whole = archive_of(name, {"index.json": b"what is in it", "payload": os.urandom(100_000)})
    read = FORMATS[name].first_file
    assert read(whole[:2048], "index.json") == b"what is in it"
    assert read(whole, "payload") is None
    assert [read(whole[:length], "index.json") for length in (0, 10, 40)] == [None] * 3
    for other in FORMATS:
        foreign = archive_of(other, {"other": b"x"})
        assert read(foreign, "index.json") is None
    assert read(os.urandom(5000), "index.json") is None


def test_a_bomb_does_not_fill_our_memory() -> None:
    beginning = gzip.compress(bytes(50_000_000))
    assert FORMATS["tar.gz"].first_file(beginning, "index.json") is None


@pytest.mark.parametrize("name", ["zip", "tar"])
def test_beyond_4_gib_the_programs_and_pythons_readers_find_what_comes_behind(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"archive.{name}"
    output = SparseFile(path)
    files = {"large": 4 * GIB + 1024 * 1024, "small": 6}
    members = [Member(each, size, TIME) for each, size in files.items()]
    writer = FORMATS[name].writer(output)
    writer.add(members[0], zeros(files["large"]))
    writer.add(members[1], [b"behind"])
    writer.finish()
    output.file.close()
    assert path.stat().st_size == FORMATS[name].size_bytes(members)
    assert path.stat().st_blocks < 10_000  # else this test takes room that a machine may not have

    command = ["unzip", "-p", str(path), "small"] if name == "zip" else ["tar", "-xOf", str(path), "small"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"behind"
    if name == "zip":
        assert str(files["large"]) in subprocess.run(["unzip", "-l", path], capture_output=True, check=True, text=True).stdout
        with zipfile.ZipFile(path) as archive:
            assert {one.filename: one.file_size for one in archive.infolist()} == files
            assert archive.read("small") == b"behind"
        with path.open("rb") as file:  # as a reader that gets no further than the file's own header sees it
            header = struct.unpack("<4sHHHHHIIIHH", file.read(30))
            file.seek(header[9], os.SEEK_CUR)
            assert header[7:9] == (0xFFFFFFFF, 0xFFFFFFFF)
            assert struct.unpack("<HHQQ", file.read(header[10])) == (1, 16, files["large"], files["large"])
    else:
        with tarfile.open(path) as archive:
            assert {one.name: one.size for one in archive} == files


def zeros(size: int) -> Iterable[Chunk]:
    chunk = memoryview(bytes(16 * 1024 * 1024))
    for _time in range(size // len(chunk)):
        yield chunk
    yield chunk[: size % len(chunk)]


def test_zip_counts_beyond_65535_files() -> None:
    files = {f"f{number}": b"" for number in range(65_536)}
    whole = archive_of("zip", files)
    assert len(whole) == FORMATS["zip"].size_bytes(members_of(files))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert len(archive.namelist()) == 65_536


@pytest.mark.parametrize("year", [1, 1969, 1979, 2108, 9999])
@each_format
def test_a_time_that_a_format_has_no_room_for_is_no_error(name: str, year: int) -> None:
    member = Member("a", 1, datetime(year, 1, 2, tzinfo=timezone.utc))
    output = Memory()
    writer = FORMATS[name].writer(output)  # type: ignore[arg-type]
    writer.add(member, [b"x"])
    writer.finish()
    assert len(output.getvalue()) == FORMATS[name].size_bytes([member])


def test_a_format_is_told_by_the_ending_of_a_name() -> None:
    endings = {"a.zip": "zip", "a.tar": "tar", "a.tar.gz": "tar.gz", "a.tgz": "tar.gz", ".tar": "tar"}
    for filename, name in endings.items():
        assert format_by_ending(filename) is FORMATS[name]
    for filename in ("a", "zip", "a.gz", "a.tar.zst", "a.ZIP", "a.zip.partial"):
        assert format_by_ending(filename) is None
