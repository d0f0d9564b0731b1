"""The program is complete, small, and always the same."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.plugin_utils import _program_builder as builder


@pytest.fixture(scope="module")
def built() -> bytes:
    return builder.program()


def archive(built: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(built))


def test_it_is_one_small_file_that_python_executes(built: bytes) -> None:
    assert built.startswith(b"#!/usr/bin/env python3\n")
    assert len(built) < 1_000_000
    assert archive(built).testzip() is None


def test_the_same_sources_make_the_same_bytes(built: bytes) -> None:
    assert builder.program() == built
    assert archive(built).namelist() == sorted(archive(built).namelist())


def test_it_has_the_modules_and_what_they_import(built: bytes) -> None:
    names = set(archive(built).namelist())
    ours = "ansible_collections/lastgood/database/plugins"
    assert {
        f"{ours}/modules/db_restore.py",
        f"{ours}/module_utils/_engines/postgresql/restore.py",
        f"{ours}/module_utils/_stores/sftp/store.py",
        "ansible/module_utils/basic.py",
    } <= names
    assert not [name for name in names if name.startswith(f"{ours}/plugin_utils") or "/doc_fragments/" in name]


def test_every_folder_is_a_package_since_python_3_9_finds_no_others_in_an_archive(built: bytes) -> None:
    names = set(archive(built).namelist())
    folders = {name.rpartition("/")[0] for name in names if name.endswith(".py") and "/" in name}
    assert [folder for folder in folders if f"{folder}/__init__.py" not in names] == []


def test_it_has_the_licences(built: bytes) -> None:
    assert "LICENSES/GPL-3.0-or-later.txt" in archive(built).namelist()
    assert "LICENSES/ansible-core/BSD-3-Clause.txt" in archive(built).namelist() or not list(
        builder._ANSIBLE.parent.glob("ansible_core-*.dist-info/licenses/licenses")
    )


def test_it_has_the_documentation_with_the_options_of_the_fragments(built: bytes) -> None:
    documents = json.loads(archive(built).read("lastgood.json"))
    assert documents["modules"]["db_restore"]["options"]["login_host"]["type"] == "str"
    assert "host" in documents["modules"]["db_restore"]["options"]["sftp"]["suboptions"]
    assert documents["role"]["main"]["options"]["backup_sources"]["required"] is True
    assert documents["defaults"]["backup_interval"] == "20h"
    assert documents["version"]


def test_it_runs_a_module_under_this_ansible_core(built: bytes, tmp_path: Path) -> None:
    program = tmp_path / "lastgood"
    program.write_bytes(built)
    command = (sys.executable, "-S", "-I", str(program), "list", "--json", "--directory", str(tmp_path))
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["results"][0]["ansible_facts"]["database_backups"]["count"] == 0
