"""A manifest is changed only while its backup is still the same good one."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest_update import update_manifest
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import manifest_name
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import NOW, PAYLOAD, ago, manifest_of, put_backup


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


@pytest.fixture
def backup(store: LocalStore, tmp_path: Path) -> Backup:
    return find(store, put_backup(tmp_path, ago(days=1)))


def find(store: LocalStore, filename: str) -> Backup:
    backup = Catalog(store).find(filename)
    assert backup is not None
    return backup


def test_the_values_are_in_the_manifest_and_the_rest_is_as_before(store: LocalStore, backup: Backup) -> None:
    with store.lock():
        updated = update_manifest(store, backup, confirmed_at=NOW)
    assert updated == find(store, backup.filename)
    assert updated.manifest == backup.manifest._replace(confirmed_at=NOW)


def test_values_that_another_run_set_meanwhile_stay(store: LocalStore, backup: Backup) -> None:
    with store.lock():
        update_manifest(store, backup, source="elsewhere")
        updated = update_manifest(store, backup, confirmed_at=NOW)
    assert updated is not None
    assert (updated.manifest.source, updated.manifest.confirmed_at) == ("elsewhere", NOW)


def test_a_deleted_backup_gets_no_manifest(store: LocalStore, backup: Backup, tmp_path: Path) -> None:
    (tmp_path / backup.filename).unlink()
    (tmp_path / manifest_name(backup.filename)).unlink()
    with store.lock():
        assert update_manifest(store, backup, confirmed_at=NOW) is None
    assert store.names() == [name for name in store.names() if name.startswith(".lastgood")]


@pytest.mark.parametrize("manifest", [manifest_of(PAYLOAD[::-1]), manifest_of(origin="db2"), manifest_of(manifest_version=2)])
def test_the_manifest_of_another_backup_or_of_one_that_is_not_good_stays_as_it_is(
    store: LocalStore, backup: Backup, tmp_path: Path, manifest: Manifest
) -> None:
    sidecar = tmp_path / manifest_name(backup.filename)
    data = manifest.to_bytes()
    sidecar.write_bytes(data)
    with store.lock():
        assert update_manifest(store, backup, confirmed_at=NOW) is None
    assert sidecar.read_bytes() == data
