"""A signal in the middle of a module's work: what was done is what is reported."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.backups import ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Host, collections_path, run_module

# Sends a signal to its own process right after so many calls of a function, before the caller sees what it returned.
SITE = """
import os, signal
genuine, calls = os.{call}, 0

def signalling(*arguments, **options):
    global calls
    result = genuine(*arguments, **options)
    calls += {counts}
    if calls == {number} and {counts}:
        os.kill(os.getpid(), {signal})
    return result

os.{call} = signalling
"""


@pytest.fixture
def signalled(tmp_path: Path) -> Callable[..., Host]:
    """Make a host on which a call of the operating system is followed by a signal."""

    def make(call: str, number: int, signals: signal.Signals = signal.SIGTERM, counts: str = "True") -> Host:
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(SITE.format(call=call, number=number, signal=int(signals), counts=counts))
        return Host(search_path=(site, collections_path()))

    return make


HOLDER = "ansible_collections.lastgood.database.plugins.module_utils._stopping"
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)


@SIGNALS
@pytest.mark.parametrize("files", [1, 2, 3, 4])
def test_a_prune_that_deleted_some_says_which(
    tmp_path: Path, signalled: Callable[..., Host], number: signal.Signals, files: int
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    names = {put_backup(folder, ago(days=day)) for day in range(1, 7)}
    host = signalled("unlink", files, number, "arguments[0].startswith('backup_')")
    outcome = run_module("backup_prune", directory=str(folder), keep_last=1, host=host)
    gone = names - {path.name for path in folder.iterdir()}
    assert 1 <= len(gone) < 5
    assert {one["filename"] for one in outcome.result["deleted"]} == gone
    assert outcome.result["changed"] is True
    assert outcome.result["error"] == {"code": "interrupted", "signal": int(number)}
    assert number.name in outcome.msg


@SIGNALS
def test_a_dump_that_was_committed_is_created_whatever_comes_then(
    tmp_path: Path, signalled: Callable[..., Host], number: signal.Signals
) -> None:
    for name in ("one.db", "two.db"):
        with sqlite3.connect(tmp_path / name) as database:
            database.execute("create table t (i)")
    host = signalled("rename", 1, number, "arguments[1].endswith('.dump.gz')")
    folder = tmp_path / "backups"
    sources = [str(tmp_path / "one.db"), str(tmp_path / "two.db")]
    outcome = run_module("db_backup", engine="sqlite", directory=str(folder), databases=sources, origin="db1", host=host)
    assert outcome.outcomes == ["created", "failed"]
    assert outcome.result["changed"] is True
    assert outcome.error_code == "interrupted"
    assert [path.name for path in folder.glob("backup_*.dump.gz")] == [outcome.backups[0]["filename"]]
    assert list(folder.glob(".*.partial")) == []


def test_an_archive_that_has_its_name_is_made(tmp_path: Path, signalled: Callable[..., Host]) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    put_backup(folder, ago(days=1))
    archive = tmp_path / "all.zip"
    outcome = run_module("backup_archive", directory=str(folder), dest=str(archive), host=signalled("rename", 1))
    assert outcome.changed
    assert archive.exists()


@SIGNALS
@pytest.mark.parametrize(
    "imported",
    ["ansible.module_utils.basic", "hashlib", "ansible_collections.lastgood.database.plugins.module_utils._stores.base"],
)
def test_a_signal_while_a_module_is_imported_ends_in_a_result(tmp_path: Path, number: signal.Signals, imported: str) -> None:
    put_backup(tmp_path, ago(days=1))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"""
import os, sys
def see(event, arguments):
    if event == "import" and arguments[0] == {imported!r} and {HOLDER!r} in sys.modules:
        os.kill(os.getpid(), {int(number)})
sys.addaudithook(see)
""")
    outcome = run_module("backup_facts", directory=str(tmp_path), host=Host(search_path=(site, collections_path())))
    assert outcome.status == 0 or outcome.error_code == "interrupted"
