"""Servers that live as long as the session, and places that a test may fill."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.tests.support.interpreters import UNPRIVILEGED, make_unprivileged_host
from ansible_collections.lastgood.database.tests.support.modules import Host
from ansible_collections.lastgood.database.tests.support.mysql import SERVERS, MysqlSite, servers_by_name
from ansible_collections.lastgood.database.tests.support.mysql import database_on as mysql_database_on
from ansible_collections.lastgood.database.tests.support.postgresql import PASSWORD, VERSIONS, Site, database_on
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server, sshd
from tools.throwaway_mysql import Server as MysqlServer
from tools.throwaway_postgresql import Server, installation


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[int], Server]]:
    """The server of a version, shared by all tests: each has databases and a directory of its own."""
    with contextlib.ExitStack() as stack:
        running: dict[int, Server] = {}

        def server_of(major: int) -> Server:
            if major not in running:
                running[major] = stack.enter_context(Server.start(installation(major)))
            return running[major]

        yield server_of


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Callable[[int], Server]) -> Server:
    """A server of the newest version that is here, or of the one asked for."""
    if not VERSIONS:
        pytest.skip("no PostgreSQL server on this machine")
    return servers(getattr(request, "param", VERSIONS[-1]))


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Iterator[Site]:
    """A database with something in it, and where its backups go: a directory that is not there yet."""
    with database_on(server) as database:
        yield Site(server, database, tmp_path / "backups")


@pytest.fixture(scope="session")
def guarded() -> Iterator[Server]:
    """A server of the newest version that listens on TCP, and lets nobody in without the password."""
    if not VERSIONS:
        pytest.skip("no PostgreSQL server on this machine")
    with Server.start(installation(VERSIONS[-1]), password=PASSWORD, tcp=True) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_servers() -> Iterator[Callable[[str], MysqlServer]]:
    """The servers of MariaDB and MySQL, shared by all tests: each test has databases and a directory of its own."""
    trusting = ("--log-bin-trust-function-creators=ON",)
    with servers_by_name(lambda installation: trusting if installation.product == "MySQL" else (), tcp=True) as server_of:
        yield server_of


@pytest.fixture
def mariadb(mysql_servers: Callable[[str], MysqlServer]) -> MysqlServer:
    """The MariaDB server of the distribution."""
    return mysql_servers("mariadb-10.11")


@pytest.fixture
def newer_mariadb(mysql_servers: Callable[[str], MysqlServer]) -> MysqlServer:
    """A MariaDB server of the newest long-term version."""
    return mysql_servers("mariadb-11.8")


@pytest.fixture
def mysql(mysql_servers: Callable[[str], MysqlServer]) -> MysqlServer:
    """A MySQL server."""
    return mysql_servers("mysql-9.7")


@pytest.fixture(params=SERVERS)
def any_mysql(request: pytest.FixtureRequest, mysql_servers: Callable[[str], MysqlServer]) -> MysqlServer:
    """Each of the servers of MariaDB and MySQL."""
    return mysql_servers(request.param)


@pytest.fixture
def mysql_site(mariadb: MysqlServer, tmp_path: Path) -> Iterator[MysqlSite]:
    """A database of MariaDB with a table, and where its backups go."""
    with mysql_database_on(mariadb) as database:
        yield MysqlSite(mariadb, database, tmp_path / "backups")


@pytest.fixture(scope="session")
def sftp() -> Iterator[SftpServer]:
    """OpenSSH's server, shared by all tests: each has a directory of its own."""
    if sshd() is None:
        pytest.skip("no OpenSSH server on this machine")
    with sftp_server() as server:
        yield server


@pytest.fixture(scope="session")
def unprivileged() -> Iterator[Host]:
    """A host of a user without privileges."""
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        yield make_unprivileged_host(Path(folder))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of the unprivileged user's, which everybody can enter: tmp_path is below one of mode 0700."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of its own, with these options (``size=1m``). Only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        point = tmp_path / f"disk{len(mounted)}"
        point.mkdir()
        subprocess.run(("mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "tmpfs", point), check=True)
        mounted.append(point)
        return point

    try:
        yield mount
    finally:
        for point in mounted:
            subprocess.run(("umount", point), check=True)
