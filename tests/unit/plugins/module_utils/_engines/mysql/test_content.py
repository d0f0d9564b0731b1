"""The digest of a dump: what changes without the data is left out, and the end is checked."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.content import (
    ObjectCounter,
    PositionReader,
    ScriptDigest,
    is_dump,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Position

SETTINGS = b"/*!40101 SET NAMES utf8mb4 */;\nALTER DATABASE CHARACTER SET latin1 COLLATE latin1_bin;\n"
HEAD = rb"""/*M!999999\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: odd
-- name
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

"""
BODY = b"CREATE TABLE `t` (`n` int);\nINSERT INTO `t` VALUES\n(1);\n" * 500
END = b"\n-- Dump completed\n"

# The position as each program writes it: after the settings at the beginning, and before those at the end.
SETS = b"/*!40101 SET NAMES utf8mb4 */;\n/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;\n"
TABLE = b"\n--\n-- Table structure for table `t`\n--\n\n"
UNSETS = b"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n\n/*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;\n"
ALTERNATELY = b"""
--
-- Alternately, following is the position of the binary logging from SHOW MASTER STATUS at point of backup.
-- Use this when creating a slave of the master server where the backup was made.
--

-- CHANGE MASTER TO MASTER_LOG_FILE='bin.000042', MASTER_LOG_POS=4711;
"""
CORRESPONDING = (
    b"\n-- A corresponding to the above master-data CHANGE-MASTER settings is printed as comments later in the file.\n"
)
PREFERABLY = (
    b"\n-- Preferably use GTID to start replication from GTID position:\n\n-- SET GLOBAL gtid_slave_pos='0-1-977,1-2-3';\n"
)
DEFERRED = b"\n-- The deferred gtid setting for slave corresponding to the master-data CHANGE-MASTER follows\n" + PREFERABLY
OF_MYSQL = b"""
--
-- Position to start replication or point-in-time recovery from
--

-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='bin.000042', SOURCE_LOG_POS=4711;
"""
POSITIONS = {
    "MariaDB": (ALTERNATELY + CORRESPONDING, DEFERRED, "0-1-977,1-2-3"),
    "MariaDB before the first transaction": (
        ALTERNATELY + CORRESPONDING,
        DEFERRED.replace(b"0-1-977,1-2-3", b""),
        None,
    ),
    "older MariaDB": (PREFERABLY + ALTERNATELY, b"", "0-1-977,1-2-3"),
    "MySQL": (OF_MYSQL, b"", None),
    "older MySQL": (OF_MYSQL.replace(b"REPLICATION SOURCE", b"MASTER").replace(b"SOURCE", b"MASTER"), b"", None),
}


def digest_of(content: bytes, size: int = 1 << 18) -> str:
    digest = ScriptDigest(hashlib.sha256())
    for start in range(0, len(content), size):
        digest.update(memoryview(content)[start : start + size])
    return digest.finish().value


def test_versions_hosts_and_dates_make_no_difference() -> None:
    expected = digest_of(SETTINGS + HEAD + BODY + END)
    others = (
        HEAD.replace(b"10.11.19", b"11.4.2").replace(b"localhost", b"db.example.org"),
        HEAD.partition(b"\n")[2],
        HEAD.replace(b"MariaDB dump", b"MySQL dump"),
    )
    assert {digest_of(SETTINGS + head + BODY + END) for head in others} == {expected}
    assert digest_of(SETTINGS + HEAD + BODY + b"\n-- Dump completed on 2026-01-31  1:02:03\n") == expected
    assert digest_of(SETTINGS.replace(b"bin", b"german1_ci") + HEAD + BODY + END) != expected
    assert digest_of(SETTINGS + HEAD + BODY.replace(b"1", b"2", 1) + END) != expected


@pytest.mark.parametrize("size", [1, 7, 100, 4096, 5000])
def test_pieces_make_no_difference(size: int) -> None:
    content = SETTINGS + HEAD + BODY + END
    assert digest_of(content, size) == digest_of(content)


@pytest.mark.parametrize(
    "content", [b"", BODY + END, SETTINGS + HEAD + BODY, HEAD + BODY + END + b"SELECT 1;\n", HEAD + BODY + END[:-1]]
)
def test_what_does_not_begin_or_end_as_a_dump_is_invalid(content: bytes) -> None:
    with pytest.raises(ContentInvalid):
        digest_of(content)


def test_a_dump_is_recognised() -> None:
    assert is_dump(SETTINGS + HEAD) and is_dump(HEAD) and is_dump(b"-- Accounts of a MariaDB or MySQL server\n")
    assert not is_dump(b"-- PostgreSQL database dump\n") and not is_dump(b"")


def dump_with(first: bytes, last: bytes) -> bytes:
    return HEAD + SETS + first + TABLE + BODY + last + UNSETS + END


def position_of(content: bytes, *, is_required: bool = False, size: int = 1000) -> Position | None:
    reader = PositionReader(is_required)
    for start in range(0, len(content), size):
        reader.update(memoryview(content)[start : start + size])
    return reader.position()


@pytest.mark.parametrize("program", POSITIONS)
@pytest.mark.parametrize("size", [1, 100, 16 * 1024, 1 << 18])
def test_the_position_is_read_and_makes_no_difference_to_the_digest(program: str, size: int) -> None:
    first, last, gtid = POSITIONS[program]
    assert position_of(dump_with(first, last), size=size) == Position("bin.000042", 4711, gtid)
    assert digest_of(dump_with(first, last), size) == digest_of(dump_with(b"", b""))


def test_a_dump_without_a_position_has_none() -> None:
    assert position_of(dump_with(b"", b"")) is None
    with pytest.raises(ContentInvalid):
        position_of(dump_with(b"", b""), is_required=True)


def test_a_name_or_a_routine_that_spells_a_position_is_no_position() -> None:
    """The dump programs begin a new comment after a line break in a name."""
    spelled = b"-- CHANGE MASTER TO MASTER_LOG_FILE='x', MASTER_LOG_POS=1;\n"
    titled = dump_with(OF_MYSQL, b"").replace(b"-- name\n", spelled)
    assert position_of(titled) == Position("bin.000042", 4711)
    named = dump_with(OF_MYSQL, b"").replace(b"-- Table structure for table `t`\n", b"-- Table structure for table `\n" + spelled)
    assert position_of(named) == Position("bin.000042", 4711)
    routine = b"CREATE PROCEDURE p() BEGIN" + DEFERRED + b"END;;\n"
    assert position_of(dump_with(OF_MYSQL, routine)) == Position("bin.000042", 4711)
    assert digest_of(dump_with(b"", routine)) != digest_of(dump_with(b"", b""))
    assert digest_of(dump_with(b"", routine)) != digest_of(dump_with(b"", routine.replace(b"977", b"978")))


@pytest.mark.parametrize("size", [1, 3, 39, 40, 41, 1000])
def test_objects_are_counted_across_pieces(size: int) -> None:
    dump = (
        b"x\n/*!50001 CREATE ALGORITHM=UNDEFINED */\n\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ t\n"
        b"CREATE DEFINER=`a`@`b` FUNCTION\n"
        b"CREATE DEFINER=`a`@`b` PROCEDURE\n/*!50106 CREATE*/ /*!50117 DEFINER=`a`@`b`*/ e\n(1,'/*!50106 CREATE*/ ')\n"
    ) * 3
    counter = ObjectCounter()
    for start in range(0, len(dump), size):
        counter.update(memoryview(dump)[start : start + size])
    assert counter.counts() == (3, 3, 6, 3)
