"""Which entries of an archive wait until the database has its name."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.bound_extensions import (
    BoundExtension,
    split_entries,
)

CRON = BoundExtension("pg_cron", "cron", "app")
EXTENSION = "2; 3079 16384 EXTENSION - pg_cron "
JOBS = "3500; 0 16390 TABLE DATA cron job postgres"
TABLE = "220; 1259 16400 TABLE public orders app"


def test_an_extension_and_what_is_in_its_schema_come_later() -> None:
    entries = "\n".join([EXTENSION, TABLE, JOBS]) + "\n"
    assert split_entries(entries, [CRON]) == (f"{TABLE}\n", f"{EXTENSION}\n{JOBS}\n")


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_an_entry_stays_one_line_whatever_its_name(separator: str) -> None:
    entry = f"221; 1259 16401 TABLE public a{separator}{EXTENSION} app"
    assert split_entries(f"{entry}\n{EXTENSION}\n", [CRON]) == (f"{entry}\n", f"{EXTENSION}\n")
