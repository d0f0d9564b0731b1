"""The certificate of a MariaDB or MySQL server, as PyMySQL and as the server's own programs check it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, Product
from ansible_collections.lastgood.database.tests.support.certificates import make_certificates
from ansible_collections.lastgood.database.tests.support.modules import Host, Outcome, run_module
from tools.throwaway_mysql import Server, find_mariadb, find_mysql

OTHER_NAME = "127.0.0.2"  # the certificate is for localhost; MariaDB's newer programs let 127.0.0.1 pass for it


class Tls(NamedTuple):
    """A server with a certificate for localhost, and the files of its authority and of another one."""

    server: Server
    folder: Path
    product: Product

    def back_up(self, directory: Path, login: dict[str, str], host: Host) -> Outcome:
        options = {"engine": "mysql", "databases": ["app"], "directory": str(directory), "login_port": self.server.port}
        where = self.server.installation.bin_directory
        programs = {} if where is None else {"bin_directory": str(where)}
        return run_module("db_backup", {**options, **programs, "login_user": "backup", **login}, host=host)

    def dump(self, directory: Path, login: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Dump by the program alone, with the option file that a login makes."""
        names = {"login_host": "host", "ca_cert": "ca_cert", "ssl_mode": "ssl_mode"}
        given = {names[option]: value for option, value in login.items()}
        options = directory / "options"
        options.write_bytes(Login(port=self.server.port, user="backup", **given).option_file(self.product))
        command = (self.server.installation.dump, f"--defaults-file={options}", "app")
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=["MariaDB", "MySQL"])
def tls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    installation = find_mariadb() if request.param == "MariaDB" else find_mysql()
    if installation is None or shutil.which("openssl") is None:
        pytest.skip(f"no {request.param} server, or no openssl, on this machine")
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    (folder / "empty").mkdir()
    with Server.start(installation, tcp=True, settings=(f"--bind-address=127.0.0.1,{OTHER_NAME}",)) as server:
        owner = server.data_directory.stat()
        for name in ("server.crt", "server.key"):
            copied = Path(shutil.copy(folder / name, server.data_directory))
            os.chown(copied, owner.st_uid, owner.st_gid)
        server.stop()
        server.launch(f"--ssl-cert={server.data_directory}/server.crt", f"--ssl-key={server.data_directory}/server.key")
        server.sql("create database app; create table app.t as select 1 as n")
        server.sql("create user backup@'%' require ssl; grant all on *.* to backup@'%'")
        yield Tls(server, folder, request.param)


def trusting(tls: Tls, authority: str) -> dict[str, str]:
    """Return the environment of a host that trusts one authority."""
    return {"SSL_CERT_FILE": str(tls.folder / f"{authority}.crt"), "SSL_CERT_DIR": str(tls.folder / "empty")}


def test_a_server_with_the_right_certificate_is_backed_up(tls: Tls, tmp_path: Path) -> None:
    host, directory = Host(environment=trusting(tls, "authority")), tmp_path / "b"
    authority = {"ca_cert": str(tls.folder / "authority.crt")}
    full = {"login_host": "localhost", "ssl_mode": "verify-full"}
    assert tls.back_up(directory, {**full, **authority}, Host()).outcomes == ["created"]
    assert tls.back_up(directory, full, host).outcomes == ["unchanged"]
    name_unchecked = {"login_host": "127.0.0.1", "ssl_mode": "verify-ca", **authority}
    assert tls.back_up(directory, name_unchecked, Host()).outcomes == ["unchanged"]


@pytest.mark.parametrize(
    ("host", "mode", "authority", "is_given"),
    [
        (OTHER_NAME, "verify-full", "authority", True),
        (OTHER_NAME, "verify-full", "authority", False),
        ("localhost", "verify-full", "stranger", True),
        ("localhost", "verify-ca", "stranger", True),
        ("localhost", "verify-ca", "stranger", False),
    ],
)
def test_a_wrong_authority_and_a_wrong_name_are_refused_by_both(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, mode: str, authority: str, is_given: bool
) -> None:
    login = {"login_host": host, "ssl_mode": mode}
    login.update({"ca_cert": str(tls.folder / f"{authority}.crt")} if is_given else {})
    for name, value in trusting(tls, authority).items():
        monkeypatch.setenv(name, value)
    outcome = tls.back_up(tmp_path / "b", login, Host(environment=trusting(tls, authority)))
    assert outcome.error_code == "connection_failed" and "certificate verify failed" in outcome.msg, outcome.msg
    dumped = tls.dump(tmp_path, login)
    assert dumped.returncode != 0 and "2026" in dumped.stderr, dumped.stderr
