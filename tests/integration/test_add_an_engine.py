"""A new engine needs its folder and one line in the registry, and every module knows it.

The steps are those of docs/architecture.md, "Add an engine", taken in a copy of the collection.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.modules import Host, run_module

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "support" / "example_engine"
UTILS = "ansible_collections.lastgood.database.plugins.module_utils"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Return a host that has the collection with the example engine."""
    top = tmp_path_factory.mktemp("scratch")
    plugins = top / "ansible_collections" / "lastgood" / "database" / "plugins"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    folder = plugins / "module_utils" / "_engines" / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    add_line(
        plugins / "module_utils" / "_engines" / "registry.py",
        f"from {UTILS}._engines.example.engine import ExampleEngine",
        "    SqliteEngine.name: SqliteEngine(),",
        "    ExampleEngine.name: ExampleEngine(),",
    )
    return Host(search_path=(top,))


def add_line(path: Path, imported: str, after: str, line: str) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count(f"\n{after}\n") == 1
    source = source.replace("import typing as t\n", f"import typing as t\n\n{imported}\n", 1)
    path.write_text(source.replace(after, f"{after}\n{line}"), encoding="utf-8")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("EXAMPLE\nfirst\n")
    return path


def test_a_new_engine_is_dumped_verified_and_restored(host: Host, database: Path, tmp_path: Path) -> None:
    directory = str(tmp_path / "backups")
    options = {"directory": directory, "engine": "example", "databases": [str(database)]}
    outcome = run_module("db_backup", options, host=host)
    assert (outcome.changed, outcome.outcomes) == (True, ["created"])
    assert run_module("db_backup", options, host=host).outcomes == ["unchanged"]
    for level in ("checksum", "structure", "restore"):
        [verdict] = run_module("backup_verify", directory=directory, level=level, host=host).result["verified"]
        assert (verdict["engine"], verdict["level"], verdict["verdict"]) == ("example", level, "passed")
    database.write_text("EXAMPLE\nbroken\n")
    restore = {"directory": directory, "engine": "example", "database": str(database), "if_exists": "replace"}
    assert run_module("db_restore", restore, host=host).changed
    assert database.read_text() == "EXAMPLE\nfirst\n"


def test_a_backup_of_it_that_lost_its_manifest_is_recognised(host: Host, database: Path, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    assert run_module("db_backup", directory=str(directory), engine="example", databases=[str(database)], host=host).changed
    [manifest] = directory.glob("*.manifest.json")
    manifest.unlink()
    [verdict] = run_module("backup_verify", directory=str(directory), level="structure", host=host).result["verified"]
    assert (verdict["engine"], verdict["verdict"]) == ("example", "passed")


def test_what_it_requires_is_required(host: Host, tmp_path: Path) -> None:
    outcome = run_module("db_backup", directory=str(tmp_path), engine="example", host=host)
    assert outcome.result["failed"] and "databases" in outcome.msg


def test_without_it_its_backups_are_inconclusive_and_its_name_is_refused(host: Host, database: Path, tmp_path: Path) -> None:
    directory = str(tmp_path / "backups")
    options = {"directory": directory, "engine": "example", "databases": [str(database)]}
    assert run_module("db_backup", options, host=host).changed
    verdicts = run_module("backup_verify", directory=directory, level="structure").result["verified"]
    assert [verdict["verdict"] for verdict in verdicts] == ["inconclusive"]
    outcome = run_module("db_backup", options)
    assert outcome.result["failed"] and "postgresql, sqlite" in outcome.msg
