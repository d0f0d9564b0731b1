"""Which entries of an archive belong to its parts; the lists are as pg_restore writes them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.parts import Parts
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.archive_parts import choose
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, PartsMissing

ENTRIES = """;
; Archive created at 2026-01-31 01:00:00 UTC
;
1; 0 0 ENCODING - ENCODING
2; 1262 16384 DATABASE - app postgres
3; 0 0 COMMENT - DATABASE app postgres
;	depends on: 2
4; 2615 16385 SCHEMA - DATA postgres
5; 1247 16389 TYPE lib mood postgres
6; 1259 16390 TABLE DATA t postgres
;	depends on: 4 5
7; 1259 16391 TABLE public t postgres
8; 1259 16392 TABLE public parted postgres
9; 1259 16393 TABLE public half postgres
;	depends on: 8
10; 1259 16394 TABLE public quarter postgres
;	depends on: 9
11; 0 0 TABLE ATTACH public half postgres
;	depends on: 9 8
12; 0 0 TABLE ATTACH public quarter postgres
;	depends on: 10 9
20; 0 16390 TABLE DATA DATA t postgres
;	depends on: 6
21; 0 16391 TABLE DATA public t postgres
;	depends on: 7
22; 0 16394 TABLE DATA public quarter postgres
;	depends on: 10
30; 2606 16395 FK CONSTRAINT DATA t t_fkey postgres
;	depends on: 6 7 99
31; 2604 16396 DEFAULT public t ACL postgres
;	depends on: 7
32; 826 16397 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES postgres
33; 6106 16398 PUBLICATION TABLE public pub t postgres
;	depends on: 7
"""
TABLES = {"DATA": {"t": 6}, "public": {"t": 7, "parted": 8, "half": 9, "quarter": 10}}


def list_entries(*arguments: str) -> str:
    """List as pg_restore does, which compares the names of an archive itself."""
    if arguments == ("--verbose",):
        return ENTRIES
    given = dict(argument[2:].split("=", 1) for argument in arguments)
    found = [
        number
        for schema, tables in TABLES.items()
        for name, number in tables.items()
        if given.get("schema", schema) == schema and given.get("table", name) == name
    ]
    if "table" not in given and given["schema"] == "public":
        found += [21, 22, 31, 32, 33]
    return "\n".join(line for line in ENTRIES.splitlines() if any(line.startswith(f"{number}; ") for number in found))


def numbers(lines: str) -> set[int]:
    return {int(number) for number in re.findall(r"^\d+", lines, re.MULTILINE)}


@pytest.mark.parametrize(
    "parts, expected",
    [
        pytest.param(Parts(tables=("DATA.t",)), {1, 2, 3, 4, 5, 6, 20}, id="a table, its rows, its schema and its type"),
        pytest.param(Parts(tables=("DATA.t", "public.t")), {1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31}, id="both ends of a key"),
        pytest.param(Parts(tables=("parted",)), {1, 2, 3, 8, 9, 10, 11, 12, 22}, id="partitions of partitions"),
        pytest.param(Parts(tables=("half",)), {1, 2, 3, 8, 9, 10, 11, 12, 22}, id="a partition, its own, and its parent"),
        pytest.param(Parts(schemas=("DATA",)), {1, 2, 3, 4, 5, 6, 20}, id="a schema"),
    ],
)
def test_entries_of_parts(parts: Parts, expected: set[int]) -> None:
    assert numbers(choose(parts, list_entries).lines) == expected


def test_a_schema_has_its_default_privileges_and_no_publications() -> None:
    chosen = numbers(choose(Parts(schemas=("public",)), list_entries).lines)
    assert {7, 8, 9, 10, 21, 22, 31, 32} <= chosen and not chosen & {6, 20, 30, 33}


def test_what_is_left_out_and_what_is_empty_is_a_warning() -> None:
    assert choose(Parts(tables=("DATA.t",)), list_entries).warnings == [
        "Not restored, since they need tables that restore_only does not name: FK CONSTRAINT DATA t t_fkey."
    ]
    assert choose(Parts(tables=("quarter",)), list_entries).warnings == [
        "Restored without rows, since what restore_only names needs them: TABLE public parted, TABLE public half."
    ]


@pytest.mark.parametrize("name, error", [("t", ArgumentInvalid), ("public.u", PartsMissing), (".t", PartsMissing)])
def test_a_name_has_to_be_one_tables(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        choose(Parts(tables=(name,)), list_entries)
