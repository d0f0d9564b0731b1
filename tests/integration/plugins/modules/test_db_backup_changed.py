"""What db_backup calls a change of a PostgreSQL database, and what it does not."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.impostor import HOLD, Impostor
from ansible_collections.lastgood.database.tests.support.observe import (
    assert_whole,
    manifest,
    manifest_path,
    payload,
    payloads,
    rewrite_manifest,
)
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


FAILED = {"level": "checksum", "verdict": "failed", "verified_at": "2026-01-01T00:00:00Z", "detail": "words"}


@pytest.mark.parametrize("said", [{"verification": FAILED}, {"payload_bytes": 1}, {"origin": "elsewhere"}])
def test_one_that_is_no_longer_good_when_the_dump_ends_does_not_stand_for_it(
    site: Site, tmp_path: Path, said: dict[str, object]
) -> None:
    site.back_up()
    first = payload(site.directory)
    impostor = Impostor(tmp_path / "fake", site.server.bin_directory, HOLD)
    with site.backing_up(bin_directory=str(impostor.bin_directory)) as process:
        impostor.wait_for("started", unless=lambda: process.ended)
        rewrite_manifest(first, **said)
        impostor.say("go")
        assert process.wait().outcomes == ["created"]
    assert {name: manifest(first)[name] for name in said} == said
    assert len(payloads(site.directory)) == 2


def test_a_confirmed_backup_keeps_the_mode_of_its_manifest(site: Site) -> None:
    site.back_up()
    one = payload(site.directory)
    for path in (one, manifest_path(one)):
        path.chmod(0o640)
    assert site.back_up().outcomes == ["unchanged"]
    assert manifest_path(one).stat().st_mode & 0o777 == 0o640
