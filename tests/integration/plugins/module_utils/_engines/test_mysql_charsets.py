"""The character sets in which a script is read as MariaDB and MySQL read it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib

import pymysql
import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.shape import Shape
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid
from tools.throwaway_mysql import Server

SYNTAX_ERROR = 1064
LEADS = [bytes([number]) for number in range(0x81, 0x100, 5)]
LEADS += [begin + lead for begin in (b"\x8e", b"\x8f", b"\xe3", b"\x81\x30", b"\xf0\x9f") for lead in LEADS[::4]]
# Each ends with its last character, unless the byte before that makes a character of two bytes of it.
QUOTED = (b"'%b\\' '", b"'%b'", b'"%b"', b"(SELECT 1 AS `%b`)")


@pytest.mark.parametrize("product", ["mariadb", "mysql"])
def test_no_character_set_of_a_dump_hides_the_end_of_a_string(request: pytest.FixtureRequest, product: str) -> None:
    """Where the server finds no end, a script with that is refused."""
    server: Server = request.getfixturevalue(product)
    names = server.sql("select character_set_name from information_schema.character_sets").split()
    mixed = set()
    with contextlib.closing(pymysql.connect(unix_socket=str(server.socket), user=server.user)) as connection:
        for name in names:
            with contextlib.suppress(pymysql.MySQLError):  # a session can't have ucs2, utf16 and utf32
                connection.query(f"SET NAMES {name}")
                hiding = [lead for lead in LEADS if any(is_open(connection, form % lead) for form in QUOTED)]
                mixed.update({name} if hiding else ())
                assert not [lead for lead in hiding if is_accepted(name, lead)], name
    assert mixed == {"big5", "cp932", "gb18030", "gbk", "sjis"} & set(names)


def is_open(connection: pymysql.Connection[pymysql.cursors.Cursor], literal: bytes) -> bool:
    """Return whether the server finds no end of a literal."""
    try:
        connection.query(b"DO " + literal)
    except pymysql.MySQLError as error:
        return bool(error.args[0] == SYNTAX_ERROR)
    return False


def is_accepted(name: str, lead: bytes) -> bool:
    shape = Shape()
    shape.update(b"SET NAMES %b;\nINSERT INTO `t` VALUES ('%b\\\\', 'x');\n" % (name.encode(), lead))
    try:
        shape.finish()
    except ContentInvalid:
        return False
    return True
