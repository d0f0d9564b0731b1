"""The role's entry points ``schedule`` and ``unschedule``: what they leave on a host, in another root folder.

systemd is the first process of no machine that runs tests, so that units are checked by its own programs, and not started.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.another_root import COVERED, AnotherRoot, another_root

UNIT = "/etc/systemd/system/lastgood"
SETTINGS = "/etc/lastgood/settings.json"
PROGRAM = "/usr/local/bin/lastgood"
DATABASE = "/var/lib/app/notes.db"
DIRECTORY = '/var/lib/back ups/100% "sure"'
SECRETS = ("hunter2", "hunter3")
VARIABLES: dict[str, Any] = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "backup_directory": DIRECTORY,
    "backup_sources": [{"engine": "sqlite", "databases": [DATABASE], "labels": {"password_of": "nobody"}}],
    "backup_retention": {"keep_daily": 7},
    "backup_metrics_file": "",
    "backup_schedule": {"randomized_delay": "10m", "credentials": {"app": "/etc/credstore.encrypted/app", "key": "/etc/key"}},
}
SECOND = "A second time"


def play(root: AnotherRoot, folder: Path, entry_point: str, *arguments: str, times: int = 1, **variables: Any) -> tuple[int, str]:
    """Run an entry point for this host. Return the exit status and the output."""
    role = {"ansible.builtin.include_role": {"name": "lastgood.database.backup", "tasks_from": entry_point}}
    again = {"name": SECOND, "ansible.builtin.debug": {"msg": ""}}
    tasks = [role, *[again, role] * (times - 1)]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (folder / "variables.json").write_text(json.dumps({**VARIABLES, **variables}))
    command = ("ansible-playbook", str(folder / "play.yml"), "--inventory", "db7,", "--extra-vars", f"@{folder}/variables.json")
    done = root.run(*command, *arguments, environment={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    return done.returncode, done.stdout


def service_command(root: AnotherRoot) -> list[str]:
    """Return the command of the service as systemd would execute it: with its capabilities, and with what it may write to."""
    unit = [line.partition("=") for line in root.read(f"{UNIT}.service").splitlines() if "=" in line]
    values = {name: [text for key, _equals, text in unit if key == name] for name, _equals, _text in unit}
    (capabilities,), (command,) = values["CapabilityBoundingSet"], values["ExecStart"]
    bounds = ",".join(["-all", *(f"+{name.lower().removeprefix('cap_')}" for name in capabilities.split())])
    writable = [shlex.split(path)[0].removeprefix("-").replace("%%", "%") for path in values["ReadWritePaths"]]
    mounts = [f"mount --bind {shlex.quote(path)} {shlex.quote(path)}" for path in writable]
    mounts += [f"mount -o remount,bind,ro {place}" for place in COVERED]
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(command)]
    restricted = ["setpriv", f"--bounding-set={bounds}", "--no-new-privs", "env", "-i", *words]
    return ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, f"exec {shlex.join(restricted)}"])]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[AnotherRoot]:
    """A host with an SQLite database."""
    if os.geteuid() != 0:
        pytest.skip("only root can have another root folder")
    (tmp_path / "root").mkdir()
    with another_root(tmp_path / "root") as made:
        made.run("mkdir", os.path.dirname(DATABASE))
        made.run("sqlite3", DATABASE, "CREATE TABLE note (text)")
        yield made


def test_a_host_backs_itself_up_from_schedule_to_unschedule(root: AnotherRoot, tmp_path: Path) -> None:
    status, output = play(root, tmp_path, "schedule", "--diff", times=2)
    assert status == 0, output
    first, second = output.split(SECOND)
    assert '"+  \\"backup_interval\\": \\"20h\\","' in first
    assert "changed: [db7]" in first and "changed: [db7]" not in second, second
    assert "not systemd. The service and the timer were written, and not started" in second
    settings_are_the_variables_for_root_alone(root)
    units_are_valid_and_the_service_is_hardened(root)
    check_mode_shows_what_would_change_and_changes_nothing(root, tmp_path)
    backups = service_backs_up_once(root)
    status, output = play(root, tmp_path, "main")
    assert (status, "changed=0" in output, "fresh" in output) == (0, True, True), output

    status, output = play(root, tmp_path, "unschedule", times=2)
    assert status == 0, output
    first, second = output.split(SECOND)
    assert "changed: [db7]" in first and "changed: [db7]" not in second, second
    assert [path for path in (SETTINGS, PROGRAM, f"{UNIT}.service", f"{UNIT}.timer") if root.exists(path)] == []
    assert root.run("ls", DIRECTORY).stdout.split() == backups


def settings_are_the_variables_for_root_alone(root: AnotherRoot) -> None:
    assert json.loads(root.read(SETTINGS)) == {
        "version": 1,
        "inventory_hostname": "db7",
        "backup_directory": DIRECTORY,
        "backup_interval": "20h",
        "backup_retention": {"keep_daily": 7},
        "backup_sftp_verify_before_delete": False,
        "backup_shrink_warning": 50,
        "backup_sources": VARIABLES["backup_sources"],
    }
    facts = root.run("stat", "--format=%a %U:%G", SETTINGS, PROGRAM, f"{UNIT}.service", DIRECTORY)
    assert facts.stdout.splitlines() == ["600 root:root", "755 root:root", "644 root:root", "700 root:root"]


def units_are_valid_and_the_service_is_hardened(root: AnotherRoot) -> None:
    verified = root.run("systemd-analyze", "verify", f"{UNIT}.service", f"{UNIT}.timer")
    assert (verified.returncode, verified.stdout) == (0, "")
    hardened = root.run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=40", f"{UNIT}.service")
    assert hardened.returncode == 0, hardened.stdout
    service = root.read(f"{UNIT}.service").splitlines()
    assert "LimitCORE=1" in service
    assert "LoadCredentialEncrypted=app:/etc/credstore.encrypted/app" in service and "LoadCredential=key:/etc/key" in service
    assert 'ReadWritePaths="-/var/lib/back ups/100%% \\"sure\\""' in service and 'ReadWritePaths="-/var/lib/app"' in service
    timer = root.read(f"{UNIT}.timer").splitlines()
    assert {"OnCalendar=*-*-* 02:30", "RandomizedDelaySec=10m", "Persistent=yes"} <= set(timer)


def check_mode_shows_what_would_change_and_changes_nothing(root: AnotherRoot, folder: Path) -> None:
    before = root.read(SETTINGS)
    status, output = play(root, folder, "schedule", "--check", "--diff", backup_interval="6h")
    assert (status, "changed: [db7]" in output) == (0, True), output
    assert '"-  \\"backup_interval\\": \\"20h\\","' in output and '"+  \\"backup_interval\\": \\"6h\\","' in output
    assert root.read(SETTINGS) == before


def service_backs_up_once(root: AnotherRoot) -> list[str]:
    """Execute the command of the service twice, with an empty environment. Return the files of the directory."""
    first = root.run(*service_command(root))
    assert first.returncode == 0, first.stdout
    files = root.run("ls", DIRECTORY).stdout.split()
    assert len([name for name in files if name.startswith("backup_notes.db_") and name.endswith(".gz")]) == 1
    second = root.run(*service_command(root))
    assert second.returncode == 0 and second.stdout.startswith("fresh  notes.db"), second.stdout
    assert root.run("ls", DIRECTORY).stdout.split() == files
    return files


def test_settings_that_cannot_work_are_not_saved_and_no_secret_shows(root: AnotherRoot, tmp_path: Path) -> None:
    own = {"app": {"login_password": SECRETS[1]}}
    sources = [{"login_host": "/nonexistent", "login_password": SECRETS[0], "per_database": own}]
    status, output = play(root, tmp_path, "schedule", "--diff", "-vvv", backup_sources=sources)
    assert status == 2
    assert "The settings were not saved. postgresql at /nonexistent in" in output
    assert '\\"login_password\\": \\"********\\"' in output
    assert not [secret for secret in SECRETS if secret in output]
    assert not root.exists(SETTINGS) and not root.exists(f"{UNIT}.timer")
