# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a disk that fails says of a backup, and for how long."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.examination import ExaminationOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.examiner import Examiner
from ansible_collections.lastgood.database.plugins.module_utils._errors import StoreFailed
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import EVERYTHING
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Level
from ansible_collections.lastgood.database.plugins.module_utils._operations.verify import VerifyRequest, verify
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, put_backup, put_payload

CONTENT = b"SQLite format 3\x00" + bytes(1000)


def look(folder: Path, runner: ModuleRunner, level: Level = "checksum") -> tuple[str, str, str]:
    """Return level, verdict and state of the only backup, as a run at that level tells them."""
    store = LocalStore(str(folder))
    try:
        report = verify(VerifyRequest(store, EVERYTHING, level, ExaminationOptions()), runner, lambda: NOW, check_mode=False)
    finally:
        store.close()
    [one] = report.values()["verified"]
    return one["level"], one["verdict"], one["state"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = {"content_bytes": len(CONTENT), "content_sha256": hashlib.sha256(CONTENT).hexdigest()}
    put_backup(tmp_path, ago(days=1), gzip.compress(CONTENT), engine="sqlite", **content)
    return tmp_path


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (errno.EIO, ("checksum", "failed", "corrupt")),
        (errno.EBADMSG, ("checksum", "failed", "corrupt")),
        (errno.EACCES, ("checksum", "inconclusive", "good")),
        (errno.ESTALE, ("checksum", "inconclusive", "good")),
    ],
)
def test_a_disk_s_refusal_counts_until_all_of_it_is_read(
    folder: Path, runner: ModuleRunner, number: int, found: tuple[str, str, str]
) -> None:
    def refuse(store: LocalStore, name: str) -> object:
        raise StoreFailed("Reading it: no.", "See.") from OSError(number, "no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStore, "chunks", refuse)
        assert look(folder, runner) == found
    assert look(folder, runner) == ("checksum", "passed", "good")


class Failing:
    """A look for which a disk of the host's own fails, at one of its steps."""

    def __init__(self, step: str) -> None:
        self._step = step

    @contextlib.contextmanager
    def restoring(self) -> Iterator[Failing]:
        self._fail_at("begin")
        yield self

    def write(self, data: bytes | memoryview) -> None:
        self._fail_at("write")

    def finish(self) -> None:
        self._fail_at("finish")

    def _fail_at(self, step: str) -> None:
        if step == self._step:
            raise StoreFailed("Unpacking the backup: Input/output error.", "See.") from OSError(errno.EIO, "no")


@pytest.mark.parametrize("step", ["begin", "write", "finish"])
def test_a_disk_that_fails_where_a_backup_is_unpacked_says_nothing_of_it(
    folder: Path, runner: ModuleRunner, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Examiner, "examination_for", lambda examiner, manifest: Failing(step))
    assert look(folder, runner, "restore") == ("restore", "inconclusive", "good")


def test_to_learn_what_a_small_payload_is_no_more_of_it_is_unpacked_than_its_head(
    tmp_path: Path, runner: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = subprocess.run(("/usr/bin/zstd", "-1c"), input=bytes(100_000_000), capture_output=True, check=True).stdout
    assert len(bomb) < 4096
    put_payload(tmp_path, "backup_app_2026-02-01_12-00-00.dump.zst", bomb)
    for library in ("compression", "zstandard"):  # so that the other library reads it, then the program
        monkeypatch.setitem(sys.modules, library, None)
        tracemalloc.start()
        assert look(tmp_path, runner, "structure") == ("structure", "failed", "unverified")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 30_000_000
