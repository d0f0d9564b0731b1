"""What pg_restore and psql say when a restore fails: what of it may be reported, and what to do."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

# The lines with which a program reports an error. The lines after them repeat SQL and rows, and can hold passwords of
# subscriptions, foreign servers and users.
_TELLABLE = re.compile(
    r"^(?:(?:psql|pg_restore)[:\[]|(?:HINT|ERROR|FATAL|error): |invalid command |out of memory$).*", re.MULTILINE
)
# Where it was, without the row: the functions that were called, and the line of a table.
_PLACE = re.compile(r"^(?:CONTEXT:  )?((?:PL/pgSQL|SQL) function .*|COPY [^\n:]*, line \d+)", re.MULTILINE)
_NOT_FOUND = re.compile(r"ERROR:  (?:relation|function|type|operator|collation|text search \w+) .* does not exist")


def tellable_of(words: str) -> str:
    """Return what a program said, without the lines that may hold secrets."""
    return "\n".join([*_TELLABLE.findall(words), *_PLACE.findall(words)])


def remedy_for(words: str) -> str:
    """Return what to do about a restore that failed with these words."""
    if _NOT_FOUND.search(words) is None or _PLACE.search(words) is None:
        return "Mend what it says, and run again; the database is as it was."
    return (
        "That function finds what it names only by a search_path, and a restore has none. Give it one of its own in the source "
        "(ALTER FUNCTION ... SET search_path = ...) and take another backup. This one can be restored by hand: have pg_restore "
        "write it as SQL, and correct the function there. The database is as it was."
    )
