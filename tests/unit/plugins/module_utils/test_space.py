"""Less free space than is needed is an error that has both numbers."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, NoSpace
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space, free_bytes


def test_the_free_space_is_what_the_file_system_has_for_us(tmp_path: Path) -> None:
    assert abs(free_bytes(str(tmp_path), str(tmp_path)) - shutil.disk_usage(tmp_path).free) < 2**30


def test_a_place_that_does_not_exist_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="Asking for the free space of it"):
        free_bytes(str(tmp_path / "none"), "it")


def test_what_just_fits_fits() -> None:
    check_space("/srv", 10, 10, "the archive", "Make room.")


def test_one_byte_too_little_is_an_error_that_has_both_numbers() -> None:
    with pytest.raises(NoSpace, match="/srv has 9 bytes free, and the archive needs about 10"):
        check_space("/srv", 9, 10, "the archive", "Make room.")
