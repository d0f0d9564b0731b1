"""What db_backup says of a dump that fails or lacks something: the cause, in any language, and what to do."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import psycopg2

from ansible_collections.lastgood.database.tests.support.impostor import Impostor
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import Site, every_version
from tools.throwaway_postgresql import Server

_LOCKING = "pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE"


def has_connected(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return any(os.readlink(one).startswith("socket:") for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


def failing(site: Site, folder: Path, words: str, seconds: float) -> str:
    """Return a bin_directory whose pg_dump says that after so long."""
    script = f"time.sleep({seconds}); os.write(2, {words.encode()!r}); sys.exit(1)"
    return str(Impostor(folder, site.server.bin_directory, script).bin_directory)


def test_a_lock_is_the_cause_in_any_language_of_the_server(site: Site, tmp_path: Path) -> None:
    words = f"pg_dump: error: query failed: FEHLER: storniere Anfrage wegen Zeit\u00fcberschreitung der Anfrage\n{_LOCKING}\n"
    outcome = site.back_up(lock_timeout="1s", bin_directory=failing(site, tmp_path, words, 1.1))
    assert outcome.error_code == "source_busy"
    assert "lock_timeout" in outcome.msg


def test_a_lock_statement_that_fails_at_once_did_not_wait(site: Site, tmp_path: Path) -> None:
    words = f"pg_dump: error: query failed: FEHLER: keine Berechtigung f\u00fcr Tabelle t\n{_LOCKING}\n"
    assert site.back_up(bin_directory=failing(site, tmp_path, words, 0)).error_code == "program_failed"


@every_version
def test_a_missing_privilege_comes_with_the_grant_that_mends_it(site: Site) -> None:
    site.sql('create role "night ly" login')
    try:
        outcome = site.back_up(login_user="night ly")
        assert outcome.error_code == "program_failed"
        found = re.search(r"GRANT .*;", outcome.msg)
        assert found is not None, outcome.msg
        site.sql(found[0])
        assert site.back_up(login_user="night ly").outcomes == ["created"]
    finally:
        site.sql('drop role "night ly"')


def test_a_database_that_the_user_may_not_enter_comes_with_the_grant_as_well(site: Site) -> None:
    site.sql(f"create role nightly login in role pg_read_all_data; revoke connect on database {site.database} from public")
    try:
        outcome = site.back_up(login_user="nightly")
        assert outcome.error_code == "database_closed"
        found = re.search(r"GRANT CONNECT.*", outcome.msg)
        assert found is not None, outcome.msg
        site.sql(found[0].rstrip("."))
        assert site.back_up(login_user="nightly").outcomes == ["created"]
    finally:
        site.sql("drop owned by nightly; drop role nightly")


def test_a_standby_lacks_the_rows_of_unlogged_tables_and_a_warning_names_them(server: Server, tmp_path: Path) -> None:
    with Server.start(server.installation) as standby:
        standby.psql("create unlogged table cache as select 1; create table kept as select 1")
        site = Site(standby, "postgres", tmp_path / "backups")
        assert site.back_up(check=True).warnings == []
        standby.stop()
        signal_file = standby.data_directory / "standby.signal"
        signal_file.touch()
        os.chown(signal_file, standby.data_directory.stat().st_uid, -1)
        standby.restart()
        outcome = site.back_up()
        assert outcome.outcomes == ["created"]
        [warning] = outcome.warnings
        assert "standby" in warning
        assert "cache" in warning
        assert "kept" not in warning


def test_a_server_that_hangs_does_not_keep_a_run_from_stopping(site: Site) -> None:
    with Server.start(site.server.installation) as hanging:
        os.kill(hanging.pid, signal.SIGSTOP)
        with Site(hanging, "postgres", site.directory).backing_up() as process:
            wait_until(lambda: has_connected(process.pid) or process.ended)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            outcome = process.wait()
        assert time.monotonic() - began < 3
        assert outcome.error_code == "interrupted"


def test_a_dump_that_waits_for_a_lock_ends_when_the_run_is_stopped(site: Site) -> None:
    connection = psycopg2.connect(
        host=str(site.server.socket_directory), port=site.server.port, user="postgres", dbname=site.database
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("lock table t in access exclusive mode")
        with site.backing_up() as process:
            waiting = "select count(*) from pg_locks where not granted and mode = 'AccessShareLock'"
            wait_until(lambda: site.sql(waiting) != "0" or process.ended)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            outcome = process.wait()
        assert time.monotonic() - began < 3
        assert outcome.error_code == "interrupted"
        wait_until(lambda: site.sql(waiting) == "0")


def test_no_function_of_a_tenants_takes_the_place_of_the_servers(site: Site) -> None:
    site.sql(
        "create schema evil;"
        "create function evil.has_table_privilege(text, text) returns bool language plpgsql as"
        " $$ begin raise exception 'evil ran'; end $$;"
        "create function evil.pg_backend_pid() returns int language plpgsql as $$ begin raise exception 'evil ran'; end $$;"
        f"alter database {site.database} set search_path = evil, pg_catalog"
    )
    assert site.back_up(login_db=site.database, include_globals=True).outcomes == ["created", "created"]
