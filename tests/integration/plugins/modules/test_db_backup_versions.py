# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""db_backup with PostgreSQL's programs of each version, of servers of each version."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.lastgood.database.tests.support.observe import manifest, payload
from ansible_collections.lastgood.database.tests.support.postgresql import VERSIONS, Site, database_on, every_version, restore
from tools.throwaway_postgresql import Server, installation

every_program = pytest.mark.parametrize("program", VERSIONS, ids=[f"pg_dump{major}" for major in VERSIONS])


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
    one = payload(site.directory)
    assert outcome.outcomes == ["created"]
    assert manifest(one)["major_mismatch"] is newer
    assert manifest(one)["tool"].startswith(f"pg_dump {program}")
    assert [f"pg_dump {program}" in warning for warning in outcome.warnings] == [True] * newer
    with database_on(servers(program), sql="") as database:
        restore(servers(program), one, into=database)
        assert servers(program).psql("select n from t", database) == site.sql("select n from t")
