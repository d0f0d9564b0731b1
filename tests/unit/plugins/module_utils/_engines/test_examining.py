"""What the examiners of several engines share."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import (
    check_restorable_beside_others,
    content_file,
    directory_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, Inconclusive
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest


def test_a_directory_counts_for_the_programs_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "mysqld").touch()
    assert directory_of(("mariadbd", "mysqld"), str(tmp_path)) == str(tmp_path)
    assert directory_of(("postgres",), str(tmp_path)) is None
    assert directory_of(("postgres",), None) is None


def test_a_directory_without_any_program_is_not_passed_over(tmp_path: Path) -> None:
    assert directory_of(("postgres",), str(tmp_path)) == str(tmp_path)
    assert directory_of(("postgres",), str(tmp_path / "none")) == str(tmp_path / "none")


def test_into_a_server_that_others_use_a_database_is_restored_but_no_globals_and_nothing_in_check_mode() -> None:
    check_restorable_beside_others(Manifest(kind="database"), "The roles", check_mode=False)
    with pytest.raises(Inconclusive, match="The roles are not restored into a server that others use"):
        check_restorable_beside_others(Manifest(kind="globals"), "The roles", check_mode=False)
    with pytest.raises(Inconclusive, match="In check mode nothing is restored"):
        check_restorable_beside_others(Manifest(kind="database"), "The roles", check_mode=True)


def test_the_unpacked_content_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with content_file(Manifest(content_bytes=10)) as file:
        assert os.write(file, b"content") == 7
        assert list(tmp_path.iterdir()) == []


def test_a_content_larger_than_the_free_space_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(Inconclusive, match=f"^{tmp_path} has no room for the {2**62} bytes"),
        content_file(Manifest(content_bytes=2**62)),
    ):
        pass


def test_a_missing_folder_for_the_unpacked_content_is_an_error_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(BackupError, match="Making a file in"), content_file(Manifest()):
        pass
