"""A throw-away MariaDB or MySQL server for the tests, the benchmark and the demonstration.

    from tools.throwaway_mysql import Server, find_mariadb

    with Server.start(find_mariadb()) as server:
        server.sql("create database app")
        server.dump("app")

Inside the `with` it listens on `server.socket`, where its user `root` needs no password. After the `with`, its processes and its
folder no longer exist, whatever happened: see `throwaway_folder.py`. Linux only.

MariaDB is the distribution's. A newer MariaDB and MySQL are in other Debians below .cache, which `tools/other_servers` makes.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tools.throwaway_folder import LOOPBACK, Folder, free_port, parent_for_folders, server_user

__all__ = ["Installation", "MysqlError", "Server", "find_mariadb", "find_mysql", "find_newer_mariadb"]

START_SECONDS = 120
STOP_SECONDS = 30
POLL_SECONDS = 0.02

# The data need not survive a power failure.
FAST_SETTINGS = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=64M",
    "--max-allowed-packet=64M",
    "--performance-schema=OFF",
)
_PLACES = ("/usr/sbin", "/usr/libexec", "/usr/bin")
_CACHE = Path(__file__).resolve().parent.parent / ".cache"


class MysqlError(RuntimeError):
    """A program failed. The text has its own words, or the server's log."""


@dataclass(frozen=True)
class Installation:
    """The programs of a product. `bin_directory` is None if they are found without it."""

    product: str
    server: str
    client: str
    dump: str
    bin_directory: Path | None = None
    settings: tuple[str, ...] = ()


def find_mariadb() -> Installation | None:
    """MariaDB on this machine, None unless its server and its client programs are installed."""
    server = shutil.which("mariadbd", path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES)))
    is_whole = server is not None and all(map(shutil.which, ("mariadb", "mariadb-dump", "mariadb-install-db")))
    return Installation("MariaDB", server, "mariadb", "mariadb-dump") if server is not None and is_whole else None


def find_newer_mariadb() -> Installation | None:
    """MariaDB of Debian trixie below .cache, None if it is not installed."""
    home = (_CACHE / "trixie" / "usr").resolve()
    programs = home / "bin"
    if not home.exists():
        return None
    names = (str(programs / name) for name in ("mariadbd", "mariadb", "mariadb-dump"))
    return Installation("MariaDB", *names, bin_directory=programs, settings=(f"--basedir={home}",))


def find_mysql() -> Installation | None:
    """MySQL of Debian sid below .cache, None if it is not installed."""
    home = (_CACHE / "sid" / "usr").resolve()
    programs = home / "bin"
    if not home.exists():
        return None
    names = (str(programs / name) for name in ("mysqld", "mysql", "mysqldump"))
    settings = (f"--basedir={home}", f"--lc-messages-dir={home / 'share' / 'mysql'}", "--mysqlx=OFF", "--secure-file-priv=NULL")
    return Installation("MySQL", *names, bin_directory=programs, settings=settings)


class Server:
    """A running server of its own; `Server.start` makes one.

    socket, port, user: how to connect; the user may do all; the port is None where it listens on its socket alone
    data_directory:     removed by `close`
    """

    user = "root"

    def __init__(self, installation: Installation, folder: Folder, settings: tuple[str, ...], tcp: bool) -> None:
        self.installation = installation
        self.socket = folder.path / "s"
        self.data_directory = folder.path / "data"
        self.port = free_port() if tcp else None
        self._folder = folder
        self._settings = settings
        self._log_file = folder.path / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, installation: Installation, *, settings: tuple[str, ...] = (), tcp: bool = False) -> Server:
        """A new server without databases, accepting connections.

        settings: arguments of the server, over FAST_SETTINGS
        tcp:      listen on 127.0.0.1 too, on a free port
        """
        server = cls(installation, Folder(parent_for_folders()), (*FAST_SETTINGS, *installation.settings, *settings), tcp)
        try:
            server._make()
            server.launch()
        except BaseException:
            server.close()
            raise
        return server

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The server's log so far."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, program: str, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the client programs against this server. Raises MysqlError, with the program's output, if it fails."""
        login = ("--no-defaults", f"--socket={self.socket}", f"--user={self.user}", "--default-character-set=utf8mb4")
        done = subprocess.run(
            (program, *login, *arguments),
            input=stdin,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
        if check and done.returncode != 0:
            raise MysqlError(f"{program} ended with status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def sql(self, text: str, database: str | None = None) -> str:
        """Run SQL with the real client, up to the first error. Returns the rows, columns set apart by tabs."""
        options = ("--batch", "--skip-column-names", "--comments", "--binary-mode")
        where = () if database is None else ("--", database)
        return self.run(self.installation.client, *options, *where, stdin=text).stdout.removesuffix("\n")

    def dump(self, database: str) -> str:
        """Return a database as the product's own program dumps it."""
        options = ("--single-transaction", "--routines", "--events", "--triggers", "--hex-blob", "--skip-dump-date")
        own = ("--dump-history",) if self.installation.product == "MariaDB" else ("--set-gtid-purged=OFF",)
        return self.run(self.installation.dump, *options, *own, "--", database).stdout

    def names(self) -> list[str]:
        """The names of its databases."""
        return sorted(self.sql("show databases").split("\n"))

    def launch(self, *over: str) -> None:
        """Start it, with further arguments over its settings."""
        listening = ("--skip-networking",) if self.port is None else (f"--bind-address={LOOPBACK}", f"--port={self.port}")
        command = (
            *(self.installation.server, "--no-defaults", f"--datadir={self.data_directory}", f"--socket={self.socket}"),
            *(f"--pid-file={self._folder.path / 'pid'}", f"--tmpdir={self._folder.path}", *listening, *self._settings, *over),
        )
        with self._log_file.open("ab") as log:
            self._process = self._folder.launch(command, log)
        deadline = time.monotonic() + START_SECONDS
        while self.run(self.installation.client, "--execute=do 0", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise MysqlError(f"{self.installation.product} did not start; its log:\n{self.log}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the server, and keep its folder."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Crash the server by SIGKILL. The folder remains."""
        self._folder.kill()
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """End the server and remove its folder. A second call does nothing."""
        self._folder.close()
        if self._process is not None:
            self._process.wait()

    def _make(self) -> None:
        if user := server_user():
            os.chown(self._folder.path, user.pw_uid, user.pw_gid)
        programs = self.installation.bin_directory
        installer = "mariadb-install-db" if programs is None else str(programs / "mariadb-install-db")
        command: tuple[str, ...] = (
            *(installer, "--no-defaults", f"--datadir={self.data_directory}", "--skip-test-db", "--force"),
            *("--auth-root-authentication-method=normal", "--innodb-log-file-size=16M", *self.installation.settings),
            f"--tmpdir={self._folder.path}",  # a server that starts removes the temporary tables of others in /tmp
        )
        if self.installation.product == "MySQL":
            where = (f"--datadir={self.data_directory}", *self.installation.settings)
            command = (self.installation.server, "--no-defaults", "--initialize-insecure", *where)
        process = self._folder.launch(command, subprocess.PIPE)
        said = process.communicate(timeout=START_SECONDS)[0]
        if process.returncode != 0:
            raise MysqlError(f"{command[0]} ended with status {process.returncode}: {said.decode(errors='replace')}")
