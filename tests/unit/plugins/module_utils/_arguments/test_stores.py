# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import (
    ONE_STORE,
    STORE_SPEC,
    connector_from,
    store_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.tests.unit.plugins.module_utils._arguments.test_store_sftp import SFTP


def test_a_store_is_the_one_that_is_named(runner: ModuleRunner, tmp_path: Path) -> None:
    local = {"directory": str(tmp_path), "sftp": None}
    remote = {"directory": None, "sftp": SFTP}
    for params, location in ((local, str(tmp_path)), (remote, "sftp://db7@backup.example.org:2222/backups")):
        with contextlib.closing(store_from(params, check_mode=False, runner=runner)) as store:
            assert store.location == location


def test_a_directory_is_named_from_the_root_on(runner: ModuleRunner) -> None:
    with pytest.raises(ArgumentInvalid, match="directory"):
        store_from({"directory": "backups", "sftp": None}, check_mode=False, runner=runner)


def test_each_store_has_an_option_and_no_store_is_required_by_itself() -> None:
    assert set(ONE_STORE) == set(STORE_SPEC) == {"directory", "sftp"}
    assert not any(option.get("required") for option in STORE_SPEC.values())


def test_an_upload_needs_a_store_elsewhere(runner: ModuleRunner) -> None:
    with pytest.raises(ArgumentInvalid, match="Give one of sftp"):
        connector_from({"sftp": None}, check_mode=False, runner=runner)
