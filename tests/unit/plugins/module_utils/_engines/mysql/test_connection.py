"""The option file for the programs, and what a server is given that asks for a password."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, Product, connecting
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed


def lines(login: Login, product: Product = "MariaDB") -> set[str]:
    return set(login.option_file(product).decode().splitlines())


def test_a_password_is_quoted_and_in_no_text() -> None:
    login = Login(user="a", password='p"\\ #;\né', unix_socket="/s")
    assert lines(login) >= {"[client]", 'user="a"', 'password="p\\"\\\\ #;\\né"', 'protocol="SOCKET"', 'socket="/s"', 'ssl="0"'}
    assert 'p"' not in repr(login)


@pytest.mark.parametrize(
    ("mode", "mariadb", "mysql"),
    [
        ("disable", {'ssl="0"'}, {'ssl-mode="DISABLED"'}),
        ("require", {'ssl="1"', 'ssl-verify-server-cert="0"', 'ssl-ca="/ca"'}, {'ssl-mode="REQUIRED"', 'ssl-ca="/ca"'}),
        ("verify-ca", {'ssl="1"', 'ssl-verify-server-cert="0"', 'ssl-ca="/ca"'}, {'ssl-mode="VERIFY_CA"', 'ssl-ca="/ca"'}),
        (
            "verify-full",
            {'ssl="1"', 'ssl-verify-server-cert="1"', 'ssl-ca="/ca"'},
            {'ssl-mode="VERIFY_IDENTITY"', 'ssl-ca="/ca"'},
        ),
    ],
)
def test_each_product_gets_its_own_words_for_tls(mode: str, mariadb: set[str], mysql: set[str]) -> None:
    login = Login(host="db", port=3307, user="a", ssl_mode=mode, ca_cert="/ca")
    common = {"[client]", 'user="a"', 'password=""', 'protocol="TCP"', 'host="db"', 'port="3307"'}
    assert lines(login) == common | mariadb
    assert lines(login, "MySQL") == common | mysql


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
@pytest.mark.parametrize("product", ["MariaDB", "MySQL"])
def test_without_ca_cert_the_programs_trust_the_authorities_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, product: Product
) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert {f'ssl-ca="{file}"', f'ssl-capath="{tmp_path}"'} <= lines(Login(host="db", user="a", ssl_mode=mode), product)
    assert not [line for line in lines(Login(host="db", user="a", ssl_mode="require"), product) if line.startswith("ssl-ca")]


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog"])
def test_a_server_without_tls_gets_no_password_as_clear_text(plugin: bytes) -> None:
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=_ask_for_password, args=(listening, plugin, heard), daemon=True)
        answering.start()
        login = Login(host="127.0.0.1", port=listening.getsockname()[1], user="a", password="hunter2")
        with pytest.raises(ConnectionFailed, match="clear text"), connecting(login):
            pass
        answering.join()
    assert heard and b"hunter2" not in heard


def _ask_for_password(listening: socket.socket, plugin: bytes, heard: bytearray) -> None:
    """Be a server that offers no TLS, and asks for the password by a plugin."""
    capabilities = 0x000FA20D  # as MariaDB's, without SSL
    connection, _address = listening.accept()
    with connection:
        connection.sendall(
            _packet(
                0,
                b"\x0a10.11.0\0"
                + struct.pack("<I", 1)
                + b"12345678\0"
                + struct.pack("<HBHH", capabilities & 0xFFFF, 45, 2, 0x8F)
                + b"\x15"
                + bytes(10)
                + b"123456789012\0mysql_native_password\0",
            )
        )
        heard += connection.recv(65536)
        connection.sendall(_packet(2, b"\xfe" + plugin + b"\0" + b"\x04Password: "))
        while data := connection.recv(65536):
            heard += data


def _packet(number: int, data: bytes) -> bytes:
    return struct.pack("<I", len(data))[:3] + bytes([number]) + data
