"""Removes what dead restores left on a server: databases that are marked or were just made, and whose lock is free."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql import databases, objects
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import all_databases

if t.TYPE_CHECKING:
    import pymysql

_ENDING = re.compile(r"_(restoring|replaced)_\d{8}t\d{6}z\Z")


def sweep(connection: pymysql.Connection[t.Any], target: str) -> list[str]:
    """Drop what dead restores of a target left. Return a warning for each database that has the only copy of old tables.

    The caller holds the lock of the target, so that every marked database is of a dead run. So is an empty new one: that run was
    killed before it marked it.
    """
    warnings: list[str] = []
    for name in all_databases(connection):
        match = _ENDING.search(name)
        if match is None or databases.derived_name(target, match[0]) != name:
            continue
        if not databases.is_marked(connection, name) and not (match[1] == "restoring" and _is_empty(connection, name)):
            continue
        if match[1] == "replaced":
            if databases.tables(connection, name):
                warnings.append(
                    f"The database {name} has the tables that a killed restore replaced, and notes of their views, triggers, "
                    "routines and events. Drop it when it is not needed."
                )
                continue
            _make_again(connection, name, target)
        databases.end_sessions(connection, name)  # SQL of run_sql goes on when its client is killed, and would delay the drop
        databases.drop(connection, name)
    return warnings


def _is_empty(connection: pymysql.Connection[t.Any], name: str) -> bool:
    return not databases.tables(connection, name) and not objects.names(connection, name)


def _make_again(connection: pymysql.Connection[t.Any], name: str, target: str) -> None:
    """Make again the objects that a killed run had dropped from a database before it renamed a table."""
    if not databases.exists(connection, target):
        return
    present = set(objects.names(connection, target))
    noted = [objects.from_note(note) for note in databases.notes_of(connection, name)]
    lost = [each for each in noted if (each.kind, each.name) not in present]
    objects.make_all(connection, databases.read(connection, target), lost)
