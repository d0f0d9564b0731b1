"""db_backup of a cluster of many databases, in one run."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.observe import assert_whole, contents
from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, login
from tools.throwaway_postgresql import Server, installation

NAMES = [f"tenant{number}" for number in range(200)]
# psql's \connect, so that one program makes them all.
MAKE = "create database {name} template template0 strategy file_copy;\n\\connect {name}\ncreate table only_in_{name} ();\n"

MEMORY = Path("/dev/shm")


def quick_place() -> Path | None:
    """Where the 60,000 files of so many databases are made soon: in memory, where it has 4 GB of room."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30 else None


def test_a_cluster_of_200_databases_is_backed_up_in_one_run(tmp_path: Path) -> None:
    if not VERSIONS:
        pytest.skip("no PostgreSQL server on this machine")
    directory = tmp_path / "backups"
    with Server.start(installation(VERSIONS[-1]), base=quick_place()) as server:
        server.psql("".join(MAKE.format(name=name) for name in NAMES))
        options = {"directory": str(directory), "parallel_databases": 4, **login(server)}

        first = run_module("db_backup", **options)
        assert first.outcomes == ["created"] * (len(NAMES) + 2)
        assert {record["database"] for record in first.backups} == {*NAMES, "postgres", None}
        assert_whole(directory)
        for record in first.backups:
            if record["database"] in NAMES:
                dump = gzip.decompress(Path(record["path"]).read_bytes())
                assert f"CREATE TABLE public.only_in_{record['database']} (".encode() in dump

        stored = contents(directory)
        second = run_module("db_backup", interval="1h", **options)
        assert second.outcomes == ["fresh"] * len(first.outcomes)
        assert contents(directory) == stored
