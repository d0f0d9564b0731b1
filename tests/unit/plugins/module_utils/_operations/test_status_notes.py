"""When backups were last sent and verified, as the status has it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status import STATUS_NAME, GroupStatus
from ansible_collections.lastgood.database.plugins.module_utils._metadata.status_file import read_status
from ansible_collections.lastgood.database.plugins.module_utils._operations.status_notes import note_uploads, note_verifications
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, put_backup


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


def backups_in(store: LocalStore) -> list[Backup]:
    return list(Catalog(store).select(EVERYTHING))


def uploaded(store: LocalStore) -> dict[str | None, GroupStatus]:
    return {group.database: known for group, known in read_status(store).groups.items()}


def test_a_group_was_sent_when_the_server_has_its_newest_backup(store: LocalStore, tmp_path: Path) -> None:
    old, new = put_backup(tmp_path, ago(days=2)), put_backup(tmp_path, ago(days=1))
    assert note_uploads(store, backups_in(store), [old], [], ago(hours=3)) == []
    assert (uploaded(store), read_status(store).uploads) == ({}, {old: ago(hours=3)})
    note_uploads(store, backups_in(store), [new], [old], ago(hours=2))
    assert uploaded(store)["app"].uploaded_at == ago(hours=2)
    note_uploads(store, backups_in(store), [], [new, old], ago(hours=1))
    assert uploaded(store)["app"].uploaded_at == ago(hours=1)
    assert read_status(store).uploads == {old: ago(hours=3), new: ago(hours=2)}


def test_nothing_is_written_where_nothing_was_sent(store: LocalStore, tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=2))
    assert note_uploads(store, backups_in(store), [], [], NOW) == []
    assert note_verifications(store, [], NOW, is_drill=True) == []
    assert not (tmp_path / STATUS_NAME).exists()


def test_a_later_checksum_hides_no_drill(store: LocalStore, tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=2))
    note_verifications(store, backups_in(store), ago(days=1), is_drill=True)
    note_verifications(store, backups_in(store), NOW, is_drill=False)
    known = uploaded(store)["app"]
    assert (known.verified_at, known.drilled_at) == (NOW, ago(days=1))


def test_what_can_not_be_noted_is_a_warning(store: LocalStore, tmp_path: Path) -> None:
    put_backup(tmp_path, ago(days=2))
    (tmp_path / STATUS_NAME).mkdir()
    [warning] = note_verifications(store, backups_in(store), NOW, is_drill=True)
    assert STATUS_NAME in warning
