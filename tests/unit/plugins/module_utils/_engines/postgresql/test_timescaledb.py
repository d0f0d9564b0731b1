"""Which entries of an archive come before TimescaleDB's tables can take the rest."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.timescaledb import split_entries

EXTENSION = "2; 3079 16384 EXTENSION - timescaledb "
COMMENT = "3540; 0 0 COMMENT - EXTENSION timescaledb "
SCHEMA = "7; 2615 16389 SCHEMA - time series postgres"
TABLE = "220; 1259 16400 TABLE public orders app"


def test_the_extension_and_its_schema_come_first() -> None:
    entries = "".join(f"{line}\n" for line in (SCHEMA, TABLE, EXTENSION, COMMENT))
    assert split_entries(entries, "time series") == (f"{SCHEMA}\n{EXTENSION}\n", f"{TABLE}\n{COMMENT}\n")


def test_without_it_nothing_comes_first() -> None:
    assert split_entries(f"{TABLE}\n", "public") == ("", f"{TABLE}\n")


@pytest.mark.parametrize("separator", ["\x0b", "\x1c", "\u2028"])
def test_an_entry_stays_one_line_whatever_its_name(separator: str) -> None:
    entry = f"221; 1259 16401 TABLE public a{separator}{EXTENSION} app"
    assert split_entries(f"{entry}\n{EXTENSION}\n", "public") == (f"{EXTENSION}\n", f"{entry}\n")
