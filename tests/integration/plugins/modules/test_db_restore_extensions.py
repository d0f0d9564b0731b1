"""db_restore of a database with an extension that the server allows in one database only."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.postgresql import Site, database_on
from ansible_collections.lastgood.database.tests.support.restores import databases, restore
from tools.throwaway_postgresql import Server, find_installations


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A database with pg_cron and a job."""
    library = [one for one in find_installations() if (one.bin_directory.parent / "lib/pg_cron.so").exists()]
    if not library:
        pytest.skip("no pg_cron on this machine")
    settings = {"shared_preload_libraries": "pg_cron", "cron.database_name": "app"}
    with Server.start(library[0], settings=settings) as server, database_on(server, "app") as database:
        server.psql("create extension pg_cron; select cron.schedule('nightly', '0 1 * * *', 'vacuum')", database)
        yield Site(server, database, tmp_path / "backups")


JOBS = "select jobname, schedule, n from cron.job, t"


def test_it_comes_back_with_its_data_when_the_database_has_its_name(site: Site) -> None:
    site.back_up()
    site.sql("update t set n = 2; select cron.unschedule('nightly')")
    before = databases(site.server)
    outcome = restore(site, if_exists="replace", terminate_sessions=True)
    assert outcome.changed
    assert outcome.warnings == []
    assert site.sql(JOBS) == "nightly|0 1 * * *|1"
    assert databases(site.server) == before


def test_a_copy_of_another_name_comes_without_it_and_says_so(site: Site) -> None:
    site.back_up()
    outcome = restore(site, database="copy", source_database=site.database)
    assert outcome.changed
    assert any("without the extension pg_cron" in warning for warning in outcome.warnings)
    assert site.server.psql("select n from t", "copy") == "1"


def test_a_plain_dump_is_refused_before_anything_is_made(site: Site) -> None:
    site.back_up(format="plain")
    before = databases(site.server)
    outcome = restore(site, if_exists="replace", terminate_sessions=True)
    assert outcome.error_code == "extension_unavailable"
    assert "pg_cron in app" in outcome.msg
    assert databases(site.server) == before


REFUSES = """
create function refuse() returns event_trigger language plpgsql as $$ begin
    if current_setting('application_name') = 'pg_restore' then raise 'out of luck'; end if; end $$;
create event trigger refuse on ddl_command_start when tag in ('CREATE EXTENSION') execute function refuse()
"""


def test_where_it_can_not_come_back_the_old_database_is_kept(site: Site) -> None:
    site.sql(REFUSES)
    site.back_up()
    site.sql("update t set n = 2")
    outcome = restore(site, if_exists="replace", terminate_sessions=True)
    assert outcome.changed
    assert any("out of luck" in warning for warning in outcome.warnings)
    assert site.sql("select n from t") == "1"
    assert site.server.psql(JOBS, outcome.result["previous"]) == "nightly|0 1 * * *|2"
    assert restore(site, database="copy", source_database=site.database).changed  # and what was kept is nothing that is swept
    assert outcome.result["previous"] in databases(site.server)
