"""The program on a host without Ansible and without a network, run by every Python that it supports."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.tests.support.examples import commands, examples
from ansible_collections.lastgood.database.tests.support.observe import wait_until
from ansible_collections.lastgood.database.tests.support.postgresql import Site, login
from ansible_collections.lastgood.database.tests.support.program import Program, settings_file
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer
from tools.pythons import find_all

PYTHONS = [pytest.param(python.path, id=str(python)) for python in find_all(9, 13)]
OK, FAILED, USAGE, NOT_GOOD, LOCKED = 0, 1, 2, 3, 75


def make_database(path: Path) -> None:
    """Make an SQLite database with one order in it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table orders (number)")
        database.execute("insert into orders values (1)")
        database.commit()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program.build(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def equipped(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return program.with_libraries(tmp_path_factory.mktemp("libraries"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An SQLite database."""
    path = tmp_path / "shop.db"
    make_database(path)
    return path


@pytest.fixture
def settings(tmp_path: Path, shop: Path) -> Path:
    return settings_file(
        tmp_path,
        backup_directory=str(tmp_path / "backups"),
        backup_retention={"keep_last": 2},
        backup_sources=[{"engine": "sqlite", "databases": [str(shop)], "compression": "none"}],
    )


@pytest.fixture(scope="module")
def backed_up(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a host that ran, for tests that only read."""
    folder = tmp_path_factory.mktemp("backed_up")
    make_database(folder / "shop.db")
    source = {"engine": "sqlite", "databases": [str(folder / "shop.db")]}
    settings = settings_file(folder, backup_directory=str(folder / "backups"), backup_sources=[source])
    assert program.run("run", settings=settings).returncode == OK
    return settings


def orders(shop: Path) -> int:
    with contextlib.closing(sqlite3.connect(shop)) as database:
        count: int = database.execute("select count(*) from orders").fetchone()[0]
        return count


def lose(shop: Path) -> None:
    with contextlib.closing(sqlite3.connect(shop)) as database:
        database.execute("delete from orders")
        database.commit()


def good(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "backups").glob("backup_*")}


@pytest.mark.parametrize("python", PYTHONS)
def test_a_host_backs_up_and_restores_with_python_alone(program: Program, python: Path, settings: Path, shop: Path) -> None:
    host = replace(program, python=python)
    run = host.run("run", settings=settings)
    assert (run.returncode, run.stderr) == (OK, "")
    assert run.stdout.startswith("created  shop.db")
    listed = host.run("list", "--json", settings=settings)
    assert listed.returncode == OK, listed.stderr
    [result] = json.loads(listed.stdout)["results"]
    assert [one["state"] for one in result["ansible_facts"]["database_backups"]["files"]] == ["good"]
    status = host.run("status", settings=settings)
    assert (status.returncode, status.stderr) == (OK, "")
    assert "safe" in status.stdout
    lose(shop)
    restored = host.run("restore", "--database", str(shop), "--if-exists", "replace", "--yes", settings=settings)
    assert (restored.returncode, restored.stderr) == (OK, "")
    assert orders(shop) == 1


def test_no_ansible_is_on_the_path(equipped: Program) -> None:
    """Or the tests here would prove nothing."""
    done = subprocess.run(
        (equipped.python, "-S", "-c", "import paramiko, psycopg2, ansible"),
        env=equipped.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'ansible'" in done.stderr


def test_readme_restores_at_three_in_the_morning(equipped: Program, site: Site, sftp: SftpServer, tmp_path: Path) -> None:
    """The commands of the README's section, as they stand there, from the local disk and from the SFTP server."""
    server = sftp.options(tmp_path / "server", host_key_policy="strict")
    (tmp_path / "server").mkdir()
    settings = settings_file(
        tmp_path,
        backup_directory=str(site.directory),
        backup_sftp=server,
        backup_sources=[{**login(site.server), "databases": [site.database]}],
    )
    host = replace(equipped, network=True)  # the server's
    before = site.sql("select count(*) from pg_class")
    run = host.run("run", settings=settings)
    assert run.returncode == OK, run.stderr

    [section] = [example for example in examples("console") if "lastgood restore" in example.text and example.page == "README.md"]
    restores = [words for words in commands(section.text) if words[:2] == ["lastgood", "restore"]]
    assert any("--from-server" in words for words in restores)
    for number, (_lastgood, *words) in enumerate(restores):
        site.sql(f"create table lost_{number} (a int)")
        words = [word.replace("app", site.database) for word in words]
        assert "--directory" not in words
        caller = host if "--from-server" in words else equipped
        yes = ["--yes"] if "replace" in words else []
        done = caller.run(*words, *yes, settings=settings)
        assert done.returncode == OK, f"{shlex.join(words)}: {done.stderr}"
        if yes:
            assert site.sql("select count(*) from pg_class") == before

    shutil.rmtree(site.directory)  # and a new host has no settings either
    where = {**server, "remote_directory": f"{server['remote_directory']}/db7"}
    options = [f"--{name}={value}" for name, value in login(site.server).items()]
    sftp_options = [f"--sftp.{name.replace('_', '-')}={value}" for name, value in where.items()]
    done = host.run("restore", "--database", site.database, "--if-exists=replace", "--yes", *options, *sftp_options)
    assert done.returncode == OK, done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], USAGE, ""),
        (["restore", "--help"], OK, ""),
        (["restoer"], USAGE, "No verb is called 'restoer'"),
        (["list", "--newst", "1"], USAGE, "unrecognized arguments: --newst 1"),
        (["list", "--newest", "zero"], USAGE, "cannot be converted"),
        (["list", "--settings", "/nonexistent"], USAGE, "The settings /nonexistent do not exist"),
        (["verify", "--names", "none"], FAILED, "no backup of these names"),
    ],
)
def test_users_mistakes_are_explained(program: Program, backed_up: Path, arguments: list[str], status: int, words: str) -> None:
    done = program.run(*arguments, settings=backed_up)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_status_and_check_end_with_3_where_something_is_not_good(program: Program, settings: Path, shop: Path) -> None:
    status = program.run("status", settings=settings)
    assert status.returncode == NOT_GOOD
    assert "never backed up" in status.stdout
    shop.unlink()
    checked = program.run("check", "--json", settings=settings)
    assert checked.returncode == NOT_GOOD
    codes = [problem["code"] for problem in json.loads(checked.stdout)["results"][0]["problems"]]
    assert "source_invalid" in codes or "database_missing" in codes


def test_trouble_of_a_source_is_one_line_and_leaves_the_others_alone(program: Program, tmp_path: Path, shop: Path) -> None:
    sources = [{"engine": "sqlite", "databases": [str(path)]} for path in (tmp_path / "missing.db", shop)]
    settings = settings_file(tmp_path, backup_directory=str(tmp_path / "backups"), backup_sources=sources)
    run = program.run("run", settings=settings, environment={"JOURNAL_STREAM": "8:1"})
    assert run.returncode == FAILED
    failed, created = run.stdout.splitlines()
    assert failed.startswith("<3>failed  missing.db  There is no file")
    assert created.startswith("created  shop.db")
    assert run.stderr == ""


def test_a_second_run_is_locked(program: Program, settings: Path) -> None:
    with open(settings) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = program.run("run", "--json", settings=settings)
    assert done.returncode == LOCKED
    assert json.loads(done.stdout)["error"]["code"] == "locked"


def test_check_and_diff_show_what_would_be_done_and_change_nothing(program: Program, settings: Path, tmp_path: Path) -> None:
    done = program.run("run", "--check", "--diff", settings=settings)
    assert done.returncode == OK
    assert "+" in done.stdout
    assert good(tmp_path) == {}


def test_a_signal_ends_a_run_with_what_it_did(program: Program, settings: Path, tmp_path: Path, shop: Path) -> None:
    assert program.run("run", settings=settings).returncode == OK
    before = good(tmp_path)
    with contextlib.closing(sqlite3.connect(shop)) as database:
        database.execute("create table noise (a)")
        database.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 60)"
            " insert into noise select randomblob(4000000) from n"
        )
        database.commit()
    process = subprocess.Popen(
        program.command("backup", "--interval", "0s", "--compression", "gzip", "--compression-level", "small", "--json"),
        env={**program.environment, "LASTGOOD_SETTINGS": str(settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: process.poll() is not None or bool(list((tmp_path / "backups").glob(".*.partial"))))
    process.send_signal(signal.SIGTERM)
    stdout, _stderr = process.communicate(timeout=20)
    assert process.returncode == FAILED
    [result] = json.loads(stdout)["results"]
    assert result["error"] == {"code": "interrupted", "signal": signal.SIGTERM}
    assert good(tmp_path) == before
    assert list((tmp_path / "backups").glob(".*.partial")) == []


def test_a_new_version_in_its_place_does_not_disturb_a_run(program: Program, tmp_path: Path) -> None:
    """It imports what it needs as it goes. The role replaces the file by a rename."""
    path, new, fifo = tmp_path / "lastgood", tmp_path / "new", tmp_path / "password"
    path.write_bytes(program.path.read_bytes())
    new.write_text("# another version\n" * 100_000)
    os.mkfifo(fifo, 0o600)
    command = replace(program, path=path).command(
        "verify", "--directory", str(tmp_path), "--names", "none", "--login-password-file", str(fifo)
    )
    process = subprocess.Popen(command, env=program.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with fifo.open("w") as password:  # it waits for this, before it loads the module
        new.replace(path)
        password.write("x\n")
    _stdout, stderr = process.communicate(timeout=60)
    assert "no backup of these names" in stderr
    assert process.returncode == FAILED


def test_a_source_of_another_user_is_dumped_as_that_user(program: Program, open_folder: Path, tmp_path: Path) -> None:
    path, readable = open_folder / "shop.db", open_folder / "lastgood"
    make_database(path)
    readable.write_bytes(program.path.read_bytes())
    readable.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    source = {"engine": "sqlite", "databases": [str(path)], "become_user": "nobody", "directory": str(open_folder / "backups")}
    settings = settings_file(tmp_path, backup_sources=[source])
    system = replace(program, python=Path("/usr/bin/python3"))  # another one may be in a home folder
    done = replace(system, path=readable).run("run", settings=settings)
    if os.geteuid() == 0:
        assert done.returncode == OK, done.stdout + done.stderr
        assert {file.stat().st_uid for file in (open_folder / "backups").iterdir()} == {65534}
        readable.chmod(0o700)
        refused = replace(system, path=readable).run("run", settings=settings)
        assert f"nobody can't read {readable}" in refused.stdout
        assert refused.returncode == FAILED
    else:
        assert "Only root can become 'nobody'" in done.stdout


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


@pytest.mark.parametrize(("answer", "status"), [("y", OK), ("", FAILED)])
def test_a_restore_asks_on_a_terminal_before_it_replaces(
    program: Program, backed_up: Path, terminal: tuple[int, int], answer: str, status: int
) -> None:
    shop = backed_up.with_name("shop.db")
    before = shop.stat().st_ino
    process = on_terminal(program, backed_up, terminal, "restore", "--database", str(shop), "--if-exists", "replace")
    os.write(terminal[0], f"{answer}\n".encode())
    output = output_of(process, terminal[0])
    assert process.returncode == status, output
    assert f"Replace {shop} by backup_shop.db_" in output
    assert (shop.stat().st_ino == before) == (status != OK)


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["colours", "no colours"])
def test_colours_are_for_terminals_that_want_them(
    program: Program, backed_up: Path, terminal: tuple[int, int], environment: dict[str, str]
) -> None:
    output = output_of(on_terminal(program, backed_up, terminal, "list", **environment), terminal[0])
    assert ("\x1b[32mgood\x1b[0m" in output) == (not environment)
    assert "good" in output


def on_terminal(
    program: Program, settings: Path, terminal: tuple[int, int], *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    theirs = terminal[1]
    process = subprocess.Popen(
        program.command(*arguments),
        env={**program.environment, "LASTGOOD_SETTINGS": str(settings), "TERM": "xterm", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    return process


def output_of(process: subprocess.Popen[bytes], ours: int) -> str:
    output = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(ours, 65536):
            output += piece
    process.wait(20)
    return output.decode()


def test_a_reader_that_leaves_is_no_trouble(program: Program) -> None:
    command = shlex.join(program.command("help", "restore"))
    done = subprocess.run(("sh", "-c", f"{command} | true"), env=program.environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_an_output_on_a_full_disk_is_a_failure(program: Program) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            program.command("help"), env=program.environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (FAILED, "lastgood: No space left on device\n")


def test_failures_for_programs_are_json(program: Program, backed_up: Path) -> None:
    done = program.run("restore", "--json", settings=backed_up)
    assert done.returncode == USAGE
    document: Any = json.loads(done.stdout)
    assert document["error"]["code"] == "argument_invalid"
