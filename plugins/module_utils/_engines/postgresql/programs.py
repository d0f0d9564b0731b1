"""Choose among the PostgreSQL programs on the host: the server's own major version first, else the nearest newer."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import glob
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ProgramFailed, ProgramMissing
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run

# Where the distributions put the programs of each version side by side.
_VERSIONED_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu, Gentoo
    "/usr/pgsql-*/bin",  # the PostgreSQL project's packages for RHEL, Fedora and SUSE
    "/usr/lib/postgresql[0-9]*/bin",  # SUSE
    "/usr/libexec/postgresql[0-9]*",  # Alpine
    "/usr/local/pgsql/bin",
)
SERVER = "postgres"
# The exit status of pg_restore for a bad archive, and of psql for a bad script. For psql, 1 is a fatal error of its own, 2 a lost
# connection.
# https://www.postgresql.org/docs/current/app-psql.html, "Exit Status"
_OVER_THE_DUMP: dict[str | None, int] = {"custom": 1, "plain": 3}
# Messages about this host, or about the programs themselves, come with that status too. A worker that fails because of the
# archive reports that first. A damaged archive may make pg_restore request too much memory: its digest then shows the damage.
_TROUBLE_OF_THE_HOST = re.compile(
    r"out of memory|Cannot allocate memory|Too many open files|Input/output error|No space left on device"
    r"|could not create (?:worker process|communication channels)|status 1: pg_restore: error: a worker process died unexpectedly"
    r"|unsupported version|this build does not support"
)
# Users choose names: a table may be named "lost", or like a role that does not exist.
_NAMES = re.compile(r'"(?:[^"\n]|"")*"|^.*from TOC entry.*$|(?:^|\| |CONTEXT:  )COPY [^|\n]*, line \d+', re.MULTILINE)
_VERSION = re.compile(rb"\(PostgreSQL\) ((\d+)[^\s]*)")
_ANSWER_SECONDS = 30
_EXAMPLE = 17  # the major version in the example of a package


@dataclass(frozen=True)
class Program:
    """A program of PostgreSQL's, and the version that it says it has."""

    path: str
    version: str
    major: int

    def __str__(self) -> str:
        return f"{os.path.basename(self.path)} {self.version}"

    def knows_all_of(self, server_version: str) -> bool:
        """Return whether the program is of the server's major version, and its minor version is not older."""
        return self.major == _numbers(server_version)[0] and _numbers(self.version) >= _numbers(server_version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def tells_of_the_dump(failure: ProgramFailed, form: str | None) -> bool:
    """Return whether pg_restore or psql failed because of the dump, which has that format, and not because of this host."""
    if failure.details.get("exit_status") != _OVER_THE_DUMP.get(form):
        return False
    return _TROUBLE_OF_THE_HOST.search(without_names(failure.problem)) is None


def without_names(words: str) -> str:
    """Return a program's message without its quoted names, so that the rest can be searched for the cause."""
    return _NAMES.sub('""', words)


def choose_program(runner: Runner, name: str, server_version: str, server_major: int, bin_directory: str | None) -> Program:
    """Return the program to use with a server. Raises ProgramMissing if all of them are older than the server."""
    found: list[Program] = []
    unusable: list[str] = []
    for path in _candidates(runner, name, bin_directory):
        try:
            program = _ask_version(runner, path)
        except BackupError as error:
            unusable.append(str(error))
            continue
        if program.major == server_major:
            return program
        found.append(program)
    newer = [program for program in found if program.major > server_major]
    if newer:
        return min(newer, key=lambda program: program.major)
    raise _none_fits(name, server_version, server_major, bin_directory, found, unusable)


def check_installed(runner: Runner, name: str, bin_directory: str | None) -> None:
    """Raise ProgramMissing unless some version of a program runs: for a server that can't be asked for its version."""
    unusable: list[str] = []
    for path in _candidates(runner, name, bin_directory):
        try:
            _ask_version(runner, path)
        except BackupError as error:
            unusable.append(str(error).rstrip("."))
        else:
            return
    where = "" if bin_directory is None else f" in {bin_directory}"
    raise ProgramMissing(
        f"There is no {name}{where}{': ' + '; '.join(unusable) if unusable else ''}.",
        f"Install the client programs of the server's major version, such as {client_packages(_EXAMPLE)}, or say in "
        "bin_directory where they are.",
    )


def _candidates(runner: Runner, name: str, bin_directory: str | None) -> t.Iterator[str]:
    if bin_directory is not None:
        yield os.path.join(bin_directory, name)
        return
    for pattern in _VERSIONED_DIRECTORIES:
        yield from sorted(glob.glob(os.path.join(pattern, name)))
    on_path = runner.find_program(name)
    if on_path is not None:
        yield on_path


def _ask_version(runner: Runner, path: str) -> Program:
    completed = run(runner, Command((path, "--version"), seconds=_ANSWER_SECONDS))
    match = _VERSION.search(completed.stdout)
    if match is None:
        raise ProgramMissing(f"{path} does not report its version.", "Find out what program it is, and remove or replace it.")
    return Program(path, match[1].decode("ascii", "replace"), int(match[2]))


def _none_fits(
    name: str, server_version: str, major: int, bin_directory: str | None, found: list[Program], unusable: list[str]
) -> ProgramMissing:
    have = [f"{program.path} is {program.version}" for program in found] + [words.rstrip(".") for words in unusable]
    where = "" if bin_directory is None else f" in {bin_directory}"
    missing = f"there is no {name} of version {major} or newer{where}{': ' + '; '.join(have) if have else ''}."
    if name == SERVER:
        return ProgramMissing(
            f"The backup is of PostgreSQL {server_version}, and {missing}",
            f"Install a server, which need not run: postgresql-{major} (Debian, Ubuntu), postgresql{major}-server (RHEL, Fedora, "
            f"SUSE) or postgresql{major} (Alpine), or say in bin_directory where its programs are.",
        )
    return ProgramMissing(
        f"The server is PostgreSQL {server_version}, and {missing}",
        f"Install {client_packages(major)}, or set bin_directory to the directory of the programs.",
    )


def client_packages(major: int) -> str:
    """Return what the distributions call the package with the programs of a version."""
    return (
        f"postgresql-client-{major} (Debian, Ubuntu), postgresql{major} (RHEL, Fedora, SUSE) or postgresql{major}-client (Alpine)"
    )
