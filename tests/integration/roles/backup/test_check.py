"""The role's entry point ``check``: a fleet of broken hosts, every problem of each in one table, and nothing changed."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.places import only_root
from ansible_collections.lastgood.database.tests.support.postgresql import Site, login
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer

VARIABLES = Path(__file__).resolve().parents[4] / "roles" / "backup" / "vars" / "main.yml"
ROLE = "checked"
NOWHERE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
# The controller's clock seems to be as slow as a host's variable says: then the host's is fast.
CLOCK = json.dumps({"_backup_controller_time": "{{ now().timestamp() - seconds_ahead | default(0) }}"})


def run(folder: Path, hosts: dict[str, dict[str, Any]], *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the playbook for several hosts, which are all this one."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    file = folder / "inventory.json"
    file.write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    command = ("ansible-playbook", "lastgood.database.check", "--inventory", str(file), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})


def table_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of the table, as the default callback shows them."""
    start = done.stdout.rindex("Show one table for all hosts")
    lines = [json.loads(line.strip().rstrip(",")) for line in done.stdout[start:].splitlines() if line.startswith("        ")]
    return lines


def problems_of(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str, str]]:
    """Return the host, the severity and the code in each line of the table that has them."""
    rows = [line.split() for line in table_of(done)]
    return [(row[0], row[1], row[2]) for row in rows if len(row) > 3 and row[1] in ("error", "warning")]


def sqlite_host(folder: Path, name: str, **over: Any) -> dict[str, Any]:
    """Return the variables of a host that backs up a database of its own."""
    path = folder / f"{name}.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.execute("INSERT INTO note VALUES (hex(randomblob(100000)))")
        connection.commit()
    source = {"engine": "sqlite", "databases": [str(path)], "compression": "none"}
    return {"backup_directory": str(folder / name), "backup_sources": [source], **over}


def snapshot(*folders: Path) -> list[tuple[str, int, int]]:
    """Return each file with its time and mode. A folder has no time: the probe on the server was in one, for a moment."""
    paths = sorted(path for folder in folders for path in folder.rglob("*"))
    found = [(path, path.lstat()) for path in paths]
    return [(str(path), 0 if path.is_dir() else facts.st_mtime_ns, facts.st_mode) for path, facts in found]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where Ansible puts its own files, apart from those of the hosts."""
    path = tmp_path / "work"
    path.mkdir()
    return path


def python_without(library: str, folder: Path) -> str:
    """Return the interpreter of an environment that has all of ours but one library."""
    venv.EnvBuilder(with_pip=False).create(folder)
    [packages] = folder.glob("lib/python*/site-packages")
    [ours] = [Path(path) for path in sys.path if path.endswith("site-packages")][:1]
    for package in ours.iterdir():
        if not package.name.startswith((library, "pip")) and not (packages / package.name).exists():
            (packages / package.name).symlink_to(package)
    return str(folder / "bin" / "python")


@only_root
@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check"])
def test_every_problem_of_every_host_is_in_one_table(
    work: Path, site: Site, sftp: SftpServer, small_disk: Callable[[str], Path], check_mode: bool
) -> None:
    fleet = work.parent / "fleet"
    fleet.mkdir()
    site.sql(f"drop role if exists {ROLE}; create role {ROLE} login; create table secret (n int)")
    there = fleet / "there"
    (there / "fine").mkdir(parents=True)
    empty = fleet / "bin"
    empty.mkdir()

    def postgresql(**over: Any) -> list[dict[str, Any]]:
        return [{**login(site.server), "databases": [site.database], **over}]

    exposed = sqlite_host(fleet, "exposed")
    (fleet / "exposed").mkdir()
    (fleet / "exposed").chmod(0o777)
    disk = small_disk("size=1m")
    full = sqlite_host(fleet, "full", backup_directory=str(disk / "backups"))
    options = {"engine": "sqlite", "directory": str(disk / "backups"), "databases": full["backup_sources"][0]["databases"]}
    assert run_module("db_backup", origin="full", compression="none", **options).changed
    space = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(space.f_bavail * space.f_frsize - 65536))
    hosts = {
        "fine": sqlite_host(fleet, "fine", backup_sftp=sftp.options(there)),
        "programs": {
            "backup_directory": str(fleet / "programs"),
            # Two sources: the second one is checked although the first one has a problem.
            "backup_sources": [*postgresql(bin_directory=str(empty)), *postgresql(login_user=ROLE)],
            "backup_sftp": {},
        },
        "exposed": {**exposed, "seconds_ahead": 7200, "backup_sftp": sftp.options(there, port=1)},
        "full": {**full, "backup_sftp": {"host": "backup.example.org"}},
        "library": {
            "backup_directory": str(fleet / "library"),
            "backup_sources": postgresql(),
            "ansible_python_interpreter": python_without("psycopg2", fleet / "venv"),
        },
        "lost": {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": 1,
            "backup_directory": "/b",
            "backup_sources": [{}],
        },
        "stranger": sqlite_host(fleet, "stranger"),
    }
    hosts["stranger"]["backup_sources"].append(
        {"engine": "sqlite", "directory": str(fleet / "stranger.db" / "backups"), "databases": ["/no/such.db"]}
    )
    before = snapshot(fleet, disk)
    try:
        done = run(work, hosts, "--extra-vars", CLOCK, *(["--check"] if check_mode else []))
    finally:
        site.server.psql(f"drop role {ROLE}")
    assert done.returncode != 0
    errors = [(host, code) for host, severity, code in problems_of(done) if severity == "error"]
    assert errors == [
        ("programs", "program_missing"),
        ("programs", "grant_missing"),
        ("exposed", "directory_exposed"),
        ("exposed", "clock_wrong"),
        ("exposed", "connection_refused"),
        ("full", "argument_invalid"),
        ("full", "no_space"),
        ("library", "library_missing"),
        ("stranger", "database_missing"),
        ("stranger", "not_a_directory"),
    ], done.stdout
    text = "\n".join(table_of(done))
    assert re.search(r"^fine +no problems$|^fine +warning", text, re.MULTILINE)
    assert re.search(r"^lost +unreachable", text, re.MULTILINE)
    assert f'GRANT pg_read_all_data TO "{ROLE}";' in text
    assert f"postgresql-client-{site.server.major}" in text
    assert "backup_sftp lacks user and remote_directory." in text
    assert done.stdout.count("Show one table") == 1
    recap = dict(re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", done.stdout, re.MULTILINE))
    assert set(recap) == set(hosts) and set(recap.values()) == {"0"}
    failed = dict(re.findall(r"^(\w+) +: .*failed=(\d+)", done.stdout, re.MULTILINE))
    assert {host for host, count in failed.items() if count != "0"} == {"programs", "exposed", "full", "library", "stranger"}
    assert snapshot(fleet, disk) == before


def test_a_sound_host_succeeds_and_a_warning_is_no_failure(work: Path, site: Site) -> None:
    directory = work.parent / "backups"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    host = {"backup_directory": str(directory), "backup_sources": [{**login(site.server), "databases": [site.database]}]}
    done = run(work, {"db7": host})
    assert done.returncode == 0, done.stdout
    assert ("db7", "warning", "directory_exposed") in problems_of(done)


def test_variables_that_make_no_sense_are_problems_of_their_host(work: Path) -> None:
    fine = sqlite_host(work.parent, "fine")
    lost = {"backup_sources": fine["backup_sources"]}
    done = run(work, {"fine": fine, "nowhere": lost, "nothing": {**fine, "backup_sources": []}})
    assert done.returncode != 0
    assert problems_of(done)[-2:] == [("nowhere", "error", "argument_invalid"), ("nothing", "error", "argument_invalid")]
    assert "set backup_directory" in done.stdout


def test_a_user_that_ansible_cannot_become_is_a_problem_and_the_next_source_is_checked(work: Path) -> None:
    host = sqlite_host(work.parent, "db7")
    host["backup_sources"].insert(0, {**host["backup_sources"][0], "become_user": "no_such_user"})
    host["backup_sources"].append({"engine": "sqlite", "databases": ["/no/such.db"]})
    done = run(work, {"db7": host})
    assert [code for _host, severity, code in problems_of(done) if severity == "error"] == ["module_failed", "database_missing"]


def test_the_table_can_be_left_out(work: Path) -> None:
    done = run(work, {"db7": sqlite_host(work.parent, "db7")}, backup_summary=False)
    assert done.returncode == 0, done.stdout
    assert "no problems" not in done.stdout


@pytest.mark.parametrize(
    ("msg", "code", "problem", "remedy"),
    [
        (
            "Task failed: Failed to set permissions on the temporary files Ansible needs to create when becoming an unprivileged "
            "user (rc: 1, err: chmod: invalid mode: 'A+user:postgres:rx:allow'}",
            "become_failed",
            "Ansible can't hand its files to the user that it becomes.",
            "Install the package acl",
        ),
        ("missing required arguments: directory", "module_failed", "missing required arguments: directory", ""),
    ],
)
def test_a_check_that_did_not_run_is_a_problem_with_what_to_do(
    work: Path, msg: str, code: str, problem: str, remedy: str
) -> None:
    show = {"ansible.builtin.debug": {"msg": "{{ _backup_not_checked }}"}}
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(VARIABLES)], "tasks": [{"name": "Show", **show}]}
    (work / "play.yml").write_text(json.dumps([play]))
    extra = json.dumps({"_backup_check": {"failed": False, "msg": msg}})
    command = ("ansible-playbook", str(work / "play.yml"), "--inventory", "localhost,", "--extra-vars", extra)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    begin = done.stdout.index("ok: [localhost] => ") + len("ok: [localhost] => ")
    found = json.loads(done.stdout[begin : done.stdout.index("PLAY RECAP")])["msg"]
    assert (found["severity"], found["code"], found["problem"]) == ("error", code, problem)
    assert found["remedy"].startswith(remedy) and bool(found["remedy"]) == bool(remedy)
