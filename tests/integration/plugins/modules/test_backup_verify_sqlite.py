"""What SQLite's check says of a backup, and what it can't say: backup_verify and db_restore of the same backups."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import inspection
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.examination import SqliteExaminer
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    ContentInvalid,
    Inconclusive,
    Interrupted,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.tests.support.modules import OURSELVES, Host, Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.processes import death_of


class Source(NamedTuple):
    """A database, and the directory of its backups."""

    path: Path
    directory: Path

    def sql(self, text: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(text)

    def back_up(self, **over: Any) -> None:
        options = {"engine": "sqlite", "directory": str(self.directory), "databases": [str(self.path)], **over}
        assert run_module("db_backup", **options).outcomes == ["created"]

    def verify(self, host: Host = OURSELVES, **over: Any) -> dict[str, Any]:
        options = {"directory": str(self.directory), "level": "structure", **over}
        outcome = run_module("backup_verify", host=host, **options)
        [one] = outcome.result["verified"]
        return dict(one)

    def restore(self, **over: Any) -> Outcome:
        options = {"engine": "sqlite", "directory": str(self.directory), "source_database": self.path.name, **over}
        return run_module("db_restore", {"database": str(self.path.with_name("restored.db")), **options})

    def restored(self) -> bytes:
        return self.path.with_name("restored.db").read_bytes()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "app").mkdir()
    one = Source(tmp_path / "app" / "app.db", tmp_path / "backups")
    one.sql("create table t (id integer primary key, v text); insert into t (v) values ('a'), ('b')")
    return one


def change_schema(name: str, sql: str) -> str:
    """SQL that changes a definition behind SQLite's back, as an older or newer version could have it."""
    escaped = sql.replace("'", "''")
    return f"pragma writable_schema=on; update sqlite_master set sql='{escaped}' where name='{name}'"


# --- What this SQLite lacks -----------------------------------------------------------------------

UNKNOWN = {
    "syntax of a view": ("create view one as select v from t", "one", "create view one as select agg(v, ',' order by id) from t"),
    "syntax of a table": ("create table one (a)", "one", "create table one (a as always (1) forever)"),
    "table with the last root page": (
        "pragma auto_vacuum=1; vacuum; create table one (a)",
        "one",
        "create table one (a as always (1) forever)",
    ),
    "table option": ("create table one (a)", "one", "create table one (a) packed"),
    "tokenizer": ("create virtual table one using fts5(a)", "one", "create virtual table one using fts5(a, tokenize = 'icu de')"),
    "function": ("create table one (a); create index i on one (a)", "i", "create index i on one (fold(a))"),
    "collation": ("create table one (a); create index i on one (a)", "i", "create index i on one (a collate german)"),
}


@pytest.mark.parametrize("before, name, sql", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_this_sqlite_does_not_know_is_no_fault_of_the_backup(source: Source, before: str, name: str, sql: str) -> None:
    source.sql(before)
    source.sql(change_schema(name, sql))
    source.back_up()
    for level in ("structure", "restore"):
        found = source.verify(level=level)
        assert (found["verdict"], found["state"]) in [("inconclusive", "good"), ("passed", "good")], found
    outcome = source.restore()
    assert outcome.changed
    assert source.restored()[100:] == source.path.read_bytes()[100:]  # but for counters in the header


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_database_of_a_newer_sqlite_is_replaced_with_a_warning(source: Source, journal_mode: str) -> None:
    source.sql(f"pragma journal_mode={journal_mode}; create view one as select v from t")
    source.sql(change_schema("one", "create view one as select agg(v, ',' order by id) from t"))
    source.back_up()
    found = source.verify()
    assert (found["verdict"], found["state"]) == ("inconclusive", "good")
    assert "lacks what the database uses" in found["detail"]
    outcome = source.restore(database=str(source.path), if_exists="replace")
    assert outcome.changed
    assert any("was not checked" in warning and "lacks" in warning for warning in outcome.warnings)
    assert [path.name for path in source.path.parent.iterdir()] == ["app.db"]


def test_damage_is_found_behind_a_schema_that_can_not_be_parsed(source: Source) -> None:
    source.sql("insert into t with recursive c(n) as (select 9 union all select n + 1 from c where n < 5000) select n, n from c")
    source.sql("create view one as select v from t")
    source.sql(change_schema("one", "create view one as select agg(v, ',' order by id) from t"))
    data = bytearray(source.path.read_bytes())
    data[4096 * 4 : 4096 * 5] = bytes(4096)
    source.path.write_bytes(data)
    source.back_up()
    assert source.restore().error_code == "content_invalid"
    found = source.verify()
    assert (found["verdict"], found["state"]) == ("failed", "suspect")


def test_a_long_path_for_temporary_files_is_no_fault_of_the_backup(source: Source, tmp_path: Path) -> None:
    source.back_up()
    long = tmp_path.joinpath(*["x" * 100] * 5)
    long.mkdir(parents=True)
    found = source.verify(Host(environment={"TMPDIR": str(long)}))
    assert (found["verdict"], found["state"]) == ("inconclusive", "good")
    assert "TMPDIR" in found["detail"]


def test_a_disk_that_is_full_is_no_fault_of_the_backup(source: Source, small_disk: Callable[[str], Path]) -> None:
    source.sql("create table noise as select randomblob(2000000) as raw")
    source.back_up()
    found = source.verify(Host(environment={"TMPDIR": str(small_disk("size=1m"))}))
    assert (found["verdict"], found["state"]) == ("inconclusive", "good")


@pytest.mark.parametrize("said", ["disk I/O error", "unable to open database file", "database or disk is full"])
def test_trouble_with_our_own_copy_is_not_damage(said: str) -> None:
    error = inspection._translated(sqlite3.OperationalError(said))
    assert getattr(error, "code", None) == "store_failed"  # which backup_verify takes for inconclusive


@pytest.mark.parametrize(
    "finding, error",
    [
        ("Page 3: unable to get the page. error code=8458", StoreFailed),  # an I/O error, with its kind in the upper bits
        ("Tree 2 page 3: unable to get the page. error code=7", StoreFailed),
        ("failed to get page 7", StoreFailed),
        ("Page 3: unable to get the page. error code=11", ContentInvalid),
        ("Page 3: btreeInitPage() returns error code 11", ContentInvalid),
    ],
)
def test_a_page_that_can_not_be_read_is_not_a_page_that_is_damaged(finding: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        inspection._Findings(["*** in database main ***", finding], []).judge()


# --- Rows that their tables do not allow ----------------------------------------------------------

BROKEN_ROWS = {
    "not null": ("create table one (a); insert into one values (null), (null)", "create table one (a not null)", "NULL value in"),
    "strict": ("create table one (a int); insert into one values ('x')", "create table one (a int) strict", "non-INT value in"),
}


@pytest.mark.parametrize("before, sql, said", BROKEN_ROWS.values(), ids=BROKEN_ROWS.keys())
def test_rows_that_break_a_rule_are_the_source_s_and_come_back(source: Source, before: str, sql: str, said: str) -> None:
    source.sql(before)
    source.sql(change_schema("one", sql))
    source.back_up()
    found = source.verify(level="restore")
    assert (found["verdict"], found["state"]) == ("passed", "good")
    assert said in found["detail"]
    outcome = source.restore()
    assert outcome.changed
    assert any(said in warning for warning in outcome.warnings)


def test_rows_that_break_a_check_come_back(source: Source) -> None:
    source.sql("create table one (a); insert into one values (1)")
    source.sql(change_schema("one", "create table one (a check (a > 1))"))
    source.back_up()
    assert source.verify()["verdict"] == "passed"
    assert source.restore().changed


def test_rows_without_their_parents_come_back(source: Source) -> None:
    source.sql("create table child (t references t); insert into child values (77)")
    source.back_up()
    assert source.verify()["verdict"] == "passed"
    assert source.restore().changed


def test_damage_among_rows_that_break_a_rule_is_damage(source: Source) -> None:
    source.sql(
        "create table one (a); insert into one with recursive c(n) as (select 1 union all select n + 1 from c where n < 500)"
        " select null from c; create index i on t (v)"
    )
    source.sql(change_schema("one", "create table one (a not null)"))
    source.sql(change_schema("i", "create index i on t (id)"))  # so that the rows are not where they should be
    source.back_up()
    assert source.restore().error_code == "content_invalid"
    assert source.verify()["verdict"] == "failed"


# --- What would use up the host -------------------------------------------------------------------


def bomb(source: Source, expression: str) -> None:
    """Make an index whose expression is not what it was made with."""
    source.sql("create index x on t (id * 0)")
    source.sql(change_schema("x", f"create index x on t ({expression})"))
    source.back_up()


def test_a_check_that_takes_too_much_memory_is_given_up(source: Source) -> None:
    bomb(source, "length(hex(zeroblob(400000000 + id))) * 0")
    found = source.verify()
    assert (found["verdict"], found["state"]) == ("inconclusive", "good")
    assert "64 MiB" in found["detail"] and "integrity_check" in found["detail"]
    outcome = source.restore()
    assert outcome.changed
    assert any("was not checked" in warning for warning in outcome.warnings)


# Some seconds a row and 10 MB, in one step of SQLite's program, which nothing interrupts.
SLOW = "instr(zeroblob(10000000 + id), cast(zeroblob(100000) || 'x' as blob)) * 0"


def examine(source: Source, is_stopped: Callable[[], bool] = lambda: False) -> None:
    with SqliteExaminer(is_stopped).reading_structure(Manifest()) as look:
        look.write(source.path.read_bytes())
        look.finish()


def test_a_check_that_takes_too_long_is_given_up(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb(source, SLOW)
    monkeypatch.setattr(inspection, "LEAST_SECONDS", 0.2)

    def give_up() -> None:
        with pytest.raises(Inconclusive, match="takes more than the 0 seconds"):
            examine(source)

    assert death_of(give_up) == 0  # in a process of its own, with which the thread that is left behind ends


def test_a_check_ends_with_the_run(source: Source) -> None:
    with pytest.raises(Interrupted):
        examine(source, lambda: True)


@pytest.mark.parametrize("module", ["backup_verify", "db_restore"])
def test_a_signal_ends_a_check_at_once(source: Source, module: str) -> None:
    source.sql(
        "create table many (a text, b text); create index ma on many (a); create index mb on many (b);"
        "insert into many with recursive c(n) as (select 1 union all select n + 1 from c where n < 300000)"
        " select hex(randomblob(16)), hex(randomblob(16)) from c"
    )
    source.back_up(compression="none")
    copies = source.path.parent
    options: dict[str, Any] = {"directory": str(source.directory)}
    if module == "backup_verify":
        options |= {"level": "structure"}
    else:
        options |= {"engine": "sqlite", "source_database": "app.db", "database": str(copies / "new.db")}
    size = source.path.stat().st_size

    def is_copied() -> bool:
        found = [*copies.glob("lastgood-look-*/copy.db"), *copies.glob(".new.db_restoring_*")]
        return any(path.stat().st_size >= size for path in found)

    with running_module(module, options, host=Host(environment={"TMPDIR": str(copies)})) as process:
        wait_until(lambda: is_copied() or process.ended)
        process.send_signal(signal.SIGTERM)
        outcome = process.wait()
    assert outcome.error_code == "interrupted"
    assert sorted(path.name for path in copies.iterdir()) == ["app.db"]


# --- What is left ---------------------------------------------------------------------------------


def test_a_copy_that_a_killed_verification_left_is_removed_by_the_next(source: Source, tmp_path: Path) -> None:
    source.sql(
        "create table noise as with recursive c(n) as (select 1 union all select n + 1 from c where n < 60)"
        " select randomblob(1000000) as raw from c"
    )
    source.back_up(compression="none")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    host = Host(environment={"TMPDIR": str(temporary)})
    with running_module("backup_verify", directory=str(source.directory), level="structure", host=host) as process:
        wait_until(lambda: len(list(temporary.glob("*/copy.db"))) == 1 or process.ended)
        process.kill()
    assert len(list(temporary.glob("*/copy.db"))) == 1
    stranger = temporary / "lastgood-look-of-mine"
    stranger.symlink_to(source.path.parent)
    assert source.verify(host)["verdict"] == "passed"
    assert [path.name for path in temporary.iterdir()] == [stranger.name]
    assert source.path.exists()
