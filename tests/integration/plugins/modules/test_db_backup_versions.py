"""db_backup with PostgreSQL's programs of each version, of servers of each version."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.observe import contents, manifest, payload
from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, Site, database_on, every_version, restore
from tools.throwaway_postgresql import Server, installation

every_program = pytest.mark.parametrize("program", VERSIONS, ids=[f"pg_dump{major}" for major in VERSIONS])


def notes_versions_of_columns(site: Site) -> bool:
    """Whether the server gives columns an option that no server accepts, as Debian's 15.20 does."""
    return site.sql("select 1 from pg_attribute where attrelid = 't'::regclass and attoptions::text like '%pg_attver%'") != ""


@every_program
@every_version
def test_a_program_is_taken_unless_it_is_older_than_the_server(
    site: Site, servers: Callable[[int], Server], program: int
) -> None:
    outcome = site.back_up(bin_directory=str(installation(program).bin_directory))
    if program < site.server.major:
        assert outcome.error_code == "program_missing"
        assert f"postgresql-client-{site.server.major}" in outcome.msg
        assert not site.directory.exists()
        return

    newer = program > site.server.major
    if newer and notes_versions_of_columns(site):
        assert outcome.error_code == "program_missing"
        assert f"postgresql-client-{site.server.major}" in outcome.msg
        assert contents(site.directory) == {}
        return

    one = payload(site.directory)
    assert outcome.outcomes == ["created"]
    assert manifest(one)["major_mismatch"] is newer
    assert manifest(one)["tool"].startswith(f"pg_dump {program}")
    assert [f"pg_dump {program}" in warning for warning in outcome.warnings] == [True] * newer
    with database_on(servers(program), sql="") as database:
        restore(servers(program), one, into=database)
        assert servers(program).psql("select n from t", database) == site.sql("select n from t")


@every_version
def test_columns_with_an_option_that_no_server_accepts_need_a_program_as_new_as_the_server(
    site: Site, servers: Callable[[int], Server], tmp_path: Path
) -> None:
    """Debian's 15.20 gives all columns pg_attver; another server is made to have it."""
    if not notes_versions_of_columns(site):
        site.sql("update pg_attribute set attoptions = '{pg_attver=1}' where attrelid = 't'::regclass and attnum > 0")
    with database_on(site.server, sql="") as empty:
        outcome = site.back_up(
            databases=[site.database, empty], bin_directory=str(of_version("99.0", site.server.bin_directory, tmp_path))
        )
        assert outcome.error_code == "program_missing"
        assert f"postgresql-client-{site.server.major}" in outcome.msg
        assert "pg_attver" in outcome.msg
        assert {one["database"]: one["outcome"] for one in outcome.backups} == {site.database: "failed", empty: "created"}

    older = f"{site.server.major}.0"
    assert site.back_up(bin_directory=str(of_version(older, site.server.bin_directory, tmp_path))).error_code == "program_missing"
    same = site.back_up(bin_directory=str(site.server.bin_directory))
    assert same.outcomes == ["created"]


def of_version(version: str, real: Path, folder: Path) -> Path:
    """Return a directory with the programs, where pg_dump says that it is of another version."""
    directory = folder / version
    directory.mkdir()
    program = directory / "pg_dump"
    program.write_text(
        f"#!/bin/sh\n[ \"$1\" != --version ] || exec echo 'pg_dump (PostgreSQL) {version}'\nexec '{real}/pg_dump' \"$@\"\n"
    )
    program.chmod(0o755)
    return directory
