"""A drill over SFTP of backups of two engines in one remote directory."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.mysql import MysqlSite
from ansible_collections.lastgood.database.tests.support.postgresql import Site
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer


def test_backups_of_two_engines_on_an_sftp_server_are_restored_in_one_run(
    site: Site, mysql_site: MysqlSite, sftp: SftpServer, tmp_path: Path
) -> None:
    remote = sftp.options(tmp_path / "remote")
    (tmp_path / "remote").mkdir()
    for each in (site, mysql_site):
        assert each.back_up().changed
        assert run_module("backup_upload", directory=str(each.directory), sftp=remote).changed
        shutil.rmtree(each.directory)
    # The directory has the programs of PostgreSQL alone.
    outcome = run_module("backup_verify", sftp=remote, level="restore", bin_directory=str(site.server.bin_directory))
    verified = {one["engine"]: (one["level"], one["verdict"], one["tables"]) for one in outcome.result["verified"]}
    assert verified == {"postgresql": ("restore", "passed", 1), "mysql": ("restore", "passed", 1)}, outcome.result["verified"]
