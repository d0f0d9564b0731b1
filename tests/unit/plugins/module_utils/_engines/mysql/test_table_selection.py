"""The statements of a dump that concern selected tables are left in it, in few edits."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.shape import Shape
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.table_selection import TableSelection
from ansible_collections.lastgood.database.plugins.module_utils._errors import PartsMissing

OTHER = b"""DROP TABLE IF EXISTS `other`;
CREATE TABLE `other` (
  `a` int
);
LOCK TABLES `other` WRITE;
/*!40000 ALTER TABLE `other` DISABLE KEYS */;
%b/*!40000 ALTER TABLE `other` ENABLE KEYS */;
"""
WANTED = b"""DROP TABLE IF EXISTS `the
``wanted`;
CREATE TABLE `the
``wanted` (`a` int);
INSERT INTO `the
``wanted` VALUES (1);
"""
TRIGGERS = b"""DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER `one` BEFORE INSERT ON `the
``wanted` FOR EACH ROW SET @a = 1 */;;
/*!50003 CREATE*/ /*!50017 DEFINER=`c`@`d`*/ /*!50003 TRIGGER two AFTER UPDATE ON other FOR EACH ROW SET @a = 2 */;;
DELIMITER ;
"""
VIEW = b"/*!50001 DROP VIEW IF EXISTS `v`*/;\n/*!50001 CREATE VIEW `v` AS SELECT 1 AS `a`*/;\n"


def shape_of(script: bytes, *names: str) -> Shape:
    shape = Shape(TableSelection(names))
    shape.update(script)
    shape.finish()
    return shape


def rest_of(script: bytes, shape: Shape) -> bytes:
    """Return the script as the client gets it, without lines that are blank."""
    rest, place = b"", 0
    for edit in shape.edits:
        rest += script[place : edit.start] + edit.text
        place = edit.end
    return b"".join(line for line in (rest + script[place:]).splitlines(keepends=True) if line.strip())


def test_only_what_concerns_the_selected_tables_is_left() -> None:
    sequence = b"CREATE SEQUENCE `s` start with 1;\nDO SETVAL(`s`, 1, 0);\n"
    script = VIEW + OTHER % b"" + sequence + WANTED + TRIGGERS + OTHER.replace(b"other", b"another") % b""
    shape = shape_of(script, "the\n`wanted")
    assert rest_of(script, shape) == sequence + WANTED + b"DELIMITER ;;\nDO 0;;\nDELIMITER ;\n"
    assert [(each.kind, each.name) for each in shape.objects] == [("TRIGGER", "one")]
    assert shape.definers == {("a", "b")}


def test_the_number_of_edits_does_not_grow_with_the_rows() -> None:
    script = OTHER % (b"INSERT INTO `other` VALUES (1);\n" * 1000) + WANTED
    assert len(shape_of(script, "the\n`wanted").edits) == 1


def test_tables_that_the_dump_lacks_are_an_error() -> None:
    with pytest.raises(PartsMissing, match=r"no table v, no table Other\. It has other, the `wanted") as raised:
        shape_of(VIEW + OTHER % b"" + WANTED, "v", "other", "Other")
    assert raised.value.details["missing"] == ["table v", "table Other"]
