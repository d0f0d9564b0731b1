"""The file of a private key is secret."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Identity
from ansible_collections.lastgood.database.plugins.module_utils._codecs.identities import read_identity
from ansible_collections.lastgood.database.plugins.module_utils._errors import KeyUnreadable


def test_a_file_that_every_user_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    for mode in (0o400, 0o600, 0o640):
        key.chmod(mode)
        assert read_identity(Identity(file=str(key))) == b"secret"
    key.chmod(0o644)
    with pytest.raises(KeyUnreadable, match=f"{key} can be read by every user. Run: chmod 600 {key}") as refused:
        read_identity(Identity(file=str(key)))
    assert "secret" not in str(refused.value)


def test_a_file_that_is_open_is_read_by_its_descriptor(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("secret")
    with key.open("rb") as file:
        assert read_identity(Identity(file=f"/dev/fd/{file.fileno()}")) == b"secret"
