# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""A PostgreSQL server of our own, to restore into: nobody else reaches it, and it is gone when we are.

It lives in a folder of mode 0700, listens on a socket in there and on nothing else, and lets in who knows a password that is
made up for it. PostgreSQL does not run as root: there, it runs as ``nobody``, by setpriv. The folder is locked for as long as
we live; what a dead run left is ended and removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import pwd
import secrets
import shutil
import stat
import tempfile
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.connection import (
    Login,
    connecting,
    secret_file,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.programs import Program
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    NoSpace,
    ProgramFailed,
    ProgramMissing,
    ProgramTimeout,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import (
    Command,
    Runner,
    RunningProgram,
    end_processes_in,
    run,
    temporary_directory,
)

_PREFIX = "lastgood-drill-"
_USER = "postgres"
_PORT = 5432  # only a part of the socket's name
_LONGEST_FOLDER = 107 - len(f"/.s.PGSQL.{_PORT}")  # bytes; see unix(7)
_START_SECONDS = 60.0
_INITDB_SECONDS = 300.0
_POLL_SECONDS = 0.05
_NEEDED_BYTES = 100 * 1024 * 1024  # an empty cluster, with its first log
_EVENT_TRIGGERS_SINCE = 17

# https://www.postgresql.org/docs/current/runtime-config.html
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # What is lost with the power is made again.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "20",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # in the folder, and gone with it
    # What it says is kept in memory, and has to be little, and in English: see drill.
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "lc_messages": "C",
}


@dataclass(frozen=True)
class _Account:
    """Who runs the server, and by which command."""

    uid: int
    gid: int
    command: tuple[str, ...] = ()


class ThrowawayServers:
    """The servers of one run, by the version of their programs. Each is started when it is first needed."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._running: dict[str, tuple[contextlib.ExitStack, Login, RunningProgram]] = {}

    def login(self, postgres: Program) -> Login:
        """Return how to reach the server that this program is, and start it unless it runs."""
        if postgres.path in self._running:
            stack, login, program = self._running[postgres.path]
            if not program.has_ended:
                return login
            del self._running[postgres.path]
            stack.close()
        with contextlib.ExitStack() as stack:
            login, program = stack.enter_context(_server(self._runner, postgres))
            self._running[postgres.path] = stack.pop_all(), login, program
            return login

    def close(self) -> None:
        """Stop the servers, and remove what they leave."""
        with contextlib.ExitStack() as stacks:
            for stack, _login, _program in self._running.values():
                stacks.push(stack)
        self._running.clear()


@contextlib.contextmanager
def _server(runner: Runner, postgres: Program) -> t.Iterator[tuple[Login, RunningProgram]]:
    account = _account(runner)
    _sweep(account)
    with _folder(account) as folder:
        data, password = os.path.join(folder, "data"), secrets.token_hex()
        login = Login(unix_socket=folder, port=_PORT, user=_USER, password=password)
        _make_cluster(runner, account, os.path.join(os.path.dirname(postgres.path), "initdb"), folder, data, password)
        settings = {**_SETTINGS, "unix_socket_directories": folder, "port": str(_PORT)}
        if postgres.major >= _EVENT_TRIGGERS_SINCE:
            settings["event_triggers"] = "off"
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        command = Command((*account.command, postgres.path, "-D", data, *arguments), directory=folder)
        with RunningProgram(runner, command) as program:
            try:
                _wait_until_it_answers(runner, login, program)
                yield login, program
            finally:
                program.stop()


def _account(runner: Runner) -> _Account:
    """Return ourselves, or where we are root, which PostgreSQL refuses, the one who owns nothing."""
    setpriv = runner.find_program("setpriv")
    dies_with_us = ["--pdeathsig=QUIT"] if setpriv is not None and _knows_pdeathsig(runner, setpriv) else []
    if os.geteuid() != 0:
        prefix = (str(setpriv), *dies_with_us, "--no-new-privs", "--") if dies_with_us else ()
        return _Account(os.geteuid(), os.getegid(), prefix)
    if setpriv is None:
        raise ProgramMissing(
            "PostgreSQL does not run as root, and there is no setpriv to run it as nobody.",
            "Install util-linux, or run the task as another user (become_user).",
        )
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise ProgramMissing(
            "PostgreSQL does not run as root, and the host has no user nobody.", "Run the task as another user (become_user)."
        ) from error
    who = (f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    return _Account(nobody.pw_uid, nobody.pw_gid, (setpriv, *who, *dies_with_us, "--no-new-privs", "--"))


def _knows_pdeathsig(runner: Runner, setpriv: str) -> bool:
    """Return whether setpriv can have a program end with us: util-linux can from 2.33 on."""
    try:
        return b"--pdeathsig" in run(runner, Command((setpriv, "--help"), seconds=_START_SECONDS)).stdout
    except BackupError:
        return False


@contextlib.contextmanager
def _folder(account: _Account) -> t.Iterator[str]:
    """Make a folder for the server alone, with a path that is short enough for its socket, and remove it with all in it."""
    parent = _parent()
    _check_room(parent)
    with store_errors(f"Making a folder in {parent}"):
        folder, lock = _claim(parent)
    try:
        os.chown(folder, account.uid, account.gid)
        yield folder
    finally:
        _clear(folder, account)
        os.close(lock)


def _parent() -> str:
    """Return where folders are made: where temporary files belong, unless no socket's path would fit."""
    wanted = os.path.realpath(temporary_directory())
    long = len(os.fsencode(os.path.join(wanted, f"{_PREFIX}12345678"))) > _LONGEST_FOLDER
    return "/tmp" if long else wanted


def _check_room(parent: str) -> None:
    if (free := shutil.disk_usage(parent).free) < _NEEDED_BYTES:
        raise NoSpace(
            f"{parent} has {free} bytes free, and a server to restore into needs {_NEEDED_BYTES} before anything is in it.",
            "Make room there, or set TMPDIR for the task to a directory with more, whose path is short.",
        )


def _claim(parent: str) -> tuple[str, int]:
    """Make a folder, and lock it. One that a sweep took for a dead run's in between is made anew."""
    while True:
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_there(folder, lock):
            return folder, lock
        os.close(lock)


def _is_there(folder: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sweep(account: _Account) -> None:
    """End and remove what dead runs of ours left."""
    for folder in glob.glob(os.path.join(glob.escape(_parent()), f"{_PREFIX}*")):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # not ours, or gone
        try:
            found = os.fstat(lock)
            if found.st_uid in (account.uid, os.geteuid()) and stat.S_IMODE(found.st_mode) == 0o700:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _clear(folder, account)
        finally:
            os.close(lock)


def _clear(folder: str, account: _Account) -> None:
    end_processes_in(folder, account.uid)
    with store_errors(f"Removing {folder}"):
        shutil.rmtree(folder)


def _make_cluster(runner: Runner, account: _Account, initdb: str, folder: str, data: str, password: str) -> None:
    with secret_file(f"{password}\n") as descriptor:
        os.fchown(descriptor, account.uid, account.gid)
        arguments = (
            initdb,
            f"--pgdata={data}",
            f"--username={_USER}",
            f"--pwfile=/dev/fd/{descriptor}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        run(
            runner,
            Command((*account.command, *arguments), descriptors=(descriptor,), seconds=_INITDB_SECONDS, directory=folder),
        )


def _wait_until_it_answers(runner: Runner, login: Login, program: RunningProgram) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if program.has_ended or runner.is_stopped():
            program.wait()
            raise ProgramFailed("The server to restore into ended as soon as it had begun.", "Run it again.")
        try:
            with connecting(login):
                return
        except ConnectionFailed as error:
            if time.monotonic() > deadline:
                raise ProgramTimeout(
                    f"The server to restore into did not answer for {_START_SECONDS:g} seconds: {error}",
                    "See whether the host is busy, and run again.",
                ) from error
        time.sleep(_POLL_SECONDS)
