"""The parts of a database that restore_only names."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params


@dataclass(frozen=True)
class Parts:
    """The schemas and tables to restore of a backup; a table may be given with its schema."""

    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    @property
    def plan(self) -> str:
        """Return what will be restored, for a diff."""
        return f"only {', '.join([f'the schema {one}' for one in self.schemas] + [f'the table {one}' for one in self.tables])}"


def parts_from(params: Params) -> Parts | None:
    """Return the parts to restore, None for the whole database."""
    given: Params | None = params["restore_only"]
    if given is None:
        return None
    parts = Parts(tuple(given["schemas"] or ()), tuple(given["tables"] or ()))
    names = (*parts.schemas, *parts.tables)
    if not all(names) or not names:
        raise ArgumentInvalid("restore_only has no name, or an empty one.", "Name schemas or tables, or leave it out.")
    if params["if_exists"] == "replace":
        raise ArgumentInvalid(
            "restore_only makes a new database, and if_exists=replace would replace a whole one by its parts.",
            "Restore to a database of another name, and copy from there what you need.",
        )
    return parts
