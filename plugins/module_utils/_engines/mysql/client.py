"""Executes a dump by the product's own client, which ignores commands in the dump that read or run something on the host."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import LOCK_SECONDS, Login, option_file
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.shape import Edit
from ansible_collections.lastgood.database.plugins.module_utils._errors import Interrupted
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, consuming, run

_LARGEST_ROW = "1G"
_ANSWER_SECONDS = 30
# The client reads its standard input. Its output is discarded: a dump has no queries.
_WITH_INPUT = 'input=$1; shift; exec "$@" <"$input" >/dev/null'


def execute_script(runner: Runner, client: Program, login: Login, database: str, file: int, edits: t.Sequence[Edit]) -> None:
    """Execute the script in a file in a database. Raises ProgramFailed at the first error."""
    sandbox = ("--sandbox",) if _has_sandbox(runner, client) else ()
    with option_file(login, client.product) as options:
        arguments = (
            client.path,
            f"--defaults-file=/dev/fd/{options}",
            "--batch",
            "--binary-mode",  # no commands but DELIMITER and CHARSET
            *sandbox,
            "--local-infile=0",
            "--comments",  # comments in routines are content
            "--no-auto-rehash",
            "--skip-reconnect",
            f"--init-command=SET SESSION lock_wait_timeout = {LOCK_SECONDS}",
            "--default-character-set=utf8mb4",
            f"--max-allowed-packet={_LARGEST_ROW}",
            "--",
            database,
        )

        def command_for(path: str, descriptor: int) -> Command:
            return Command(
                ("/bin/sh", "-c", _WITH_INPUT, "sh", path, *arguments),
                environment={"MYSQL_TEST_LOGIN_FILE": "/dev/null", "MYSQL_PWD": "", "LC_ALL": "C", "MYSQL_HISTFILE": "/dev/null"},
                descriptors=(descriptor, options),
                reportable=_errors_in,
                name=os.path.basename(client.path),
            )

        with consuming(runner, command_for) as consumer:
            _copy(file, edits, consumer.write, runner.is_stopped)
            consumer.finish()


def _errors_in(words: str) -> str:
    """Return the errors in the client's output. The output also has the statement, which may have data."""
    lines = words.splitlines()
    return "\n".join(line for line in lines if line.startswith("ERROR")) or (lines[-1] if lines else "")


def _copy(file: int, edits: t.Sequence[Edit], write: t.Callable[[bytes], None], is_stopped: t.Callable[[], bool]) -> None:
    place = 0
    for edit in edits:
        _copy_part(file, place, edit.start, write, is_stopped)
        write(edit.text)
        place = edit.end
    _copy_part(file, place, os.fstat(file).st_size, write, is_stopped)


def _copy_part(file: int, place: int, end: int, write: t.Callable[[bytes], None], is_stopped: t.Callable[[], bool]) -> None:
    while place < end:
        if is_stopped():
            raise Interrupted("The run was ended while the new database was filled.", "Run it again.")
        data = os.pread(file, min(CHUNK_BYTES, end - place), place)
        if not data:
            return
        write(data)
        place += len(data)


def _has_sandbox(runner: Runner, client: Program) -> bool:
    """Return whether the client has MariaDB's option --sandbox, which was added to minor versions in 2024."""
    said = b""
    with contextlib.suppress(Exception):
        said = run(runner, Command((client.path, "--no-defaults", "--help"), seconds=_ANSWER_SECONDS)).stdout
    return b"--sandbox" in said
