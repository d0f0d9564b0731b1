"""The modules behind PgBouncer: what the application's session is like afterwards."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module
from ansible_collections.lastgood.database.tests.support.pgbouncer import PORT, pgbouncer, pooling
from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on

pytestmark = pytest.mark.skipif(pgbouncer() is None, reason="no PgBouncer on this machine")

_SETTINGS = """
select string_agg(name || '=' || setting, ' ' order by name) || ' ' || session_user || '=' || current_user from pg_settings
where source = 'session' and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone')
    or name in ('default_transaction_read_only', 'search_path', 'statement_timeout', 'role', 'row_security', 'lock_timeout')
"""


def of_the_application(site: Site, through: dict[str, Any]) -> str:
    """How the session is that the application gets, and that it can write with it."""
    environment = {**site.server.environment, "PGHOST": str(through["login_unix_socket"]), "PGPORT": str(PORT)}
    sql = f"insert into t values (7); {_SETTINGS}"
    psql = (site.server.bin_directory / "psql", "-X", "-A", "-t", "-q", "-d", site.database, "-c", sql)
    return subprocess.run(psql, env=environment, capture_output=True, text=True, check=True).stdout


def run(site: Site, through: dict[str, Any], module: str, check: bool, **more: Any) -> Outcome:
    options = {"directory": str(site.directory), **through, "login_db": site.database, **more}
    return run_module(module, check=check, **options)


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize("size", [1, 3])
def test_in_transaction_mode_every_module_refuses_and_leaves_no_setting(site: Site, check: bool, size: int) -> None:
    site.back_up(include_globals=True)
    site.server.psql("create role nightly superuser")
    try:
        with pooling(site.server, "transaction", size) as through:
            before = of_the_application(site, through)
            for module, more in (
                ("db_backup", {"databases": [site.database]}),
                ("db_backup", {"databases": [site.database], "include_globals": True, "session_role": "nightly"}),
                ("db_restore", {"database": f"{site.database}_copy", "source_database": site.database}),
                ("db_restore", {"database": site.database, "if_exists": "replace", "session_role": "nightly"}),
            ):
                outcome = run(site, through, module, check, **more)
                assert outcome.error_code in ("connection_pooled", "argument_invalid"), outcome.result
                assert of_the_application(site, through) == before
            verified = run(site, through, "backup_verify", check, level="restore")
            assert verified.result["verified"][0]["verdict"] == "inconclusive"
            assert of_the_application(site, through) == before
    finally:
        site.server.psql("drop role nightly")


def test_the_error_says_how_to_go_around_the_pooler(site: Site) -> None:
    with pooling(site.server, "transaction") as through:
        outcome = run(site, through, "db_backup", True, databases=[site.database])
    assert "login_port" in outcome.msg
    assert "login_unix_socket" in outcome.msg
    assert not site.directory.exists()


def test_a_pooler_that_shares_the_sessions_of_one_database_keeps_that_one_alone(site: Site) -> None:
    with database_on(site.server) as other:
        shared = f"{other} = host={site.server.socket_directory} port={site.server.port} user=postgres pool_mode=transaction"
        with pooling(site.server, "session", 5, shared) as through:
            outcome = run(site, through, "db_backup", False, databases=[site.database, other])
    assert outcome.error_code == "connection_pooled"
    assert {one["database"]: one["outcome"] for one in outcome.backups} == {site.database: "created", other: "failed"}


@pytest.mark.parametrize("size", [1, 5])
def test_in_session_mode_a_backup_is_made_and_no_setting_is_left(site: Site, size: int) -> None:
    with pooling(site.server, "session", size) as through:
        before = of_the_application(site, through)
        assert run(site, through, "db_backup", False, databases=[site.database]).outcomes == ["created"]
        assert of_the_application(site, through) == before
