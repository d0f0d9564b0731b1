# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one database's trouble with the host does to the others: nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Encoder
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import SqliteEngine, SqliteOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import SeveralFailed
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump import DumpRequest, dump
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_a_host_that_gives_out_at_one_database_loses_no_other_s_result(tmp_path: Path, error: Exception) -> None:
    class Greedy(PlainCodec):
        """Asks for too much, once."""

        has_asked = False

        @contextlib.contextmanager
        def encoding(self, write: Callable[[bytes | memoryview], object]) -> Iterator[Encoder]:
            if not self.has_asked:
                self.has_asked = True
                raise error
            with super().encoding(write) as encoder:
                yield encoder

    paths = []
    for number in range(3):
        path = tmp_path / f"app{number}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("create table t (n int)")
        paths.append(str(path))
    engine, store = SqliteEngine(SqliteOptions(tuple(paths))), LocalStore(str(tmp_path / "backups"))
    report = dump(DumpRequest(engine, store, "here", Greedy(), "none"), lambda: NOW, check_mode=False)
    assert [result.outcome for result in report.results] == ["failed", "created", "created"]
    assert isinstance(report.failure, SeveralFailed)
    assert report.failure.code == "host_exhausted"
    store.close()
