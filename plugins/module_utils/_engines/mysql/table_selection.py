"""Selects the statements of a dump that concern certain tables: their definitions, rows and triggers.

Sequences are always selected, since tables may need them. Views, routines and events are never selected.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.sql import ANY_NAME, unquoted
from ansible_collections.lastgood.database.plugins.module_utils._errors import PartsMissing

_NAMED_IN_MESSAGE = 20
_CREATES = re.compile(rf"CREATE (?:OR REPLACE )?(?:TEMPORARY )?TABLE (?:IF NOT EXISTS )?({ANY_NAME})", re.IGNORECASE)
_OF_TABLE = re.compile(
    rf"(?:DROP TABLE (?:IF EXISTS )?|(?:INSERT|REPLACE)(?: IGNORE)? INTO |LOCK TABLES? |ALTER TABLE |ANALYZE TABLE )({ANY_NAME})",
    re.IGNORECASE,
)
_OF_VIEW = re.compile(r"(?:DROP|CREATE(?: OR REPLACE)?) VIEW ", re.IGNORECASE)
_TRIGGER = re.compile(
    rf"TRIGGER (?:IF NOT EXISTS )?(?:{ANY_NAME} ?\. ?)?{ANY_NAME} (?:BEFORE|AFTER) \w+ ON (?:{ANY_NAME} ?\. ?)?({ANY_NAME})",
    re.IGNORECASE,
)


class TableSelection:
    """The tables to select, and those that a dump has. Statements are given without comments and line breaks."""

    def __init__(self, names: t.Sequence[str]) -> None:
        self._names = {_normal(name): name for name in names}
        self._present: dict[str, None] = {}

    def leaves_out(self, head: str) -> bool:
        """Return whether a statement, by its beginning, concerns a view or a table that is not selected."""
        creates = _CREATES.match(head)
        if creates is not None:
            self._present[_normal(unquoted(creates[1]))] = None
        match = creates or _OF_TABLE.match(head)
        if match is not None:
            return _normal(unquoted(match[1])) not in self._names
        return _OF_VIEW.match(head) is not None

    def has_trigger(self, head: str) -> bool:
        """Return whether a statement, by its beginning, makes a trigger of a selected table."""
        match = _TRIGGER.search(head)
        return match is not None and _normal(unquoted(match[1])) in self._names

    def check(self) -> None:
        """Raise PartsMissing if the dump lacks a table. Called at its end."""
        missing = [name for normal, name in self._names.items() if normal not in self._present]
        if not missing:
            return
        present = list(self._present)
        more = len(present) - _NAMED_IN_MESSAGE
        listed = ", ".join(present[:_NAMED_IN_MESSAGE]) + (f" and {more} more" if more > 0 else "")
        raise PartsMissing(
            f"The backup has no table {', no table '.join(missing)}. It has {listed or 'none'}.",
            "Correct restore_only: name tables without their database and without quotes. Views can't be named.",
            missing=[f"table {name}" for name in missing],
        )


def _normal(name: str) -> str:
    """Return a name with single blanks, as it is in a statement without line breaks."""
    return re.sub(r"\s+", " ", name)
