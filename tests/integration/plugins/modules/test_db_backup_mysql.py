"""db_backup of a real MariaDB server."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._text import escaped
from ansible_collections.lastgood.database.tests.support.examples import examples
from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.mysql import (
    CONTENT,
    HOSTILE,
    MysqlSite,
    content_of,
    database_on,
    dump_of,
    login,
    quoted,
)
from ansible_collections.lastgood.database.tests.support.observe import contents
from tools.throwaway_mysql import Server

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
ODD_TABLE = """
create table `t``\n;x` (`a``\nb` int); insert into `t``\n;x` values (1); create view `v\n*/;` as select 1 as `'`;
"""
PASSWORD = 'c0l:on \\ back\'slash "quo:ted" %41 $HOME #hash ;semi\té'


@pytest.fixture
def everything(mariadb: Server, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database with one of each object."""
    with database_on(mariadb, sql=CONTENT) as database:
        yield MysqlSite(mariadb, database, tmp_path / "backups")


@pytest.fixture
def everything_on_any(any_mysql: Server, tmp_path: Path) -> Iterator[MysqlSite]:
    """The same on each of the servers."""
    with database_on(any_mysql, sql=content_of(any_mysql)) as database:
        yield MysqlSite(any_mysql, database, tmp_path / "backups")


@contextlib.contextmanager
def user_on(server: Server, *grants: str, name: str = "reader") -> Iterator[str]:
    server.sql(f"create user {name}@localhost;" + "".join(f"grant {grant} to {name}@localhost;" for grant in grants))
    try:
        yield name
    finally:
        server.sql(f"drop user {name}@localhost")


def manifest_of(site: MysqlSite) -> dict[str, object]:
    [path] = site.directory.glob("*.manifest.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def payload_of(site: MysqlSite) -> Path:
    [path] = site.directory.glob("backup_*.dump.gz")
    return path


def test_the_steps_by_hand_that_the_readme_has(everything: MysqlSite) -> None:
    assert everything.back_up(include_globals=True).changed
    server, before = everything.server, dump_of(everything.server, everything.database)
    [script] = [one.text for one in examples() if one.page == "README.md" and "| mariadb --binary-mode\n" in one.text]
    for kind in ("@globals", everything.database):
        [payload] = everything.directory.glob(f"backup_{kind}_*.gz")
        script = script.replace(f"backup_{'app' if kind != '@globals' else kind}_2026-01-31_01-00-00.dump.gz", str(payload))
    script = script.replace("mariadb --", f"mariadb --no-defaults --socket={server.socket} --user=root --")
    try:
        subprocess.run(("/bin/bash", "-euo", "pipefail", "-c", script), check=True)
        assert dump_of(server, "restored") == before
    finally:
        server.sql("drop database if exists restored")


def test_a_manifest_tells_what_the_backup_is_of(everything: MysqlSite) -> None:
    server = everything.server
    everything.sql("alter database character set latin1 collate latin1_german1_ci comment 'it''s'")
    outcome = everything.back_up()
    assert outcome.changed and "plain (MyISAM)" in " ".join(outcome.warnings)
    manifest = manifest_of(everything)
    assert (manifest["engine"], manifest["format"], manifest["database"]) == ("mysql", "plain", everything.database)
    assert manifest["server_version"] == server.sql("select version()")
    assert manifest["instance"] == server.sql("select @@server_uid")
    assert manifest["source"] == str(server.socket)
    assert str(manifest["tool"]).startswith("mariadb-dump 10.") and manifest["major_mismatch"] is False
    content = gzip.decompress(payload_of(everything).read_bytes())
    assert b"ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_german1_ci /*M!100502 COMMENT 'it''s' */;\n" in content[:200]
    assert content.endswith(b"\n-- Dump completed\n")


CHANGES = {
    "one row": "insert into log values (5)",
    "auto_increment": "alter table item auto_increment = 77",
    "a routine": "drop function half; create function half(n int) returns int deterministic return 2",
    "a comment": "alter table item comment 'another'",
    "a view": "alter view again as select id from bodies",
    "a trigger": "drop trigger more",
    "an event": "alter event nightly disable",
    "the collation of the database": "alter database collate utf8mb4_bin",
}
CHANGES_OF_MARIADB = {
    "a comment of the database": "alter database comment = 'another'",
    "a sequence": "do nextval(counter)",
    "history": "update versioned set a = 3",
}


def test_a_backup_is_made_only_of_what_has_changed(everything_on_any: MysqlSite) -> None:
    site = everything_on_any
    site.back_up()
    site.sql("analyze table item, child; flush tables; check table plain")
    assert site.back_up().outcomes == ["unchanged"]
    changes = CHANGES if site.server.installation.product == "MySQL" else {**CHANGES, **CHANGES_OF_MARIADB}
    for change, sql in changes.items():
        site.sql(sql)
        assert site.back_up().outcomes == ["created"], change
    assert site.back_up().outcomes == ["unchanged"]


def test_all_databases_and_the_accounts_are_backed_up_whatever_their_names(mariadb: Server, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for name in HOSTILE:
            content = (
                "create table `t``\n;x` (`a``\nb` int); insert into `t``\n;x` values (1); create view `v\n*/;` as select 1 as `'`"
            )
            stack.enter_context(database_on(mariadb, name, content))
        stack.enter_context(user_on(mariadb, "select on `a/b`.*"))
        options = {"directory": str(tmp_path / "b"), **login(mariadb)}
        outcome = run_module("db_backup", options)
        assert outcome.changed
        assert {backup["database"] for backup in outcome.backups} >= {*map(escaped, HOSTILE), None}
        assert not {backup["database"] for backup in outcome.backups} & {
            "mysql",
            "sys",
            "information_schema",
            "performance_schema",
        }
        assert set(run_module("db_backup", options).outcomes) == {"unchanged"}
        mariadb.sql("grant insert on `a/b`.* to reader@localhost")
        changed = [backup["kind"] for backup in run_module("db_backup", options).backups if backup["outcome"] == "created"]
        assert changed == ["globals"]


ROUTINES = {"10.": "SELECT ON mysql.proc", "11.": "SHOW CREATE ROUTINE ON {database}.*", "9.": "SHOW_ROUTINE ON *.*"}


def test_each_missing_right_is_an_error_with_what_to_grant(everything_on_any: MysqlSite) -> None:
    server, name = everything_on_any.server, everything_on_any.database
    [routines] = [right for version, right in ROUTINES.items() if server.sql("select version()").startswith(version)]
    routines = routines.format(database=quoted(name))
    needed = [f"{right} ON {quoted(name)}.*" for right in ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")]
    for missing in (*needed, routines):
        with user_on(server, *({*needed, routines} - {missing})) as user:
            outcome = everything_on_any.back_up(login_user=user)
            assert (outcome.error_code, outcome.outcomes) == ("grant_missing", ["failed"]), missing
            assert f"GRANT {missing} TO `reader`@`localhost`;" in outcome.msg
    assert not list(everything_on_any.directory.glob("backup_*"))
    with user_on(server, *needed, routines) as user:
        assert everything_on_any.back_up(login_user=user).changed


def test_one_that_fails_leaves_the_others_backed_up(mysql_site: MysqlSite) -> None:
    with database_on(mysql_site.server, sql="create table t (n int); create view v as select * from t; drop table t") as broken:
        outcome = mysql_site.back_up(databases=[mysql_site.database, broken, "missing", "mysql"])
    assert outcome.result["failed"]
    found = {backup["database"]: (backup["outcome"], (backup.get("error") or {}).get("code")) for backup in outcome.backups}
    assert found == {
        mysql_site.database: ("created", None),
        broken: ("failed", "program_failed"),
        "missing": ("failed", "database_missing"),
        "mysql": ("failed", "database_closed"),
    }


def test_one_of_five_that_fails_keeps_its_last_backup(mariadb: Server, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(database_on(mariadb)) for _number in range(5)]
        site = MysqlSite(mariadb, names[2], tmp_path / "backups")
        site.sql("create view v as select * from t")
        assert site.back_up(databases=names).outcomes == ["created"] * 5
        [last] = site.directory.glob(f"backup_{names[2]}_*.gz")
        for name in names:
            mariadb.sql("insert into t values (2)" if name != names[2] else "drop table t", name)
        outcome = site.back_up(databases=names)
        assert outcome.result["failed"] and outcome.result["changed"]
        assert outcome.outcomes == ["created", "created", "failed", "created", "created"]
        assert [last] == list(site.directory.glob(f"backup_{names[2]}_*.gz"))
        verified = site.verify("structure").result["verified"]
        assert {one["database"]: one["verdict"] for one in verified} == dict.fromkeys(names, "passed")


# The real program up to the end of a statement, with status 0.
CUT = """#!/bin/sh
for one; do shift; case $one in --result-file=*) out=${one#*=};; *) set -- "$@" "$one";; esac; done
if [ -z "$out" ]; then exec mariadb-dump "$@"; fi
mariadb-dump "$@" | sed '/ ENABLE KEYS /q' >"$out"
"""


def test_a_dump_that_ends_between_two_statements_is_no_backup(mysql_site: MysqlSite, tmp_path: Path) -> None:
    program = tmp_path / "mariadb-dump"
    program.write_text(CUT)
    program.chmod(0o755)
    outcome = mysql_site.back_up(bin_directory=str(tmp_path))
    assert outcome.error_code == "content_invalid", outcome.msg
    assert contents(mysql_site.directory) == {}


def test_a_password_is_in_no_argument_and_no_environment(mysql_site: MysqlSite) -> None:
    server = mysql_site.server
    mysql_site.grow(30)
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    server.sql(f"create user secret@'127.0.0.1' identified by '{escaped}'; grant all on *.* to secret@'127.0.0.1'")
    try:
        options = {"login_unix_socket": None, "login_host": "127.0.0.1", "login_port": server.port, "login_user": "secret"}
        refused = mysql_site.back_up(**options, login_password="wrong")
        assert refused.error_code == "authentication_failed", refused.msg
        seen: list[bytes] = []
        with mysql_site.backing_up(**options, login_password=PASSWORD) as process:
            while not process.ended:
                for path in (one / name for one in Path("/proc").glob("[0-9]*") for name in ("cmdline", "environ")):
                    with contextlib.suppress(OSError):
                        seen.append(path.read_bytes())
            assert process.wait().changed
        assert any(b"mariadb-dump" in one for one in seen)
        assert not any(b"back'slash" in one for one in seen)
        assert "back'slash" not in json.dumps(process.wait().result)
    finally:
        server.sql("drop user secret@'127.0.0.1'")


def test_a_table_that_is_locked_too_long_is_named_as_the_cause(mysql_site: MysqlSite) -> None:
    server = mysql_site.server
    locking = ("mariadb", "--no-defaults", f"--socket={server.socket}", "--user=root", mysql_site.database)
    with subprocess.Popen((*locking, "-e", "lock table t write; select sleep(60)"), stdout=subprocess.DEVNULL) as holder:
        try:
            while "sleep" not in server.sql("select info from information_schema.processlist where state = 'User sleep'"):
                time.sleep(0.02)
            outcome = mysql_site.back_up(lock_timeout="1s")
        finally:
            holder.kill()
    assert outcome.error_code == "source_busy" and "metadata lock" in outcome.msg
    assert not list(mysql_site.directory.glob("backup_*"))


def test_programs_that_are_missing_are_named_with_their_package(mysql_site: MysqlSite, tmp_path: Path) -> None:
    outcome = mysql_site.back_up(bin_directory=str(tmp_path))
    assert outcome.error_code == "program_missing" and "mariadb-client" in outcome.msg
    fake = tmp_path / "mariadb-dump"
    fake.write_text("#!/bin/sh\necho 'mysqldump  Ver 9.7.0 for Linux on x86_64 (MySQL Community Server - GPL)'\n")
    fake.chmod(0o755)
    outcome = mysql_site.back_up(bin_directory=str(tmp_path))
    assert outcome.error_code == "program_missing" and "is of MySQL" in outcome.msg


def test_options_of_other_engines_are_refused(mysql_site: MysqlSite) -> None:
    for option, value in {"extra_args": ["--force"], "session_role": "x", "wait_for_replay": "1m"}.items():
        assert mysql_site.back_up(**{option: value}).error_code == "argument_invalid", option
