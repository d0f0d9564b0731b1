"""Fetching backups from OpenSSH on loopback in a play, compared with scp in a play and scp alone."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import getpass
import json
import os
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.plays import LOCAL, over_ssh
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server
from bench.backups import put_backups
from bench.measure import Case, compare

MODULE = "lastgood.database.backup_download"


def downloading() -> None:
    """Print the rows."""
    with sftp_server() as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        compare("Fetching 512 MiB in one file", _Place(Path(folder), server).cases(), rounds=3)


class _Place:
    """A backup to fetch, and the ways to do so."""

    def __init__(self, folder: Path, server: SftpServer) -> None:
        self._folder = folder
        self._server = server
        self._host = folder / "host"
        self._copies = folder / "copies"
        put_backups(self._host, 1, 512)

    def cases(self) -> dict[str, Case]:
        ssh, directory, dest = over_ssh(self._server), str(self._host), str(self._copies)
        sftp = self._server.options(self._host, host_key_policy="pinned", host_key=self._server.host_key())
        scp = self._scp()
        return {
            "backup_download": self._play(ssh, {MODULE: {"directory": directory, "dest": dest}}),
            "backup_download in pieces, archive": self._play(
                ssh, {MODULE: {"directory": directory, "dest": dest, "archive": "tar"}}
            ),
            "backup_download, SFTP source": self._play(LOCAL, {MODULE: {"sftp": sftp, "dest": dest}}),
            "scp alone": Case(scp, prepare=self._make_empty),
            "scp in a play": self._play(LOCAL, {"ansible.builtin.command": {"argv": scp}}),
        }

    def _scp(self) -> list[str]:
        known = f"UserKnownHostsFile={self._server.known_hosts}"
        login = ["-F", "/dev/null", "-o", known, "-i", str(self._server.folder / "user_ed25519"), "-P", str(self._server.port)]
        [payload] = (path for path in self._host.iterdir() if path.suffix != ".json")
        return ["scp", "-q", *login, f"{getpass.getuser()}@127.0.0.1:{payload}", str(self._copies)]

    def _play(self, variables: t.Mapping[str, t.Any], task: t.Mapping[str, t.Any]) -> Case:
        playbook = self._folder / f"play{len(list(self._folder.glob('play*')))}.yml"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": dict(variables), "tasks": [task]}]))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "--inventory", "db7,"]
        return Case(command, {"ANSIBLE_SSH_CONTROL_PATH_DIR": "/tmp"}, self._make_empty)

    def _make_empty(self) -> None:
        shutil.rmtree(self._copies, ignore_errors=True)
        self._copies.mkdir()
