"""The option file for the programs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Login, Product


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
