"""The file that becomes the archive: its digest is that of what lies there, and no trouble of the disk is missed."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._archives import output as under_test
from ansible_collections.lastgood.database.plugins.module_utils._archives.output import file_output
from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace, StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.tests.support.processes import HANGS_AFTER_SECONDS as LONG

DOING = "Writing an archive"
WORTH_A_FLUSH = 3000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def descriptor(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(under_test, "_WORTH_A_FLUSH_BYTES", WORTH_A_FLUSH)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How large the file was at each flush."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    return sizes


@pytest.mark.parametrize("sizes", [[], [0], [1], [WORTH_A_FLUSH], [WORTH_A_FLUSH - 1, 2] * 50, [5 * 1024 * 1024 + 7, 1]])
def test_the_digest_is_that_of_the_file(descriptor: int, path: Path, sizes: list[int]) -> None:
    content = [os.urandom(size) for size in sizes]
    with file_output(descriptor, DOING) as output:
        for data in content:
            output.write(data)
            output.mark_final()
        sha256 = output.finish()
    assert path.read_bytes() == b"".join(content)
    assert sha256 == hashlib.sha256(b"".join(content)).hexdigest()


def test_what_is_not_final_can_be_written_over(descriptor: int, path: Path) -> None:
    with file_output(descriptor, DOING) as output:
        output.write(bytes(WORTH_A_FLUSH))
        output.mark_final()
        output.write(bytes(2 * WORTH_A_FLUSH))
        output.write_at(WORTH_A_FLUSH, b"known later")
        output.mark_final()
        sha256 = output.finish()
    assert path.read_bytes()[WORTH_A_FLUSH:].startswith(b"known later\0")
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_disk_is_not_asked_to_flush_for_every_small_file(descriptor: int, flushed: list[int]) -> None:
    with file_output(descriptor, DOING) as output:
        for _time in range(9):
            output.write(bytes(WORTH_A_FLUSH // 3))
            output.mark_final()
        assert output.finish()
    assert len(flushed) == 3


def test_all_is_flushed_at_the_end(descriptor: int, flushed: list[int]) -> None:
    with file_output(descriptor, DOING) as output:
        output.write(b"few")
        assert output.finish()
    assert flushed == [3]


def test_a_flush_that_fails_is_told(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(NoSpace, match=DOING), file_output(descriptor, DOING) as output:
        output.write(b"some")
        output.finish()


def test_a_file_that_somebody_cuts_short_is_told(descriptor: int, path: Path) -> None:
    with pytest.raises(StoreFailed, match="cut short"), file_output(descriptor, DOING) as output:
        output.write(bytes(1000))
        os.truncate(path, 999)
        output.finish()


def test_who_leaves_it_with_an_error_does_not_wait_until_all_is_digested(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    has_begun, may_go_on = threading.Event(), threading.Event()
    read = os.preadv

    def count(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        reads.append(offset)
        has_begun.set()
        assert may_go_on.wait(LONG)
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", count)
    with pytest.raises(ZeroDivisionError), file_output(descriptor, DOING) as output:
        output.write(bytes(5 * CHUNK_BYTES))
        output.mark_final()
        assert has_begun.wait(LONG)
        threading.Timer(0.1, may_go_on.set).start()  # after the error, or the test shows nothing
        raise ZeroDivisionError
    assert reads == [0]
