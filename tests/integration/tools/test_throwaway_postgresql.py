"""Real servers of every installation found, and that nothing of them stays."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.specifications import collection_folder
from tools import folder_guard, throwaway_folder, throwaway_postgresql
from tools.throwaway_postgresql import (
    Installation,
    PostgresqlError,
    Server,
    find_installations,
    installation,
    is_open_to_all,
)

INSTALLATIONS = find_installations()
NAMES = [f"{one.major}-{one.bin_directory.parent.name}" for one in INSTALLATIONS]
AS_ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(not INSTALLATIONS, reason="no PostgreSQL server on this machine")
every_installation = pytest.mark.parametrize("programs", INSTALLATIONS, ids=NAMES)
# A distribution's are where everybody reaches them.
every_private_installation = pytest.mark.parametrize(
    "programs", [one for one in INSTALLATIONS if not one.bin_directory.is_relative_to("/usr")], ids=str
)
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")

# Starts a server as told, says what there is to know about it, and then does as told.
SCRIPT = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tools import throwaway_postgresql as tool
one = tool.Installation(int(sys.argv[2]), Path(sys.argv[3]))
print("starting", flush=True)
with tool.Server.start(one, base=Path(sys.argv[4])) as server:
    print(json.dumps({
        "folder": str(server.socket_directory),
        "processes": [server.pid, *tool.folder_guard.processes_in(server.socket_directory)],
        "owner": Path(f"/proc/{server.pid}").stat().st_uid,
        "answer": server.psql("select 6 * 7"),
    }), flush=True)
    exec(sys.argv[5])
"""


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def segment_of(data_directory: Path) -> str:
    """The id of the server's System V shared memory."""
    return folder_guard.postmaster_lines(data_directory)[6].split()[1]


def segments() -> set[str]:
    """The ids of all the System V shared memory on this machine."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


def processes_of(server: Server) -> list[int]:
    """The server and its children, itself first."""
    return [server.pid, *_children(server.pid)]


def _runs(pid: int) -> bool:
    return _state_and_parent(pid)[0] not in "XZ"


def _children(pid: int) -> list[int]:
    every = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [one for one in every if _state_and_parent(one)[1] == pid]


def _state_and_parent(pid: int) -> tuple[str, int]:
    """A process's state letter (Z: ended, not waited for; X: no such process) and its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


def assert_nothing_stays(server: Server, processes: list[int]) -> None:
    assert not server.socket_directory.exists()
    assert not server.running
    assert not any(_runs(pid) for pid in processes)
    # Not even as a zombie of ours.
    assert _state_and_parent(processes[0])[0] == "X"
    mine = _children(os.getpid())
    assert not set(mine) & set(processes)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A short temporary folder that every user can enter and write to."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def newest() -> Iterator[Server]:
    with Server.start(INSTALLATIONS[-1]) as server:
        yield server


# --- What it is ----------------------------------------------------------------------------------


def test_finds_installations_by_major_version() -> None:
    assert sorted(one.major for one in INSTALLATIONS) == [one.major for one in INSTALLATIONS]
    assert installation(INSTALLATIONS[-1].major).major == INSTALLATIONS[-1].major
    with pytest.raises(LookupError, match=r"no PostgreSQL 7 server.*found: \d+"):
        installation(7)


@every_installation
def test_runs_private_and_leaves_nothing(programs: Installation) -> None:
    with Server.start(programs) as server:
        processes = processes_of(server)
        assert len(processes) > 3
        segment = segment_of(server.data_directory)
        assert segment in segments()
        assert server.major == programs.major
        assert server.psql("show server_version_num")[:2] == str(programs.major)
        assert server.psql("show server_encoding") == "UTF8"
        assert server.psql("show listen_addresses") == ""
        assert server.psql("show fsync") == "off"
        assert server.psql("select 'Grüße', null, 1") == "Grüße||1"
        assert server.log.count("database system is ready to accept connections") == 1
        assert "FATAL" not in server.log
        folder = server.socket_directory.stat()
        assert stat.S_IMODE(folder.st_mode) == 0o700
        owner = Path(f"/proc/{server.pid}").stat().st_uid
        assert owner == folder.st_uid
        assert (owner != os.geteuid()) == AS_ROOT
        assert os.getsid(server.pid) == server.pid != os.getsid(0)
    assert_nothing_stays(server, processes)
    assert segment not in segments()
    server.close()


def test_every_server_is_a_cluster_of_its_own(newest: Server) -> None:
    ask = "select system_identifier from pg_control_system()"
    with Server.start(newest.installation) as other:
        assert other.psql(ask) != newest.psql(ask)


@pytest.mark.parametrize("name", ["app", 'a"b', "host=elsewhere", "back\\slash 'quoted' $HOME", "ü"])
def test_database_names_are_data(newest: Server, name: str) -> None:
    newest.create_database(name)
    assert newest.psql("select current_database()", name) == name
    newest.psql("create table t as select generate_series(1, 10) as n; select 1", name)
    assert "CREATE TABLE public.t" in newest.run("pg_dump", database=name).stdout


def test_failures_have_the_programs_words(newest: Server) -> None:
    with pytest.raises(PostgresqlError, match=r'psql ended with status 3.*relation "nowhere"'):
        newest.psql("select * from nowhere; create database never")
    assert newest.psql("select count(*) from pg_database where datname = 'never'") == "0"
    assert newest.run("pg_dump", "--bogus", check=False).returncode == 1


def test_other_connection_variables_do_not_lead_away(newest: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    assert newest.psql("select 1") == "1"


# --- How it is set up ----------------------------------------------------------------------------


def test_settings_win_over_the_fast_ones() -> None:
    awkward = "it's a \\ test"
    settings = {"fsync": "on", "max_connections": "20", "cluster_name": "x", "app.awkward": awkward}
    with Server.start(INSTALLATIONS[-1], settings=settings) as server:
        assert server.psql("show fsync") == "on"
        assert server.psql("show max_connections") == "20"
        assert server.psql("show app.awkward") == awkward


@every_installation
def test_password_on_socket_and_tcp(programs: Installation) -> None:
    secret = "s3cret 'quoted' \\ ü"
    with Server.start(programs, password=secret, tcp=True) as server:
        assert server.psql("show listen_addresses") == "127.0.0.1"
        for host in (str(server.socket_directory), "127.0.0.1"):
            psql = str(server.bin_directory / "psql")
            command = [psql, "-w", "-X", "-At", "-h", host, "-c", "select 1"]
            for password, status in ((secret, 0), ("wrong", 2), ("", 2)):
                environment = server.environment | {"PGPASSWORD": password}
                done = subprocess.run(command, env=environment, capture_output=True, check=False)
                assert done.returncode == status, done.stderr
        assert secret not in server.log
        written = [path for path in server.socket_directory.rglob("*") if path.is_file()]
        assert not any(secret.encode() in path.read_bytes() for path in written)


def test_tcp_without_password_lets_nobody_in() -> None:
    with Server.start(INSTALLATIONS[-1], tcp=True) as server:
        assert server.psql("select 1") == "1"
        done = server.run("psql", "-w", "-h", "127.0.0.1", "-c", "select 1", check=False)
        assert done.returncode == 2


def test_own_hba() -> None:
    with Server.start(INSTALLATIONS[-1], hba="local postgres all trust") as server:
        server.create_database("closed")
        with pytest.raises(PostgresqlError, match=r"no pg_hba\.conf entry"):
            server.psql("select 1", "closed")


def test_takes_another_port_where_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], throwaway_postgresql.free_port()]
        monkeypatch.setattr(throwaway_postgresql, "free_port", lambda: ports.pop(0))
        with Server.start(INSTALLATIONS[-1], tcp=True) as server:
            assert not ports
            assert server.port != taken.getsockname()[1]
            assert "could not bind" not in server.log


def test_long_temporary_folder(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    long = open_folder / ("x" * 100)
    long.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with Server.start(INSTALLATIONS[-1]) as server:
        assert server.socket_directory.parent == Path("/tmp")
    with pytest.raises(ValueError, match="too long a path for a socket"):
        Server.start(INSTALLATIONS[-1], base=long)


# --- How it ends ---------------------------------------------------------------------------------


@every_installation
def test_exception_leaves_nothing(programs: Installation) -> None:
    with pytest.raises(KeyboardInterrupt), Server.start(programs) as server:
        processes = processes_of(server)
        raise KeyboardInterrupt
    assert_nothing_stays(server, processes)


@every_installation
def test_kill_ends_every_process_and_restart_recovers(programs: Installation) -> None:
    durable = {"synchronous_commit": "on"}
    with Server.start(programs, settings=durable, tcp=True) as server:
        port = server.port
        server.psql("create table kept as select 1 as n")
        client = subprocess.Popen(
            [server.bin_directory / "psql", "-c", "select pg_sleep(600)"],
            env=server.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        assert wait_until(lambda: server.psql(asleep) == "1")
        processes = processes_of(server)
        server.kill()
        assert client.wait(10) == 2
        assert not any(_runs(pid) for pid in processes)
        assert not server.running
        with pytest.raises(PostgresqlError, match=r"No such file|Connection refused"):
            server.psql("select 1")
        server.restart()
        assert server.port == port
        assert server.psql("select n from kept") == "1"
        assert "automatic recovery in progress" in server.log
        processes += processes_of(server)
        segment = segment_of(server.data_directory)
        server.kill()
        assert segment in segments()
    assert_nothing_stays(server, processes)
    assert segment not in segments()


@every_installation
def test_stop_and_restart_keep_the_data(programs: Installation) -> None:
    with Server.start(programs) as server:
        server.psql("create table kept as select 1 as n")
        first = server.pid
        server.stop()
        server.stop()
        assert not server.running
        assert server.socket_directory.exists()
        server.restart()
        assert server.pid != first
        assert server.psql("select n from kept") == "1"


def test_frozen_server_can_be_stopped() -> None:
    with Server.start(INSTALLATIONS[-1]) as server:
        processes = processes_of(server)
        os.kill(server.pid, signal.SIGSTOP)
    assert_nothing_stays(server, processes)


def test_failed_start_shows_the_log_and_leaves_nothing(open_folder: Path) -> None:
    with pytest.raises(PostgresqlError, match=r'status 1; its log:\n(.*\n)*.*"shared_buffers"'):
        Server.start(INSTALLATIONS[-1], settings={"shared_buffers": "much"}, base=open_folder)
    assert not list(open_folder.iterdir())


def test_failed_initdb_shows_its_words_and_leaves_nothing(open_folder: Path) -> None:
    programs = Installation(16, open_folder / "programs" / "bin")
    programs.bin_directory.mkdir(parents=True)
    for name, does in (
        ("postgres", "exit 0"),
        ("initdb", "test $1 = --version || { ls /0; exit 3; }"),
    ):
        (programs.bin_directory / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs.bin_directory / name).chmod(0o755)
    servers = open_folder / "servers"
    servers.mkdir()
    with pytest.raises(PostgresqlError, match=r"initdb ended with status 3: .*No such file"):
        Server.start(programs, base=servers)
    assert not list(servers.iterdir())


def test_close_does_the_work_of_a_guard_that_was_killed() -> None:
    with Server.start(INSTALLATIONS[-1]) as server:
        processes = processes_of(server)
        server._folder._guard.kill()
    assert_nothing_stays(server, processes)


def start_script(programs: Installation, base: Path, then: str, **options: object) -> subprocess.Popen[str]:
    """SCRIPT in a process of its own, with private copies of the tool and what it imports, that every user can read."""
    tools = base / "code" / "tools"
    tools.mkdir(parents=True)
    for module in (throwaway_postgresql, throwaway_folder, folder_guard):
        shutil.copy(str(module.__file__), tools)
    within = Path("ansible_collections/lastgood/database/plugins/module_utils")
    shutil.copytree(collection_folder() / "plugins" / "module_utils", tools.parent / within)
    python = str(options.pop("python", sys.executable))
    servers = base / "servers"
    servers.mkdir()
    servers.chmod(0o777)
    arguments = [str(tools.parent), str(programs.major), str(programs.bin_directory), str(servers)]
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
        [python, "-I", "-c", SCRIPT, *arguments, then],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout
    assert process.stdout.readline() == "starting\n"
    return process


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


@every_installation
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_of_the_parent_leaves_nothing(programs: Installation, number: signal.Signals, open_folder: Path) -> None:
    process = start_script(programs, open_folder, "time.sleep(600)")
    assert process.stdout
    told = json.loads(process.stdout.readline())
    assert all(_runs(pid) for pid in told["processes"])
    segment = segment_of(Path(told["folder"]) / "data")
    assert segment in segments()
    process.send_signal(number)
    assert ended(process) == -number
    assert wait_until(lambda: not Path(told["folder"]).exists())
    assert not any(_runs(pid) for pid in told["processes"])
    assert segment not in segments()


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.4, 0.6])
def test_death_of_the_parent_at_any_moment_of_the_start(seconds: float, open_folder: Path) -> None:
    process = start_script(INSTALLATIONS[-1], open_folder, "time.sleep(600)")
    time.sleep(seconds)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    servers = open_folder / "servers"

    def nothing_runs() -> bool:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.fsencode(servers) in (entry / "cmdline").read_bytes():
                    return False
            except OSError:
                continue
        return True

    assert wait_until(nothing_runs)
    assert wait_until(lambda: not list(servers.iterdir()), 1)


# --- Who runs it ---------------------------------------------------------------------------------


@only_root
@every_installation
def test_as_an_unprivileged_user(programs: Installation, open_folder: Path) -> None:
    user = throwaway_postgresql.server_user()
    assert user
    check = ("-c", "import sys; sys.exit(sys.version_info < (3, 11))")
    pythons = [Path(sys.executable).resolve(), *sorted(Path("/usr/bin").glob("python3*"))]
    python = next(
        (one for one in pythons if is_open_to_all(one) and not subprocess.run((one, *check), check=False).returncode), None
    )
    if python is None:
        pytest.skip("no Python 3.11 that an unprivileged user can run")
    process = start_script(
        throwaway_postgresql._runnable(programs),
        open_folder,
        "sys.exit(7)",
        python=python,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        umask=0o022,
    )
    out = process.communicate()[0]
    told = json.loads(out)
    assert process.returncode == 7
    assert told["answer"] == "42"
    assert told["owner"] == user.pw_uid
    assert not Path(told["folder"]).exists()
    assert not any(_runs(pid) for pid in told["processes"])


@only_root
@every_private_installation
def test_installation_that_the_servers_user_cannot_reach(programs: Installation, tmp_path: Path, open_folder: Path) -> None:
    tmp_path.chmod(0o700)
    home = programs.bin_directory.parent
    closed = tmp_path / home.parent.name / home.name
    shutil.copytree(home, closed, symlinks=True)
    libraries = home.parent.with_name(home.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, tmp_path / libraries.name)
    for folder, _folders, files in os.walk(tmp_path):  # as installed under umask 077
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)
    hidden = Installation(programs.major, closed / "bin")
    then = "print(server.bin_directory, server.run('pg_dumpall').returncode, flush=True)"
    process = start_script(hidden, open_folder, then)
    out = process.communicate()[0]
    assert process.returncode == 0
    told, copied = out.splitlines()
    assert json.loads(told)["answer"] == "42"
    bin_directory, status = copied.rsplit(" ", 1)
    assert status == "0"
    assert not Path(bin_directory).is_relative_to(tmp_path)
    assert not Path(bin_directory).exists()
    assert not any(_runs(pid) for pid in json.loads(told)["processes"])
