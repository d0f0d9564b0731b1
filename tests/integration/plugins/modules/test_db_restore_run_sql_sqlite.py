"""run_sql of db_restore for SQLite: SQL in the restored file before it gets its name, and SQL that goes wrong."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.observe import contents

SECRET = "s3cret-of-the-row"
CONTENT = f"""
create table note (id integer primary key, text text);
create table log (text text);
insert into note (text) values ('first'), ('{SECRET}'), (null);
create trigger logs after delete on note begin insert into log values ('deleted; ' || old.id); select 1; end;
"""
ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database in WAL mode or the one asked for, with a backup of it."""
    mode = getattr(request, "param", "wal")
    path = tmp_path / "app" / "notes.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"pragma journal_mode={mode};{CONTENT}")
    assert run_module("db_backup", engine="sqlite", directory=str(tmp_path / "backups"), databases=[str(path)]).changed
    return path


def restore(database: Path, check: bool = False, diff: bool = False, **run_sql: Any) -> Outcome:
    options = {"engine": "sqlite", "directory": str(database.parents[1] / "backups"), "database": str(database)}
    return run_module("db_restore", check=check, diff=diff, if_exists="replace", run_sql=run_sql, **options)


def rows(database: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("database", ["delete", "wal"], indirect=True)
def test_the_sql_changes_the_restored_database_and_leaves_nothing_of_deleted_rows(database: Path, tmp_path: Path) -> None:
    [(mode,)] = rows(database, "pragma journal_mode")
    script = tmp_path / "anonymise.sql"
    script.write_text(
        """-- one; two
        create trigger later after update on note begin insert into log values ('updated; '); end;
        delete from note where id = 2; /* a comment; */
        update note set text = 'x;' || id returning id;
        """,
        encoding="utf-8",
    )
    before = set(Path(tempfile.gettempdir()).iterdir())
    outcome = restore(database, file=str(script))
    assert outcome.changed, outcome.msg
    assert rows(database, "select * from note") == [(1, "x;1"), (3, "x;3")]
    assert rows(database, "select text from log") == [("deleted; 2",), ("updated; ",), ("updated; ",)]
    assert rows(database, "pragma journal_mode") == [(mode,)]
    assert rows(database, "pragma integrity_check") == [("ok",)]
    assert SECRET.encode() not in database.read_bytes()
    assert [path.name for path in database.parent.iterdir()] == [database.name]
    assert {path for path in set(Path(tempfile.gettempdir()).iterdir()) - before if path.name.startswith("lastgood-")} == set()


REFUSED = {
    "its last statement fails": ["delete from note", "select * from nothing"],
    "it ends the transaction": ["delete from note", "commit"],
    "it ends the transaction among others": ["delete from note; end; attach '{0}' as old"],
    "it takes all back": ["rollback"],
    "it begins another transaction": ["begin"],
    "it makes a savepoint": ["savepoint a"],
    "it writes to the old database": ["attach '{0}' as old"],
    "it writes another file": ["vacuum into '{0}.copy'"],
    "it leaves a journal": ["pragma journal_mode = wal"],
    "it has a command of the shell's": [".shell touch {0}.escaped"],
    "it takes too much memory": ["select length(group_concat(hex(zeroblob(8000000)))) from note, note, note, note"],
}


def test_sql_that_fails_leaves_everything_as_it_was(database: Path) -> None:
    for what, statements in REFUSED.items():
        before = contents(database.parent)
        outcome = restore(database, statements=[one.format(database) for one in statements])
        assert outcome.error_code == "run_sql_failed", what
        assert outcome.msg.startswith(f"Statement {len(statements)} of run_sql failed: "), what
        assert contents(database.parent) == before, what


def test_an_error_has_the_line_and_no_rows(database: Path, tmp_path: Path) -> None:
    script = tmp_path / "anonymise.sql"
    script.write_text("delete from note;\n\n  insert into note\n values (1, 2, 3);\n", encoding="utf-8")
    assert "anonymise.sql of run_sql failed: table note has 2 columns but 3 values were supplied (line 3)" in (
        restore(database, file=str(script)).msg
    )
    script.write_text(f"create unique index once on note (text); insert into note (text) values ('{SECRET}')", encoding="utf-8")
    assert SECRET not in str(restore(database, file=str(script)).result)


def test_sql_that_never_ends_is_ended_at_its_timeout(database: Path) -> None:
    before, began = contents(database.parent), time.monotonic()
    outcome = restore(database, statements=[ENDLESS], timeout="1s")
    assert outcome.error_code == "timeout" and "run_sql" in outcome.msg
    assert time.monotonic() - began < 20
    assert contents(database.parent) == before


def test_check_mode_says_what_would_be_run_and_no_owner_is_known(database: Path) -> None:
    before = contents(database.parent)
    assert "run_sql: 1 statement\n" in restore(database, statements=["x"], check=True, diff=True).result["diff"]["after"]
    assert restore(database, statements=["x"], as_owner=True, check=True).error_code == "argument_invalid"
    assert contents(database.parent) == before
