"""All that a PostgreSQL database can hold is in its backup, and goes back by PostgreSQL's own programs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.everything import Likeness, everything, likeness, roles_on
from ansible_collections.lastgood.database.tests.support.observe import assert_whole, payload
from ansible_collections.lastgood.database.tests.support.postgresql import (
    CONTENT,
    Site,
    database_on,
    every_version,
    restore,
    restore_plain,
)
from tools.throwaway_postgresql import Server

RESTORES = {"custom": restore, "plain": restore_plain}
every_format = pytest.mark.parametrize("form", RESTORES)


@pytest.fixture(scope="module")
def sources(servers: Callable[[int], Server]) -> Iterator[Callable[[Server], tuple[str, Likeness]]]:
    """A database with everything on a server, and what is in it. Made once for each server."""
    with contextlib.ExitStack() as stack:
        made: dict[int, tuple[str, Likeness]] = {}

        def source_on(server: Server) -> tuple[str, Likeness]:
            if server.major not in made:
                stack.enter_context(roles_on(server))
                name = stack.enter_context(database_on(server, sql=everything(server)))
                made[server.major] = name, likeness(server, name)
            return made[server.major]

        yield source_on


def round_trip(site: Site, form: str, compression: str = "gzip") -> Likeness:
    """Back up, restore as an operator without this collection would, and return what came back."""
    assert site.back_up(format=form, compression=compression).outcomes == ["created"]
    assert_whole(site.directory)
    with database_on(site.server, sql="") as other:
        RESTORES[form](site.server, payload(site.directory), into=other)
        return likeness(site.server, other)


def assert_same(found: Likeness, was: Likeness) -> None:
    assert found.content == was.content
    assert found.schema == was.schema


@every_version
@every_format
def test_all_that_a_database_can_hold_comes_back_as_it_was(
    server: Server, sources: Callable[[Server], tuple[str, Likeness]], tmp_path: Path, form: str
) -> None:
    name, was = sources(server)
    assert_same(round_trip(Site(server, name, tmp_path / "backups"), form), was)


@every_format
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_so_it_does_with_every_compression(
    server: Server, sources: Callable[[Server], tuple[str, Likeness]], tmp_path: Path, form: str, compression: str
) -> None:
    name, was = sources(server)
    assert_same(round_trip(Site(server, name, tmp_path / "backups"), form, compression), was)


@every_format
def test_an_empty_database_comes_back_empty(server: Server, tmp_path: Path, form: str) -> None:
    with database_on(server, sql="") as name:
        was = likeness(server, name)
        assert was.content == []
        assert_same(round_trip(Site(server, name, tmp_path / "backups"), form), was)


@every_format
def test_a_row_of_100_megabytes_comes_back_whole(server: Server, tmp_path: Path, form: str) -> None:
    with database_on(server, sql="create table large as select repeat('0123456789', 10000000) as body") as name:
        was = likeness(server, name)
        assert_same(round_trip(Site(server, name, tmp_path / "backups"), form), was)


@pytest.mark.parametrize(
    "sql",
    [
        "update item set body = 'other' where id = 1",
        "delete from item where id = 1",
        "insert into item select * from item where id = 1000 on conflict (id) do update set body = ''",
        "select nextval('counter')",
        "select lo_put(7777, 1, '\\x01')",
        "grant select on item to public",
        "comment on table item is 'other'",
        "drop index item_at_idx",
        "alter function half(int) cost 7",
    ],
)
def test_what_is_not_the_same_would_be_seen(server: Server, sql: str) -> None:
    with database_on(server, sql=CONTENT) as name:
        was = likeness(server, name)
        assert likeness(server, name) == was
        server.psql(sql, name)
        assert likeness(server, name) != was
