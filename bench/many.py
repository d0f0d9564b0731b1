"""Backing up many small databases in which nothing is new, beside ten times fewer.

Run with a folder as its argument, it is the process that is measured.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding, PayloadCodec
from ansible_collections.lastgood.database.plugins.module_utils._codecs.inline import PlainCodec
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.dump import SqliteDumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteDumpOptions
from ansible_collections.lastgood.database.plugins.module_utils._operations.dump import DumpRequest, dump
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import put_backup
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from bench.measure import Case, compare

FEW, MANY = 100, 1000
OLDER = 10  # backups of each database, besides the one of what is in it now
ORIGIN = "db1"


def many() -> None:
    """Print the rows."""
    with tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as parent:
        cases = {}
        for count in (MANY, FEW):
            folder = Path(parent, str(count))
            fill(folder, count)
            title = f"{count} databases, {count * (OLDER + 1)} backups"
            cases[title] = Case([sys.executable, "-m", "bench.many", str(folder)], units=count / FEW)
        compare(f"Finding nothing new, for each {FEW} databases", cases, rounds=3)


def fill(folder: Path, count: int) -> None:
    """Make databases of a table each, and their backups."""
    (folder / "databases").mkdir(parents=True)
    (folder / "backups").mkdir()
    now = datetime.now(timezone.utc).replace(microsecond=0)
    for number in range(count):
        path = (folder / "databases" / f"app{number}.db").resolve()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("create table t (n int)")
        for day in range(1, OLDER + 1):
            known = {"origin": ORIGIN, "engine": "sqlite", "instance": str(path), "database": path.name}
            put_backup(folder / "backups", now - timedelta(days=day), compression="none", **known)
    assert back_up(folder) == {"created"}


def back_up(folder: Path) -> set[str]:
    """Back up all databases, and return the outcomes."""
    paths = tuple(str(path.resolve()) for path in sorted((folder / "databases").iterdir()))
    store = LocalStore(str(folder / "backups"))
    with contextlib.closing(store):
        request = DumpRequest(
            SqliteDumper(SqliteDumpOptions(paths), lambda: False), store, ORIGIN, PayloadCodec(Encoding("none"), PlainCodec())
        )
        report = dump(request, context_at(lambda: datetime.now(timezone.utc)))
    return {result["outcome"] for result in report.values["backups"]}


if __name__ == "__main__":
    assert back_up(Path(sys.argv[1])) == {"unchanged"}
