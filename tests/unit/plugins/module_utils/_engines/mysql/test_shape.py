"""A dump has statements of known kinds, which stay in its database."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Product
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.shape import Shape
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.statements import LONGEST_TEXT
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

DUMP = rb"""/*M!999999\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
/*!40101 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `t`;
CREATE TABLE `t` (`n` int(11) DEFAULT NULL);
LOCK TABLES `t` WRITE;
/*!40000 ALTER TABLE `t` DISABLE KEYS */;
INSERT INTO `t` VALUES ('USE `mysql`;');
UNLOCK TABLES;
DO SETVAL(`s`, 1005, 0);
/*!50001 CREATE VIEW `v` AS SELECT
 NULL AS `n` */;
ALTER DATABASE `app` CHARACTER SET latin1 COLLATE latin1_bin ;
/*!50003 SET sql_mode              = 'ANSI_QUOTES' */ ;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`%`*/ /*!50003 trigger app.tr before insert on t for each row set new.n = 1 */;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
ALTER DATABASE `app` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ;
DELIMITER ;;
/*!50106 CREATE*/ /*!50117 DEFINER=`a``b`@`h`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1 */ ;;
DELIMITER ;
DELIMITER ;;
CREATE DEFINER="root"@"%" PROCEDURE "p"() BEGIN SELECT 1; END ;;
DELIMITER ;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`%` SQL SECURITY DEFINER */
/*!50001 VIEW `v` AS select 1 */;
"""


def shape_of(dump: bytes) -> Shape:
    shape = Shape()
    shape.update(dump)
    shape.finish()
    return shape


def test_what_a_swap_makes_is_collected_with_its_settings() -> None:
    shape = shape_of(DUMP)
    assert [(one.kind, one.name) for one in shape.objects] == [
        ("TRIGGER", "tr"),
        ("EVENT", "e"),
        ("PROCEDURE", "p"),
        ("VIEW", "v"),
    ]
    trigger, event, *_others = shape.objects
    assert (trigger.settings, trigger.database) == ({"sql_mode": "'ANSI_QUOTES'"}, "CHARACTER SET latin1 COLLATE latin1_bin")
    assert (event.settings, event.database) == ({}, "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    assert shape.definers == {("root", "%"), ("a`b", "h")}


def test_the_rest_makes_the_tables_alone() -> None:
    shape, rest, place = shape_of(DUMP), b"", 0
    for edit in shape.edits:
        rest += DUMP[place : edit.start] + edit.text
        place = edit.end
    rest += DUMP[place:]
    assert shape_of(rest).objects == []
    assert b"INSERT INTO `t`" in rest and b"CREATE VIEW `v`" in rest and b"ALTER DATABASE" not in rest


def test_the_name_of_the_dumps_database_is_left_out_of_default_values() -> None:
    definition = (
        b"`n` int DEFAULT nextval(`a.b`.`s`), `x```a.b`.` text DEFAULT 'it\\'s `a.b`.`s`', `m` int DEFAULT nextval(`b`.`s`)"
    )
    script = b"CREATE TABLE `t` (%b);\nINSERT INTO `t` VALUES ('`a.b`.`s`');\n" % definition
    shape = Shape(database="a.b")
    shape.update(script)
    shape.finish()
    [edit] = shape.edits
    assert script[: edit.start] + edit.text + script[edit.end :] == script.replace(b"`a.b`.", b"", 1)


def test_a_name_that_could_end_a_string_is_never_left_out() -> None:
    shape = Shape(database="a'b")
    shape.update(b"CREATE TABLE `t` (`n` int COMMENT 'x`a'b`.`y' ');\n")
    assert shape.edits == []


@pytest.mark.parametrize(
    "statement",
    [
        b"USE `mysql`",
        b"CREATE USER mallory",
        b"/*!50001 GRANT ALL ON *.* TO mallory */",
        b"INSERT INTO `mysql`.`user` VALUES (1)",
        b"INSERT INTO mysql.user VALUES (1)",
        b"SET GLOBAL general_log_file = '/x'",
        b"SET @@global.x = 1",
        b"SET PASSWORD = ''",
        b"LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
        b"SELECT 1 INTO OUTFILE '/x'",
        b"SYSTEM id",
        b"\\! id",
        b"source /x",
        b"DROP DATABASE app",
        b"CREATE DATABASE x",
        b"CALL p()",
        b"CREATE DEFINER = `a` SOMETHING `b`",
        b"INSERT mysql.user VALUES (1)",
        b"INSERT LOW_PRIORITY INTO mysql.user VALUES (1)",
        b"INSERT INTO /* a comment */ mysql.user VALUES (1)",
        b"INSERT INTO mysql-- (\n.user VALUES (1)",
        b"INSERT INTO `mysql` -- (\n.user VALUES (1)",
        b"REPLACE mysql.user VALUES (1)",
        b"DROP TABLE IF EXISTS `t`, `mysql`.`user`",
        b"LOCK TABLES `t` WRITE, `mysql`.`user` WRITE",
        b"ALTER TABLE `t` RENAME TO `mysql`.`t`",
        b"ALTER DATABASE `mysql` READ ONLY = 1",
        b"CREATE OR REPLACE VIEW mysql.v AS SELECT 1",
        b"CREATE DEFINER=`a`@`%` VIEW mysql.v AS SELECT 1",
        b"CREATE DEFINER=`a`@`%` VIEW `mysql` -- \n.v AS SELECT 1",
        b"CREATE PROCEDURE mysql.p() SELECT 1",
        b"CREATE SEQUENCE mysql.s START WITH 1",
        b"SET @a = @@b, GLOBAL general_log_file = '/x'",
        b"SET STATEMENT max_statement_time = 1 FOR DROP DATABASE mysql",
        b"/*!99999 INSERT INTO `t` VALUES (1) */ DROP DATABASE mysql",
        b"/*!99999 CREATE FUNCTION `f`() RETURNS int RETURN 1 */ DROP DATABASE mysql",
        b"SET sql_mode = 'no_backslash_escapes'",
        b"SET sql_mode = NO_BACKSLASH_ESCAPES",
        b"SET\nsql_mode = 'NO_BACKSLASH_ESCAPES'",
        b"SET @a = @@b, sql_mode = 'NO_BACKSLASH_ESCAPES'",
        b"SET @a = 'NO_BACKSLASH_ESCAPES'",
        b"SET sql_mode = 'NO_BACKSLASH_ESCAPES';\nSET @a = @@sql_mode",
        b"/*!80000 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */",
        b"SET sql_mode = 'NO_BACKSLASH_ESCAPES';\n/*!80000 SET sql_mode = '' */",
        b"SET sql_mode = 'NO_BACKSLASH_ESCAPES';\nSET /*!50000 sql_mode */ = ''",
        b"SET @a = @@max_heap_table_size;\nSET sql_mode = @a",
        b"SET @a = @@character_set_server;\nSET character_set_client = @a",
        b"SET @a = @@character_set_server, @A = @@character_set_client;\nSET character_set_client = @a",
        b"SET character_set_client = @@character_set_server",
        b"SET character_set_client = 28",
        b"SET NAMES swe7",
        b"INSERT INTO `t` VALUES ((@a := 'NO_BACKSLASH_ESCAPES'));\nSET sql_mode = @a",
        b"INSERT INTO `t` VALUES ('" + b"x" * LONGEST_TEXT + b"'), (@a/*!50000:=*/0x67626b)",
        b"CREATE TABLE `u` (`n` int) SELECT @a:='gbk'",
        b"CREATE FUNCTION f RETURNS STRING SONAME 'library.so'",
        b"/*!50003 CREATE*/ /*!50020 DEFINER=`a`@`b`*/ /*!50003 AGGREGATE FUNCTION `f` RETURNS INT SONAME 'library.so' */",
        b"SET NAMES DEFAULT",
        b"SET NAMES gbk;\nINSERT INTO `t` VALUES ('\xbf\\'); DROP DATABASE mysql; -- ')",
        b"SET NAMES 'SJIS';\n/*!80000 SET NAMES utf8mb4 */;\nINSERT INTO `t` VALUES ('\x81\\'')",
        b"/*!40101 SET character_set_client = big5 */;\nCREATE TABLE `t\xa1` (`n` int)",
        b"SET @@session.character_set_client = cp932;\nINSERT INTO `t` VALUES ('" + b"x" * LONGEST_TEXT + b"')",
    ],
)
def test_what_leaves_the_database_or_is_unknown_is_invalid(statement: bytes) -> None:
    with pytest.raises(ContentInvalid, match="Statement"):
        shape_of(DUMP + statement + b";\n")


@pytest.mark.parametrize(
    "statements",
    [
        b"SET @saved_cs_client = @@character_set_client;\nSET character_set_client = utf8mb4;\n"
        b"SET character_set_client = @saved_cs_client",
        b"/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n"
        b"/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */",
        b"/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n/*!40101 SET SQL_MODE=@OLD_SQL_MODE */",
        b"/*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */;\n/*!50003 SET sql_mode = @saved_sql_mode */",
        b"INSERT INTO `t` VALUES (':=', \":=\", '\\':=')",
        b"CREATE PROCEDURE `q`() SET @a := 1",
        b"SET NAMES gbk;\nINSERT INTO `t` VALUES ('\xb0\xa1', 'a\\'b')",
        b"INSERT INTO `t` VALUES ('\xc3\xa9\\n')",
        b"SET NAMES latin1;\nINSERT INTO `t` VALUES ('\xe9\\n')",
    ],
)
def test_what_dumps_set_is_valid(statements: bytes) -> None:
    shape_of(DUMP + statements + b";\n")


@pytest.mark.parametrize("client", ["MariaDB", "MySQL"])
@pytest.mark.parametrize(
    "script",
    [
        # The server splits at each semicolon, whatever the client's delimiter.
        b"DELIMITER //\nINSERT INTO `t` VALUES (1); DROP DATABASE other//\nDELIMITER ;\n",
        # The client takes DELIMITER for a command only at the beginning of a line, unquotes its argument, and shortens it.
        b"DO 0; DELIMITER //\nINSERT INTO `t` VALUES (1//DROP DATABASE other//2)//\nDELIMITER ;\n",
        b"/* a comment */ DELIMITER //\nINSERT INTO `t` VALUES (1//DROP DATABASE other//2)//\nDELIMITER ;\n",
        b"DELIMITER '/'\nINSERT INTO `t` VALUES (1/DROP DATABASE other/2)'/'\nDELIMITER ;\n",
        b"DELIMITER /23456789012345678\nINSERT INTO `t` VALUES (1/23456789012345 + 1)/23456789012345678\nDELIMITER ;\n",
        # The server ends a comment that it skips at the first */, the client does not end a string that begins in it.
        b"INSERT INTO `t` VALUES (1 /*!999999 ' */); DROP DATABASE other; -- ' );\n",
        b"INSERT INTO `t` VALUES (1 /*!99999-- */);\nDROP DATABASE other; -- );\n",
        b"INSERT INTO `t` VALUES (1 /*!999999 /* */ */);\n",
        b"INSERT INTO `t` VALUES (1 /*!999999 ;\n",
        b"INSERT INTO `t` VALUES (1 /*M!999999 ' */); DROP DATABASE other; -- ' );\n",
        b"INSERT INTO `t` VALUES (1 /*! /* */ ' */); DROP DATABASE other; -- ' );\n",
        # To the client of MySQL a hint is no comment.
        b"/*+\n; DROP DATABASE other; */\n",
        b"INSERT INTO `t` VALUES (1 /*+ # */\n; DROP DATABASE other; */ );\n",
        # To the server a comment begins before a control character, to the client before a space or a NUL.
        b"INSERT INTO `t` VALUES (1 --\x01 '\n); DROP DATABASE other; -- ' );\n",
        b"INSERT INTO `t` VALUES (1 --\x00 '\n); DROP DATABASE other; -- ' );\n",
        b"INSERT INTO `t` VALUES ('\\\x00'\n, '); DROP DATABASE other; -- \n');\n",
        # The client sets the character set that it reads the next lines in.
        b"INSERT INTO `t` VALUES (1 \\C gbk\n);\n",
    ],
)
def test_what_hides_a_statement_from_the_check_is_invalid(client: Product, script: bytes) -> None:
    for size in (1, 1 << 18):
        shape = Shape(client=client)
        for start in range(0, len(script), size):
            shape.update(script[start : start + size])
        with pytest.raises(ContentInvalid):
            shape.finish()


@pytest.mark.parametrize("client", ["MariaDB", "MySQL"])
@pytest.mark.parametrize(
    "statements",
    [
        b"CREATE TABLE `u` (`n` int DEFAULT '1;#--\\\\' /*!80023 INVISIBLE */, `j` text /*M!100301 COMPRESSED*/)"
        b" /*!80021 ENGINE_ATTRIBUTE '{}' */",
        b"CREATE TABLE `u` (`n` int)\n/*!50100 PARTITION BY LIST (`n`)\n(PARTITION p VALUES IN ('*/','/*')) */",
        b"DELIMITER ;;\n/*!50003 SET time_zone = 'SYSTEM' */ ;;\n"
        b"CREATE PROCEDURE `q`() BEGIN /*! */ DO 0; # it's\nDO 1; END ;;\nDELIMITER ;\nDO 0",
    ],
)
def test_what_dumps_have_within_statements_is_valid(client: Product, statements: bytes) -> None:
    shape = Shape(client=client)
    shape.update(DUMP + statements + b";\n")
    shape.finish()
