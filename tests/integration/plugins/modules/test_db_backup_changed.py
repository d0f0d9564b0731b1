# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What db_backup calls a change of a PostgreSQL database, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.observe import assert_whole, payloads
from ansible_collections.lastgood.database.tests.support.postgresql import CONTENT, VERSIONS, Site, database_on
from tools.throwaway_postgresql import Server, installation


def restart(site: Site) -> None:
    site.server.stop()
    site.server.restart()


DEAD_ROWS = "delete from item where id between 50 and 60"  # for vacuum to remove

NO_CHANGE: dict[str, Callable[[Site], object]] = {
    "nothing": lambda site: None,
    "a change that was taken back": lambda site: site.sql("begin; update item set body = 'other'; rollback"),
    "vacuum and analyze": lambda site: site.sql("vacuum analyze"),
    "a checkpoint": lambda site: site.sql("checkpoint"),
    "a restart": restart,
}
CHANGES = {
    "a row": "insert into item (id) values (2000)",
    "a sequence": "select nextval('counter')",
    "a comment": "comment on table item is 'another'",
    "a grant": "grant select on item to public",
    "a row written again as it was": "update item set body = body where id = 5",
}


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("major", VERSIONS, ids=[f"pg{major}" for major in VERSIONS])
def test_every_change_stores_a_backup_and_nothing_else_does(major: int, form: str, tmp_path: Path) -> None:
    with Server.start(installation(major)) as server, database_on(server, sql=CONTENT + DEAD_ROWS) as database:
        site = Site(server, database, tmp_path / "backups")
        assert site.back_up(format=form).outcomes == ["created"]
        for what, do in NO_CHANGE.items():
            do(site)
            assert site.back_up(format=form).outcomes == ["unchanged"], what
        for what, sql in CHANGES.items():
            site.sql(sql)
            assert site.back_up(format=form).outcomes == ["created"], what
            assert site.back_up(format=form).outcomes == ["unchanged"], what
        assert len(payloads(site.directory)) == 1 + len(CHANGES)
        assert_whole(site.directory)
