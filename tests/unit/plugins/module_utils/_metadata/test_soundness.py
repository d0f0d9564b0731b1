"""Whether a payload is as its manifest says, and when a bad reading counts."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.soundness import is_sound
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import (
    PAYLOAD,
    ago,
    put_backup,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


def find(store: LocalStore, filename: str) -> Backup:
    backup = Catalog(store).find(filename)
    assert backup is not None
    return backup


class ScriptedStore(LocalStore):
    """A directory in which each reading of a payload gives what a script says: bytes, or an error."""

    def __init__(self, folder: Path, script: list[Any]) -> None:
        super().__init__(str(folder))
        self._script = script
        self._readings = 0
        self.dropped = 0

    def chunks(self, name: str) -> Iterator[memoryview]:
        step = self._script[self._readings]
        self._readings += 1
        with store_errors(f"Reading {name}"):
            if step == "EIO":
                raise OSError(errno.EIO, "Input/output error")
            yield memoryview(step)

    def drop_cache(self, name: str) -> None:
        self.dropped += 1


class TestSoundness:
    """What the payload itself says."""

    def test_a_payload_that_is_as_recorded_is_sound(self, store: LocalStore, tmp_path: Path) -> None:
        large = b"x" * (CHUNK_BYTES + 1)
        for name in (put_backup(tmp_path, ago(days=1)), put_backup(tmp_path, ago(days=2), large)):
            assert is_sound(store, find(store, name))

    @pytest.mark.parametrize("position", [0, len(PAYLOAD) // 2, len(PAYLOAD) - 1])
    @pytest.mark.parametrize("bit", [0, 7])
    def test_one_with_a_flipped_bit_is_not(self, store: LocalStore, tmp_path: Path, position: int, bit: int) -> None:
        name = put_backup(tmp_path, ago(days=1))
        data = bytearray(PAYLOAD)
        data[position] ^= 1 << bit
        (tmp_path / name).write_bytes(data)
        assert find(store, name).state == "good"
        assert not is_sound(store, find(store, name))

    def test_one_that_is_gone_is_not(self, store: LocalStore, tmp_path: Path) -> None:
        backup = find(store, put_backup(tmp_path, ago(days=1)))
        (tmp_path / backup.name.filename).unlink()
        assert not is_sound(store, backup)

    def test_a_reading_that_fails_once_or_differs_once_is_made_again(self, store: LocalStore, tmp_path: Path) -> None:
        name = put_backup(tmp_path, ago(days=1))
        for script in (["EIO", PAYLOAD], [b"other", PAYLOAD], ["EIO", b"other", PAYLOAD], [b"other", b"another", PAYLOAD]):
            assert is_sound(ScriptedStore(tmp_path, script), find(store, name))

    @pytest.mark.parametrize("script", [["EIO", "EIO"], [b"1", b"2", b"3"], [b"1", "EIO", b"2"]])
    def test_readings_that_do_not_agree_are_an_error_and_no_verdict(
        self, store: LocalStore, tmp_path: Path, script: list[Any]
    ) -> None:
        name = put_backup(tmp_path, ago(days=1))
        with pytest.raises(StoreFailed):
            is_sound(ScriptedStore(tmp_path, script), find(store, name))

    @pytest.mark.parametrize("script", [[b"1", b"1"], [b"1", b"2", b"1"], ["EIO", b"1", b"1"]])
    def test_two_wrong_readings_that_agree_are_a_verdict(self, store: LocalStore, tmp_path: Path, script: list[Any]) -> None:
        name = put_backup(tmp_path, ago(days=1))
        scripted = ScriptedStore(tmp_path, script)
        assert not is_sound(scripted, find(store, name))
        assert scripted.dropped == len(script) - 1  # each reading but the first came from the medium

    def test_what_we_may_not_read_is_an_error_and_no_verdict(self, store: LocalStore, tmp_path: Path) -> None:
        class ClosedStore(LocalStore):
            def chunks(self, name: str) -> Iterator[memoryview]:
                with store_errors(f"Reading {name}"):
                    raise PermissionError(errno.EACCES, "Permission denied")

        name = put_backup(tmp_path, ago(days=1))
        with pytest.raises(StoreFailed, match="Permission denied"):
            is_sound(ClosedStore(str(tmp_path)), find(store, name))
