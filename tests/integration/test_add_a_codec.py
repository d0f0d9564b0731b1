"""A new codec needs its folder and one line in the registry, and every module knows it.

The steps are those of docs/architecture.md, "Add a codec", taken in a copy of the collection.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import lzma
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.support.modules import Host, run_module

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "support" / "example_codec"
ENCRYPTION = ROOT / "tests" / "support" / "example_encryption"
UTILS = "ansible_collections.lastgood.database.plugins.module_utils"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Return a host that has the collection with the examples of a compression and of an encryption."""
    top = tmp_path_factory.mktemp("scratch")
    plugins = top / "ansible_collections" / "lastgood" / "database" / "plugins"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(EXAMPLE, plugins / "module_utils" / "_codecs" / "xz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ENCRYPTION, plugins / "module_utils" / "_codecs" / "shift", ignore=shutil.ignore_patterns("__pycache__"))
    registry = plugins / "module_utils" / "_codecs" / "registry.py"
    source, first = registry.read_text(encoding="utf-8"), f"from {UTILS}._codecs.base import"
    for face, path, after in (
        ("XzCompression", "xz.compression", "    NoCompression.name: NoCompression(),\n"),
        ("ShiftEncryption", "shift.encryption", "    GpgEncryption.name: GpgEncryption(),\n"),
    ):
        assert source.count(after) == 1
        source = source.replace(after, f"{after}    {face}.name: {face}(),\n")
        source = source.replace(first, f"from {UTILS}._codecs.{path} import {face}\n{first}", 1)
    registry.write_text(source)
    return Host(search_path=(top,))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    write(path, "first")
    return path


def write(path: Path, word: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"drop table if exists t; create table t (word text); insert into t values ('{word}')")


def word_in(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("select word from t").fetchone()[0])


def test_its_backups_are_made_listed_verified_and_restored(host: Host, database: Path, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    options = {"directory": str(directory), "engine": "sqlite", "databases": [str(database)], "compression": "xz"}
    outcome = run_module("db_backup", options, host=host)
    assert (outcome.changed, outcome.outcomes) == (True, ["created"])
    [record] = outcome.result["backups"]
    assert record["filename"].endswith(".dump.xz")
    assert (record["compression"], record["encrypted"]) == ("xz", False)
    assert lzma.decompress((directory / record["filename"]).read_bytes()).startswith(b"SQLite format 3\0")
    assert run_module("db_backup", options, host=host).outcomes == ["unchanged"]
    for level in ("checksum", "structure", "restore"):
        [verdict] = run_module("backup_verify", directory=str(directory), level=level, host=host).result["verified"]
        assert (verdict["level"], verdict["verdict"]) == (level, "passed")
    write(database, "broken")
    restore = {"directory": str(directory), "engine": "sqlite", "database": str(database), "if_exists": "replace"}
    assert run_module("db_restore", restore, host=host).changed
    assert word_in(database) == "first"


def test_an_encryption_is_added_in_the_same_way(host: Host, database: Path, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    options = {"directory": str(directory), "engine": "sqlite", "databases": [str(database)], "compression": "xz"}
    options |= {"encryption": "shift", "recipients": ["seven!!"]}
    [record] = run_module("db_backup", options, host=host).result["backups"]
    assert record["filename"].endswith(".dump.xz.shift")
    payload = (directory / record["filename"]).read_bytes()
    assert lzma.decompress(bytes((byte - 7) % 256 for byte in payload)).startswith(b"SQLite format 3\0")
    assert run_module("db_backup", options, host=host).outcomes == ["unchanged"]
    [verdict] = run_module("backup_verify", directory=str(directory), level="checksum", host=host).result["verified"]
    assert verdict["verdict"] == "passed"


def test_one_of_its_backups_that_is_encrypted_is_recognised(host: Host, tmp_path: Path) -> None:
    name = "backup_app_2026-01-31_01-02-03.dump.xz.age"
    (tmp_path / name).write_bytes(b"age-encryption.org/v1\n")
    listed = run_module("backup_facts", directory=str(tmp_path), host=host).result["ansible_facts"]["database_backups"]
    [file] = listed["files"]
    assert (file["filename"], file["compression"], file["encrypted"]) == (name, "xz", True)


def test_a_stream_of_it_that_was_cut_fails(host: Host, database: Path, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    options = {"directory": str(directory), "engine": "sqlite", "databases": [str(database)], "compression": "xz"}
    [record] = run_module("db_backup", options, host=host).result["backups"]
    payload = directory / record["filename"]
    payload.write_bytes(payload.read_bytes()[:-1])
    (directory / record["manifest"]).unlink()
    [verdict] = run_module("backup_verify", directory=str(directory), level="structure", host=host).result["verified"]
    assert verdict["verdict"] == "failed"


def test_without_it_its_backups_are_no_backups_and_its_name_is_refused(host: Host, database: Path, tmp_path: Path) -> None:
    directory = str(tmp_path / "backups")
    options = {"directory": directory, "engine": "sqlite", "databases": [str(database)], "compression": "xz"}
    assert run_module("db_backup", options, host=host).changed
    assert run_module("backup_facts", directory=directory).result["ansible_facts"]["database_backups"]["count"] == 0
    outcome = run_module("db_backup", options)
    assert outcome.result["failed"] and "gzip, zstd, none" in outcome.msg
