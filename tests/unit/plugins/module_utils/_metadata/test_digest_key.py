"""The key for digests of encrypted contents: one for a directory, for its owner alone, and no reason to fail a backup."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import NoSpace
from ansible_collections.lastgood.database.plugins.module_utils._metadata.digest_key import KEY_NAME, digest_key
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with contextlib.closing(LocalStore(str(tmp_path), FileAttributes(None, None, 0o644))) as made:
        yield made


def test_it_is_made_once_and_for_its_owner_alone_whatever_mode_backups_have(store: LocalStore, tmp_path: Path) -> None:
    first = digest_key(store)
    assert digest_key(store) == first
    assert bytes.fromhex((tmp_path / KEY_NAME).read_text(encoding="utf-8")) == first.secret
    assert stat.S_IMODE((tmp_path / KEY_NAME).stat().st_mode) == 0o600
    assert store.warnings == []


@pytest.mark.parametrize("content", [b"", b"words", b"ab" * 31, b"ab" * 33, b"\xff" * 64])
def test_one_that_is_damaged_is_replaced_with_a_warning(store: LocalStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_NAME).write_bytes(content)
    key = digest_key(store)
    assert len(store.warnings) == 1 and "was damaged" in store.warnings[0]
    assert digest_key(store) == key


def test_a_disk_that_is_full_gives_a_random_one_and_a_warning(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, data: bytes) -> None:
        raise NoSpace("The disk is full.", "Make room.")

    monkeypatch.setattr(store, "replace_private", fail)
    assert digest_key(store) != digest_key(store)
    assert len(store.warnings) == 2 and "The disk is full." in store.warnings[0]
    assert not store.taken(KEY_NAME)


def test_what_a_killed_run_left_of_it_is_replaced(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / f".{KEY_NAME}.partial").write_bytes(b"ab")
    digest_key(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY_NAME, ".lastgood.lock"]
