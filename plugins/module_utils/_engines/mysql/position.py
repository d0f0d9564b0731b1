"""The position in the server's binary log that a dump program writes into the dump, as comments.

Both products write the file and the offset after the settings at the beginning. MariaDB writes the GTID before the settings at
the end, MySQL writes none.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Position

# The comments follow the settings directly. Older programs of MariaDB write the GTID with them.
_FIRST_COMMENTS = re.compile(
    rb"\A(\n(?:/\*M?![0-9]+ SET [^\n]*\n)*)((?:--[^\n]*\n|\n)*?-- CHANGE (?:MASTER|REPLICATION SOURCE) TO "
    rb"(?:MASTER|SOURCE)_LOG_FILE='([^'\n]+)', (?:MASTER|SOURCE)_LOG_POS=([0-9]+);\n(?:\n-- A corresponding [^\n]*\n)?)"
)
_GTID = re.compile(rb"\n-- SET GLOBAL gtid_slave_pos='([^'\n]*)';\n")
_LAST_COMMENTS = re.compile(
    rb"\n-- The deferred gtid [^\n]*\n\n-- Preferably [^\n]*\n\n-- SET GLOBAL gtid_slave_pos='([^'\n]*)';\n"
    rb"(?=(?:/\*M?![0-9]+ SET [^\n]*\n|\n)*-- Dump completed[^\n]*\n\Z)"
)


def without_first_comments(beginning: bytes) -> bytes:
    """Return the beginning of a dump, from the end of its title on, without the position."""
    return _FIRST_COMMENTS.sub(rb"\1", beginning)


def without_last_comments(end: bytes) -> bytes:
    """Return the end of a dump without the position."""
    return _LAST_COMMENTS.sub(b"", end)


def position_in(beginning: bytes, end: bytes) -> Position | None:
    """Return the position in a dump, from its beginning after the title and its end; None if it has none."""
    first = _FIRST_COMMENTS.match(beginning)
    if first is None:
        return None
    gtid = _LAST_COMMENTS.search(end) or _GTID.search(first[2])
    return Position(
        file=first[3].decode("utf-8", "replace"),
        offset=int(first[4]),
        gtid=gtid[1].decode("utf-8", "replace") or None if gtid is not None else None,
    )
