"""The entry point download: from the server without the host, and what it refuses before it fetches anything."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.backups import put_backup
from ansible_collections.lastgood.database.tests.support.plays import LOCAL, Play, playing
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

HOUR_AGO = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)


def role(**variables: Any) -> dict[str, Any]:
    return {"ansible.builtin.include_role": {"name": "lastgood.database.backup", "tasks_from": "download"}, "vars": variables}


def failures(play: Play) -> str:
    """Return what the play says, without the breaks that the display puts into long lines."""
    play.finish()
    return " ".join(play.output().split())


def test_the_controller_reads_the_server_for_hosts_that_are_lost(tmp_path: Path, sftp: SftpServer) -> None:
    name = ""
    for host in ("db7", "db8"):
        (tmp_path / "server" / host).mkdir(parents=True)
        name = put_backup(tmp_path / "server" / host, HOUR_AGO, host.encode())
        put_backup(tmp_path / "server" / host, HOUR_AGO - timedelta(hours=1), b"older")
    task = role(
        backup_read_from="sftp", backup_sftp=sftp.options(tmp_path / "server"), backup_download_to=str(tmp_path / "copies")
    )
    lost = {**LOCAL, "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    with playing(tmp_path, [task], variables=lost, hosts=("db7", "db8")) as play:
        assert play.finish() == 0, play.output()
    for host in ("db7", "db8"):
        copies = sorted(path.name for path in (tmp_path / "copies" / host).glob("backup_*"))
        assert copies == [name, f"{name}.manifest.json"]
        assert (tmp_path / "copies" / host / name).read_bytes() == host.encode()


TWO = [{"engine": "sqlite", "databases": [f"/{name}"], "directory": f"/nonexistent/{name}"} for name in ("one", "two")]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"backup_sources": TWO, "backup_download": {"archive": "zip"}}, "One archive can't have the backups of several"),
        ({"backup_sources": []}, "backup_sources is empty"),
        ({"backup_read_from": "sftp"}, "Set backup_sftp"),
    ],
)
def test_what_can_not_be_fetched_is_refused(tmp_path: Path, variables: dict[str, Any], words: str) -> None:
    with playing(tmp_path, [role(backup_download_to=str(tmp_path / "copies"), **variables)]) as play:
        assert words in failures(play)
    assert not (tmp_path / "copies").exists()
