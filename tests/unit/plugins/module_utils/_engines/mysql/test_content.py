"""The digest of a dump: what changes without the data is left out, and the end is checked."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.content import ObjectCounter, ScriptDigest, is_dump
from ansible_collections.lastgood.database.plugins.module_utils._errors import ContentInvalid

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
