"""A new store needs its folder, its options file and a line in one table, and every module that takes a store knows it.

The steps are those of docs/architecture.md, "Add a store", taken in a copy of the collection.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.backups import ago, put_backup
from tests.support.modules import Host, run_module

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "support" / "example_store"
UTILS = "ansible_collections.lastgood.database.plugins.module_utils"
CONTENT = b"SQLite format 3\x00" + bytes(1000)
LINE = '    "sftp": (SFTP_SPEC, sftp_connector),\n'


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Return a host that has the collection with the example store."""
    top = tmp_path_factory.mktemp("scratch")
    plugins = top / "ansible_collections" / "lastgood" / "database" / "plugins"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    folder = plugins / "module_utils" / "_stores" / "example"
    folder.mkdir()
    shutil.copy(EXAMPLE / "store.py", folder / "store.py")
    shutil.copy(EXAMPLE / "arguments.py", plugins / "module_utils" / "_arguments" / "store_example.py")
    registry = plugins / "module_utils" / "_arguments" / "stores.py"
    source = registry.read_text(encoding="utf-8")
    assert source.count(LINE) == 1
    imported = f"from {UTILS}._arguments.store_example import EXAMPLE_SPEC, example_connector"
    source = source.replace("import typing as t\n", f"import typing as t\n\n{imported}\n", 1)
    source = source.replace(LINE, f'{LINE}    "example": (EXAMPLE_SPEC, example_connector),\n')
    registry.write_text(source, encoding="utf-8")
    return Host(search_path=(top,))


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A directory with two backups, and the options of a store that is empty."""
    here, share = tmp_path / "here", tmp_path / "share"
    here.mkdir()
    share.mkdir()
    for days in (2, 1):
        content = {"content_bytes": len(CONTENT), "content_sha256": hashlib.sha256(CONTENT).hexdigest()}
        put_backup(here, ago(days=days), gzip.compress(CONTENT), engine="sqlite", **content)
    return here, {"mounted_at": str(share)}


def test_backups_are_sent_to_it_listed_verified_and_pruned(host: Host, places: tuple[Path, dict[str, Any]]) -> None:
    here, share = places
    sent = run_module("backup_upload", directory=str(here), example=share, host=host)
    assert (sent.changed, len(sent.result["uploaded"])) == (True, 2)
    assert not run_module("backup_upload", directory=str(here), example=share, host=host).changed
    verdicts = run_module("backup_verify", example=share, level="checksum", host=host).result["verified"]
    assert [verdict["verdict"] for verdict in verdicts] == ["passed", "passed"]
    assert len(run_module("backup_prune", example=share, keep_last=1, host=host).result["deleted"]) == 1
    [left] = run_module("backup_facts", example=share, host=host).result["ansible_facts"]["database_backups"]["files"]
    assert left["path"].startswith("example:")
    assert left["filename"] == sent.result["uploaded"][-1]


def test_it_stands_for_the_others_and_not_beside_them(host: Host, places: tuple[Path, dict[str, Any]]) -> None:
    here, share = places
    both = run_module("backup_facts", directory=str(here), example=share, host=host)
    assert both.result["failed"] and "directory|sftp|example" in both.msg
    neither = run_module("backup_facts", host=host)
    assert neither.result["failed"] and "directory, sftp, example" in neither.msg


def test_without_it_its_option_is_refused(places: tuple[Path, dict[str, Any]]) -> None:
    outcome = run_module("backup_facts", directory=str(places[0]), example=places[1])
    assert outcome.result["failed"] and "Unsupported parameters" in outcome.msg
