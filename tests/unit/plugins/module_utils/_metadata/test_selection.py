"""The newest backups of each group, from all backups in any order."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import compose, parse
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING, newest_of_each
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import FileFacts
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import (
    NOW,
    ago,
    manifest_of,
    put_backup,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


class TestTheNewestOfEach:
    """So many of each group."""

    def test_each_group_has_its_own(self, store: LocalStore, tmp_path: Path) -> None:
        expected = set()
        for over in ({}, {"database": "other"}, {"kind": "globals", "database": None}):
            names = [put_backup(tmp_path, ago(days=days), **over) for days in range(1, 5)]
            expected |= set(names[:2])
        others: tuple[dict[str, Any], ...] = ({"origin": "db2"}, {"instance": "2"}, {"engine": "sqlite"})
        for number, over in enumerate(others):
            expected.add(put_backup(tmp_path, ago(days=100 + number), **over))
        found = newest_of_each(Catalog(store).select(EVERYTHING), 2, NOW)
        assert {backup.name.filename for backup in found} == expected

    def test_one_from_the_future_is_not_among_them(self, store: LocalStore, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(days=-2))
        name = put_backup(tmp_path, ago(days=2))
        found = newest_of_each(Catalog(store).select(EVERYTHING), 2, NOW)
        assert [backup.name.filename for backup in found] == [name]

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 30)), unique=True),
        st.integers(1, 5),
    )
    @settings(deadline=None)
    def test_whatever_the_order_in_which_they_come(self, made: list[tuple[str, int]], count: int) -> None:
        backups = [backup_in_mind(database, ago(days=days)) for database, days in made]
        found = newest_of_each(iter(backups), count, NOW)
        expected = set()
        for database in "abc":
            days = sorted(days for other, days in made if other == database and days >= 0)
            expected |= {(database, ago(days=age)) for age in days[:count]}
        assert {(backup.database, backup.created_at) for backup in found} == expected
        assert len(found) == len(expected)


def backup_in_mind(database: str, created_at: datetime) -> Backup:
    """A backup that is in no store: examples make no files."""
    name = parse(compose(database, created_at, Encoding("gzip")))
    assert name is not None
    return Backup(
        name, f"/{name.filename}", FileFacts(0, NOW.timestamp()), manifest_of(b"", database=database, created_at=created_at)
    )
