"""The directory to take an engine's programs from, where backups of several engines are examined."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._engines.examining import directory_of


def test_a_directory_counts_for_the_programs_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "mysqld").touch()
    assert directory_of(("mariadbd", "mysqld"), str(tmp_path)) == str(tmp_path)
    assert directory_of(("postgres",), str(tmp_path)) is None
    assert directory_of(("postgres",), None) is None


def test_a_directory_without_any_program_is_not_passed_over(tmp_path: Path) -> None:
    assert directory_of(("postgres",), str(tmp_path)) == str(tmp_path)
    assert directory_of(("postgres",), str(tmp_path / "none")) == str(tmp_path / "none")
