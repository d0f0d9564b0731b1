"""Digests of real dumps of real servers: equal as long as the data is, whenever the dump was made."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.content import (
    CustomDigest,
    PlainDigest,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlDumper
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid
from tools.throwaway_postgresql import Server

# Lines as a dump itself has them, where they stand in a dump as they are.
DATA = r"""
create table t (n int primary key, line text);
insert into t select n, 'line ' || n from generate_series(1, 20000) n;
comment on table t is E'\n\\restrict abc\n\\unrestrict abc\n-- PostgreSQL database dump complete\n';
select lo_from_bytea(1, '\x00ff');
"""

Engines = Callable[..., PostgresqlDumper]
Dump = Callable[[PostgresqlDumper], bytes]
Kind = type[CustomDigest] | type[PlainDigest]

FORMS: dict[str, tuple[Kind, dict[str, Any]]] = {
    "custom": (CustomDigest, {"format": "custom"}),
    "plain": (PlainDigest, {"format": "plain"}),
    "globals": (PlainDigest, {"exclude_databases": ("*",), "include_globals": True}),
}
each_form = pytest.mark.parametrize(("kind", "options"), FORMS.values(), ids=FORMS)


def digest_of(kind: Kind, content: bytes, piece: int = 65536) -> str:
    digest = kind(hashlib.sha256())
    for start in range(0, len(content), piece):
        digest.update(memoryview(content)[start : start + piece])
    return digest.finish().value


def with_another_second(archive: bytes) -> bytes:
    """Return the archive as if it had been made in another second."""
    place = 16 if archive[6] == 14 else 12
    sign, second, high = archive[place], archive[place + 1], archive[place + 2 : place + 5]
    assert (sign, second < 60, high) == (0, True, bytes(3)), "this is not where the seconds are"
    return archive[: place + 1] + bytes([(second + 1) % 60]) + archive[place + 2 :]


@each_form
def test_two_dumps_of_what_has_not_changed_have_equal_digests(
    engine: Engines, dump: Dump, kind: Kind, options: dict[str, Any]
) -> None:
    first, second = (dump(engine(**options)) for _time in range(2))
    if kind is CustomDigest:
        second = with_another_second(second)
    assert first != second
    assert digest_of(kind, first) == digest_of(kind, second)
    assert digest_of(kind, first, 700) == digest_of(kind, first, 10_000_000)


def test_the_creation_time_is_where_we_take_it_to_be(engine: Engines, dump: Dump, postgresql: Server, tmp_path: Path) -> None:
    archive = dump(engine(format="custom"))
    lists = []
    for name, content in (("one", archive), ("two", with_another_second(archive))):
        (tmp_path / name).write_bytes(content)
        lists.append(postgresql.run("pg_restore", "--list", tmp_path / name).stdout.splitlines())
    differing = [one for one, two in zip(*lists, strict=True) if one != two]
    assert len(differing) == 1
    assert differing[0].startswith("; Archive created at ")


@pytest.mark.parametrize(
    "change",
    ["update t set line = 'other' where n = 10000", "comment on table t is E'\\n\\\\restrict xyz\\n'", "select lo_unlink(1)"],
)
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_change_in_the_data_changes_the_digest(
    engine: Engines, dump: Dump, postgresql: Server, database: str, form: str, change: str
) -> None:
    kind, options = FORMS[form]
    before = digest_of(kind, dump(engine(**options)))
    postgresql.psql(change, database)
    assert digest_of(kind, dump(engine(**options))) != before


def test_a_new_role_changes_the_digest_of_the_globals(engine: Engines, dump: Dump, postgresql: Server) -> None:
    kind, options = FORMS["globals"]
    before = digest_of(kind, dump(engine(**options)))
    postgresql.psql("create role somebody")
    try:
        assert digest_of(kind, dump(engine(**options))) != before
    finally:
        postgresql.psql("drop role somebody")


@pytest.mark.parametrize("form", ["plain", "globals"])
def test_a_dump_without_its_last_lines_is_invalid(engine: Engines, dump: Dump, form: str) -> None:
    kind, options = FORMS[form]
    content = dump(engine(**options))
    for cut in (0, 100, len(content) // 2, content.rindex(b"dump complete")):
        with pytest.raises(ContentInvalid):
            digest_of(kind, content[:cut])


def test_a_small_plain_dump_is_looked_at_as_well(engine: Engines, dump: Dump) -> None:
    options = {"format": "plain", "extra_args": ("--exclude-schema=public",)}
    first, second = (dump(engine(**options)) for _time in range(2))
    assert len(first) < 4096
    assert first != second
    assert digest_of(PlainDigest, first) == digest_of(PlainDigest, second)
