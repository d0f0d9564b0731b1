"""The role's entry point ``install``: which packages it names for which sources on which distribution."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VARIABLES = Path(__file__).resolve().parents[4] / "roles" / "backup" / "vars" / "main.yml"


def packages_for(folder: Path, family: str, **variables: Any) -> tuple[list[str], list[str]]:
    """Return the packages for the sources, and the client programs, as the role's variables name them."""
    show = {"ansible.builtin.debug": {"msg": {"packages": "{{ _backup_packages }}", "clients": "{{ _backup_client_packages }}"}}}
    playbook = folder / "play.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(VARIABLES)], "tasks": [{"name": "Show", **show}]}
    playbook.write_text(json.dumps([play]))
    defaults = {"_backup_os_family": family, "_backup_checks": [], "backup_install_pip": [], "backup_directory": "/b"}
    extra = json.dumps({**defaults, **variables})
    command = ("ansible-playbook", str(playbook), "--inventory", "localhost,", "--extra-vars", extra)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    assert done.returncode == 0, done.stdout
    text = done.stdout[done.stdout.index("ok: [localhost] => ") + len("ok: [localhost] => ") : done.stdout.index("PLAY RECAP")]
    found = json.loads(text)["msg"]
    return sorted(found["packages"]), found["clients"]


def test_only_what_the_sources_need_is_installed(tmp_path: Path) -> None:
    family = "Debian"
    sqlite = {"engine": "sqlite", "databases": ["/a.db"]}
    assert packages_for(tmp_path, family, backup_sources=[{**sqlite, "compression": "none"}]) == ([], [])
    assert packages_for(tmp_path, family, backup_sources=[sqlite])[0] == ["pigz"]
    everything = packages_for(
        tmp_path,
        family,
        backup_sources=[{"become_user": "postgres"}, {**sqlite, "compression": "zstd"}],
        backup_sftp={"host": "backup.example.org", "user": "db7", "remote_directory": "."},
        backup_install_pip=["isal"],
    )
    assert everything[0] == [
        "acl",
        "pigz",
        "python3-packaging",
        "python3-paramiko",
        "python3-pip",
        "python3-psycopg2",
        "zstd",
    ]


@pytest.mark.parametrize(
    ("family", "encryption", "name"), [("Debian", "age", "age"), ("Debian", "gpg", "gnupg"), ("RedHat", "gpg", "gnupg2")]
)
def test_what_encrypts_is_installed(tmp_path: Path, family: str, encryption: str, name: str) -> None:
    sqlite = {"engine": "sqlite", "databases": ["/a.db"], "compression": "none"}
    wanted = {"encryption": encryption, "recipients": ["somebody"]}
    assert packages_for(tmp_path, family, backup_sources=[sqlite], backup_encryption=wanted)[0] == [name]


@pytest.mark.parametrize(("family", "name"), [("Debian", "postgresql-client-{}"), ("RedHat", "postgresql{}")])
def test_client_programs_are_those_of_the_servers_that_lack_them(tmp_path: Path, family: str, name: str) -> None:
    missing, mismatch, other = ({"code": code} for code in ("program_missing", "program_mismatch", "no_space"))
    checks = [
        {"server_version": "17.5", "problems": [missing]},
        {"server_version": "17.6", "problems": [other, missing]},
        {"server_version": "14.18", "problems": [mismatch]},
        {"server_version": "16.1", "problems": [other]},
        {"server_version": None, "problems": [missing]},
    ]
    assert packages_for(tmp_path, family, backup_sources=[{}], _backup_checks=checks)[1] == [name.format(17), name.format(14)]
    given = packages_for(tmp_path, family, backup_sources=[{}], _backup_checks=checks, backup_install_postgresql_version=18)
    assert given[1] == [name.format(18)]


def test_another_distribution_is_refused_with_what_to_do(tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    role = {"name": "lastgood.database.backup", "tasks_from": "install"}
    tasks = [{"name": "Install", "ansible.builtin.include_role": role}]
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "_backup_os_family": "Suse",
        "backup_directory": "/b",
        "backup_sources": [{}],
    }
    command = ("ansible-playbook", str(playbook), "--inventory", "db7,", "--extra-vars", json.dumps(variables), "--check")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    assert done.returncode == 2
    assert "knows the packages of Debian and RedHat, not of Suse" in done.stdout
