"""The password while db_backup runs by ``ansible -vvv``: in no process list, no environment, no file and no output."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.impostor import Impostor
from ansible_collections.lastgood.database.tests.support.postgresql import PASSWORD, VERSIONS
from ansible_collections.lastgood.database.tests.support.secrets import watching_for
from tools.throwaway_postgresql import Server, installation

# A part of the password that stays as it is however it is escaped, and that no test beside us has.
SECRET = f"watched{os.getpid()}"
WATCHED = f"{PASSWORD} {SECRET}"

SILENT, FULL, FILE = "a port where nobody speaks", "a disk without room", "a file with the password"
OVERFLOWING = """
sink = open(out, "wb", buffering=0)
for chunk in [*real_output(300), os.urandom(1 << 20)]:
    sink.write(chunk)
"""
SLOWLY = "time.sleep(0.5)\ngo_on()"
# What may happen to a run: options over the usual, what pg_dump does, and a word of what ansible then says.
RUNS: dict[str, tuple[dict[str, object], str, str]] = {
    "all goes well": ({}, SLOWLY, '"outcome": "created"'),
    "the password is in a file": ({"login_password_file": FILE}, SLOWLY, '"outcome": "created"'),
    "pg_dump fails half way": ({}, "chunks = list(real_output(300)); time.sleep(0.5); sys.exit(2)", "program_failed"),
    "pg_dump hangs": ({"timeout": "1s"}, "wait_for('never')", '"code": "timeout"'),
    "the password is wrong": ({"login_password": f"wrong {WATCHED}"}, SLOWLY, "authentication_failed"),
    "the server is out of reach": ({"login_port": 1}, SLOWLY, "connection_failed"),
    "the server says nothing": ({"login_port": SILENT}, SLOWLY, "connection_failed"),
    "the disk is full": ({"directory": FULL}, OVERFLOWING, "no_space"),
    "a signal ends the run": ({}, "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)", '"code": "interrupted"'),
    "an option is wrong": ({"interval": "soon"}, SLOWLY, "argument_invalid"),
}


@pytest.fixture(scope="module")
def watched() -> Iterator[Server]:
    """A server that lets nobody in without that password."""
    if not VERSIONS:
        pytest.skip("no PostgreSQL server on this machine")
    with Server.start(installation(VERSIONS[-1]), password=WATCHED, tcp=True) as server:
        yield server


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


@pytest.mark.parametrize("case", RUNS)
def test_nobody_sees_the_password_whatever_happens(
    watched: Server, tmp_path: Path, case: str, silent_port: int, request: pytest.FixtureRequest
) -> None:
    over, script, word = RUNS[case]
    if FULL in over.values():
        over = {**over, "directory": str(request.getfixturevalue("small_disk")("size=64k"))}
    if SILENT in over.values():
        over = {**over, "login_port": silent_port}
    impostor = Impostor(tmp_path / "fake", watched.bin_directory, script)
    options = {
        "directory": str(tmp_path / "backups"),
        "databases": ["postgres"],
        "login_host": "127.0.0.1",
        "login_port": watched.port,
        "login_user": watched.user,
        "login_password": WATCHED,
        "bin_directory": str(impostor.bin_directory),
        **over,
    }
    if FILE in over.values():
        file = tmp_path / "password"
        file.write_text(f"{options.pop('login_password')}\n")
        file.chmod(0o600)
        options["login_password_file"] = str(file)
    finished = ad_hoc(tmp_path, options)
    assert word in finished.stdout, finished.stdout + finished.stderr
    assert SECRET not in finished.stdout + finished.stderr


def ad_hoc(folder: Path, options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Run the module by ``ansible -vvv``, with its options in a file that only ansible reads, and watch the machine meanwhile."""
    variables = folder / "vars" / "variables.json"
    variables.parent.mkdir()
    variables.write_text(json.dumps({"ansible_python_interpreter": sys.executable, "options": options}))
    # ansible puts a module's options into a file of its own, unless it hands them over by a pipe.
    arguments = " ".join(f"{name}={{{{ options.{name} }}}}" for name in options)
    command = ["ansible", "localhost", "-vvv", "-c", "local", "-e", f"@{variables}"]
    command += ["-m", "lastgood.database.db_backup", "-a", arguments]
    # Short: ansible has a socket in it, whose path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="t") as short:
        temporary = Path(short)
        environment = {**os.environ, "ANSIBLE_PIPELINING": "true", "ANSIBLE_NOCOLOR": "1", "TMPDIR": str(temporary)}
        places = (Path(str(options["directory"])), folder / "fake", temporary, Path(os.environ["ANSIBLE_HOME"]))
        with watching_for(SECRET, *places):
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    secret = "another secret"  # than that which is being watched for beside us

    def sees(do: Callable[[], object]) -> bool:
        try:
            with watching_for(secret, tmp_path):
                do()
        except AssertionError:
            return True
        return False

    sleep = [sys.executable, "-c", "import time; time.sleep(1)"]
    assert not sees(lambda: subprocess.run(sleep, check=True))
    assert sees(lambda: subprocess.run([*sleep, secret], check=True))
    assert sees(lambda: subprocess.run(sleep, check=True, env={"X": secret}))
    (tmp_path / "file").write_text(secret)
    assert sees(lambda: subprocess.run(sleep, check=True))
