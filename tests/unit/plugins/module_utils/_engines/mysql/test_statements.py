"""The statements of a script are found whatever the pieces in which it comes."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.statements import Statement, Statements
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

SCRIPT = rb"""
-- a comment; with 'one quote
/* another; " */ SET NAMES utf8mb4;
INSERT INTO `odd``; name` VALUES (1,'it\'s; --','\\'),("a ""quoted""; text",-2--1,3/4);
DELIMITER ;;
CREATE PROCEDURE p() BEGIN SELECT 1; /* it's */ SELECT ';;'; END ;;
DELIMITER ;
/*!50001 CREATE VIEW `v
*/;` AS SELECT 1 */;
# the 'last comment
/*!50003 SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */;
SELECT 'a\';
/*!50003 SET sql_mode = @saved */;
SELECT 'a\'';
"""
FOUND = [
    b"SET NAMES utf8mb4",
    rb"""INSERT INTO `odd``; name` VALUES (1,'it\'s; --','\\'),("a ""quoted""; text",-2--1,3/4)""",
    b"CREATE PROCEDURE p() BEGIN SELECT 1; /* it's */ SELECT ';;'; END",
    b"/*!50001 CREATE VIEW `v\n*/;` AS SELECT 1 */",
    b"/*!50003 SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */",
    rb"SELECT 'a\'",
    b"/*!50003 SET sql_mode = @saved */",
    rb"SELECT 'a\''",
]


def statements_of(script: bytes, size: int = 1 << 18) -> list[Statement]:
    found: list[Statement] = []
    statements = Statements(found.append)
    for start in range(0, len(script), size):
        statements.update(script[start : start + size])
    statements.finish()
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64, 1 << 18])
def test_strings_names_comments_and_delimiters_are_known(size: int) -> None:
    found = statements_of(SCRIPT, size)
    assert [one.text for one in found] == FOUND
    assert all(
        SCRIPT[one.start : one.end] == SCRIPT[one.start : one.start + len(one.text)] + SCRIPT[one.start + len(one.text) : one.end]
        for one in found
    )
    assert [one.delimiter for one in found] == [b";", b";", b";;", *[b";"] * 5]


@pytest.mark.parametrize(
    ("script", "within"),
    [
        (b"SELECT 'a", "a string or a name"),
        (b"SELECT `a;", "a string or a name"),
        (b"SELECT 1; /* a", "a comment"),
        (b"SELECT 1; SELECT 2", "a statement"),
        (b"SELECT 1;\nDELIMITER ;;\nSELECT 2;;\n", "a routine, a trigger or an event"),
    ],
)
def test_a_script_that_ends_within_something_is_invalid(script: bytes, within: str) -> None:
    with pytest.raises(ContentInvalid, match=within):
        statements_of(script)


@pytest.mark.parametrize("comment", [b"-- it's\n", b"/* it's */", b"/*!50000 1 */"])
def test_a_comment_may_begin_in_one_piece_and_go_on_in_the_next(comment: bytes) -> None:
    script = b"SELECT 1 " + comment + b";\nSELECT 2;\n"
    for size in range(9, 20):
        assert [one.text for one in statements_of(script, size)] == [b"SELECT 1 " + comment.rstrip(), b"SELECT 2"]


@pytest.mark.parametrize(
    "part", [b"'" + b"ab\\'c" * 100_000 + b"'", b"-" * 100_000, b"`" + b"x" * 500_000 + b"`", b"''" * 200_000, b"/" * 100_000]
)
def test_the_time_is_linear(part: bytes) -> None:
    seconds = []
    for factor in (1, 4):
        began = time.process_time()
        statements_of(b"INSERT INTO t VALUES (" + part * factor + b");", 1 << 14)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 12 * seconds[0] + 0.1


def test_a_long_statement_is_not_held_in_memory() -> None:
    [statement] = statements_of(b"INSERT INTO t VALUES ('" + b"x" * 3_000_000 + b"');")
    assert not statement.is_whole and len(statement.text) == 1024 * 1024
    assert (statement.start, statement.end) == (0, 3_000_026)


@pytest.mark.parametrize("delimiter", ["//", "|", "$$", "--", "x"])
@pytest.mark.parametrize("size", [1, 3, 1 << 18])
def test_each_delimiter_ends_a_statement(delimiter: str, size: int) -> None:
    script = f"delimiter {delimiter}\nSELECT 4/2-1; SELECT '{delimiter}'{delimiter}\nDO 0 {delimiter}\ndelimiter ;\nDO 1;\n"
    found = statements_of(script.encode(), size)
    assert [one.text.decode() for one in found] == [f"SELECT 4/2-1; SELECT '{delimiter}'", "DO 0", "DO 1"]


@pytest.mark.parametrize("size", [1, 1 << 18])
def test_the_end_of_the_script_may_end_the_last_statement(size: int) -> None:
    for script in ("DO 0;\nDO 'a' -- the last;\n", "DO 0;DO 'a' # one", "DO 0; DO 'a' ;", "DO 0; DO 'a'; # none"):
        found: list[Statement] = []
        statements = Statements(found.append)
        for start in range(0, len(script), size):
            statements.update(script[start : start + size].encode())
        statements.finish(needs_delimiter=False)
        assert [one.text.decode().split(" -- ")[0].split(" # ")[0] for one in found] == ["DO 0", "DO 'a'"], script
    for script in ("DO 'a", "DO `a", "DO /* a"):
        statements = Statements(lambda one: None)
        statements.update(script.encode())
        with pytest.raises(ContentInvalid):
            statements.finish(needs_delimiter=False)


@pytest.mark.parametrize(("escapes", "count"), [(False, 2), (True, 1)])
def test_a_backslash_escapes_only_where_the_sql_mode_says_so(escapes: bool, count: int) -> None:
    found: list[Statement] = []
    statements = Statements(found.append, escapes=escapes)
    statements.update(rb"DO 'a\'; DO '\';")
    statements.finish(needs_delimiter=False) if escapes else statements.finish()
    assert len(found) == count


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 18])
def test_what_only_mariadb_executes_is_a_comment_to_the_client_of_mysql(size: int) -> None:
    script = b"INSERT INTO t VALUES (1 /*M! ' */); DROP DATABASE other; -- ' */ );\n"
    for client, count in (("MariaDB", 1), ("MySQL", 2)):
        found: list[Statement] = []
        statements = Statements(found.append, client=client)
        for start in range(0, len(script), size):
            statements.update(script[start : start + size])
        statements.finish()
        assert len(found) == count
