"""run_sql of db_restore: SQL in the new database before it gets its name, and SQL that goes wrong, which changes nothing."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import Site, every_version
from ansible_collections.lastgood.database.tests.support.restores import (
    as_it_was,
    databases,
    nothing_else_left,
    restore,
    restoring,
)

SECRET = "s3cret-of-the-statement"
ENDLESS = "do $$ begin loop begin perform pg_sleep(1000); exception when query_canceled then null; end; end loop; end $$"


@pytest.fixture(autouse=True)
def nothing_else(site: Site) -> Iterator[None]:
    with nothing_else_left(site):
        yield


def replace(site: Site, *statements: str, **over: Any) -> Outcome:
    run_sql = {"statements": list(statements), **over.pop("run_sql", {})}
    return restore(site, if_exists="replace", run_sql=run_sql, **over)


# --- What it does ---------------------------------------------------------------------------------


@every_version
def test_the_sql_changes_the_restored_database_and_nothing_else(site: Site) -> None:
    site.sql("create table person (name text, mail text unique); insert into person values ('100% \\ it''s', 'a@b.c')")
    site.back_up()
    outcome = restore(
        site,
        database="copy",
        source_database=site.database,
        run_sql={
            "statements": [
                "create table shop as select 1 as n; update person set mail = 'x' || n || '\\%s' from shop",
                "set search_path = public; -- of all that follows\n",
                "drop table shop",
            ]
        },
    )
    assert outcome.changed, outcome.msg
    copy = site._replace(database="copy")
    assert copy.sql("select * from person") == "100% \\ it's|x1\\%s"
    assert site.sql("select mail from person") == "a@b.c"
    assert copy.sql("select to_regclass('shop') is null") == "t"


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_file_is_run_as_one_and_its_names_are_found_as_in_the_database(site: Site, tmp_path: Path, form: str) -> None:
    site.sql("create schema app; create table app.person as select 1 as n")
    site.server.psql(f"alter database {site.database} set search_path to app, public")
    site.back_up(format=form)
    script = tmp_path / "anonymise.sql"
    script.write_text("-- one\nupdate person set n = 2;\ncreate table caf\u00e9 (n int);\n", encoding="utf-8")
    assert restore(site, if_exists="replace", run_sql={"file": str(script)}).changed
    assert site.sql("select n from app.person") == "2"
    assert site.sql("select to_regclass('app.caf\u00e9') is not null") == "t"


@pytest.mark.parametrize("as_owner", [False, True])
def test_it_runs_with_the_role_of_the_databases_owner_if_asked(site: Site, as_owner: bool) -> None:
    site.server.psql(f'create role "the keeper"; alter database {site.database} owner to "the keeper"')
    try:
        site.back_up()
        outcome = replace(site, "create schema mine", run_sql={"as_owner": as_owner})
        assert outcome.changed, outcome.msg
        owner = site.sql("select nspowner::regrole from pg_namespace where nspname = 'mine'")
        assert owner == ('"the keeper"' if as_owner else "postgres")
    finally:
        site.server.psql(f'drop database {site.database} with (force); drop role "the keeper"')


def test_check_mode_says_what_would_be_run_and_not_its_text(site: Site, tmp_path: Path) -> None:
    site.back_up()
    with as_it_was(site):
        outcome = replace(site, f"select '{SECRET}'", "select 2", run_sql={"as_owner": True}, check=True, diff=True)
        assert outcome.changed
        assert "run_sql: 2 statements, as the owner" in outcome.result["diff"]["after"]
        assert SECRET not in str(outcome.result)
        missing = restore(site, if_exists="replace", run_sql={"file": str(tmp_path / "no.sql")}, check=True)
        assert missing.error_code == "argument_invalid"
        assert "no.sql" in missing.msg


# --- What goes wrong ------------------------------------------------------------------------------

REFUSED = {
    "its last statement fails": ["delete from t", "select 1/0"],
    "it ends the transaction": ["delete from t", "commit"],
    "it ends the transaction among others": ["delete from t; commit; alter database {0} rename to gone"],
    "it takes all back": ["delete from t", "rollback"],
    "it begins another transaction": ["commit and chain"],
    "it prepares the transaction": ["prepare transaction 'later'"],
    "a procedure ends the transaction": [
        "create procedure public.leave() language plpgsql as 'begin commit; end'; call public.leave()"
    ],
    "it drops the database": ["do $$ begin execute format('drop database %I', current_database()); end $$"],
    "it drops the old database": ["drop database {0}"],
    "it renames the database": ["do $$ begin execute format('alter database %I rename to gone', current_database()); end $$"],
    "it has a command of psql's": ["\\! touch {1}/escaped"],
    "it reads rows from the client": ["copy t from stdin"],
    "it ends its own session": ["select pg_terminate_backend(pg_backend_pid())"],
    "a deferred constraint fails": [
        "create table p (n int unique deferrable initially deferred); insert into p values (1), (1)",
    ],
}


def test_sql_that_fails_leaves_everything_as_it_was(site: Site, tmp_path: Path) -> None:
    site.back_up()
    for what, statements in REFUSED.items():
        with as_it_was(site):
            outcome = replace(site, *(one.format(site.database, tmp_path) for one in statements))
            assert outcome.error_code == "run_sql_failed", what
            title = "The end" if "deferred" in what else f"Statement {len(statements)}"
            assert outcome.msg.startswith(f"{title} of run_sql failed: "), what
    assert not (tmp_path / "escaped").exists()


def test_an_error_has_the_servers_words_and_the_line_and_no_rows(site: Site, tmp_path: Path) -> None:
    site.sql(f"create table person (mail text); insert into person values ('{SECRET}'), (null)")
    site.back_up()
    rows = replace(site, "select 1", "alter table person add check (length(mail) < 3)", "select 2")
    assert "Statement 2 of run_sql failed: check constraint" in rows.msg
    assert rows.result["error"]["sqlstate"] == "23514"
    null = replace(site, f"insert into person values ('{SECRET}-2'); alter table person alter mail set not null")
    assert "contains null values" in null.msg
    script = tmp_path / "anonymise.sql"
    script.write_text(f"select '{SECRET}';\n\nupdate person set nothing = 2;\n", encoding="utf-8")
    line = restore(site, if_exists="replace", run_sql={"file": str(script)})
    assert re.search(r"anonymise\.sql of run_sql failed: .*nothing.* \(line 3\)", line.msg)
    for outcome in (rows, null, line):
        assert SECRET not in str(outcome.result)


def test_sql_that_never_ends_is_ended_at_its_timeout(site: Site) -> None:
    site.back_up()
    for statement in ("select pg_sleep(1000)", ENDLESS):
        with as_it_was(site):
            began = time.monotonic()
            outcome = replace(site, statement, run_sql={"timeout": "1s"})
            assert outcome.error_code == "timeout"
            assert "run_sql" in outcome.msg
            assert time.monotonic() - began < 20


def test_a_signal_ends_sql_that_never_ends(site: Site) -> None:
    site.back_up()
    sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    with as_it_was(site), restoring(site, if_exists="replace", run_sql={"statements": [ENDLESS]}) as process:
        wait_until(lambda: site.server.psql(sleeping) != "0" or process.ended)
        process.send_signal(signal.SIGTERM)
        assert process.wait().error_code == "interrupted"
    assert not [name for name in databases(site.server) if "_restoring_" in name]


def test_sql_that_is_none_is_refused(site: Site) -> None:
    for given in ({}, {"statements": []}, {"statements": [" "]}, {"statements": ["x"], "file": "/x"}, {"file": "x"}):
        assert restore(site, if_exists="replace", run_sql=given).status != 0, given
