"""Extensions that a server allows in one database only, by its name: they can't be made in a database beside that one.

Such an extension, and what is in its schema, is restored when the new database has the name.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import query

if t.TYPE_CHECKING:
    import psycopg2.extensions


@dataclass(frozen=True)
class BoundExtension:
    """An extension, the schema that holds its data, and the database that the server allows it in."""

    name: str
    schema: str
    database: str


# The setting that names the database, and the schema. https://github.com/citusdata/pg_cron
_KNOWN = {"pg_cron": ("cron.database_name", "cron")}


def bound_among(connection: psycopg2.extensions.connection, extensions: t.Iterable[str]) -> list[BoundExtension]:
    """Return those of the extensions that the server allows in one database only."""
    found = []
    for name in sorted(set(extensions) & set(_KNOWN)):
        setting, schema = _KNOWN[name]
        [(database,)] = query(connection, "SELECT current_setting(%s, true)", setting)
        if database is not None:  # without its library the server does not have the setting, and no such extension either
            found.append(BoundExtension(name, schema, database))
    return found


def split_entries(entries: str, extensions: t.Iterable[BoundExtension]) -> tuple[str, str]:
    """Return an archive's list of entries without those of the extensions, and those of the extensions."""
    names = "|".join(re.escape(one.name) for one in extensions)
    schemas = "|".join(re.escape(one.schema) for one in extensions)
    kinds = [
        f"EXTENSION - (?:{names})",
        f"COMMENT - EXTENSION (?:{names})",
        f"ACL - SCHEMA (?:{schemas})",
        f"[A-Z ]+ (?:{schemas})",
    ]
    theirs = re.compile(rf"\d+; \d+ \d+ (?:{'|'.join(kinds)}) ")
    beside: list[str] = []
    later: list[str] = []
    for line in entries.rstrip("\n").split("\n"):  # a name may have other separators of lines in it
        (later if theirs.match(f"{line} ") else beside).append(line)
    return "\n".join(beside) + "\n", "\n".join(later) + "\n"
