"""Selects entries of an archive: schemas and tables, what belongs to them, and what they need.

pg_restore's own options --schema and --table restore neither the indexes, constraints, triggers and sequences of a table, nor the
types and functions that it needs. The entries are therefore selected from the archive's list, where pg_dump recorded the
dependencies of each one:

what belongs to it   of a selected table: its rows, indexes, constraints, defaults, triggers, policies, grants, comments,
                     statistics, its own sequences, and its partitions
what it needs        types, domains, functions, extensions, schemas, sequences; and tables, which are restored without rows
what is left out     what belongs to a selected table and to one that is not restored as well, such as a foreign key

pg_restore itself compares the names, because its list replaces line breaks and quotes in them.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.parts import Parts
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, PartsMissing
from ansible_collections.lastgood.database.plugins.module_utils._io import secret_file

# Calls pg_restore --list with more arguments.
List = t.Callable[..., str]

_ENTRY = re.compile(r"(?P<id>\d+); (?P<catalog>\d+) \d+ (?P<rest>.*)")
_NEEDS = ";\tdepends on: "

# The kinds of entries that matter, by the oid of the object's catalog: the kind alone is ambiguous, as a schema may be called
# DATA. 0 is no catalog.
_TABLES = ("TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW")
_ROWS = ("TABLE DATA", "MATERIALIZED VIEW DATA", "STATISTICS DATA")
_KINDS = {
    "0": (
        *_ROWS,
        "ACL",
        "COMMENT",
        "DATABASE PROPERTIES",
        "ENCODING",
        "INDEX ATTACH",
        "ROW SECURITY",
        "SEARCHPATH",
        "SECURITY LABEL",
        "SEQUENCE OWNED BY",
        "SEQUENCE SET",
        "STDSTRINGS",
        "TABLE ATTACH",
    ),
    "1259": (*_TABLES, "SEQUENCE", "INDEX"),
    "1262": ("DATABASE PROPERTIES", "DATABASE"),
    "2604": ("DEFAULT",),
    "2605": ("CAST",),
    "2606": ("FK CONSTRAINT", "CHECK CONSTRAINT", "CONSTRAINT"),
    "2613": ("BLOB METADATA", "BLOB"),
    "2615": ("SCHEMA",),
    "2618": ("RULE",),
    "2620": ("TRIGGER",),
    "3256": ("POLICY",),
    "3381": ("STATISTICS",),
    "3576": ("TRANSFORM",),
    "6106": ("PUBLICATION TABLE",),
    "6237": ("PUBLICATION TABLES IN SCHEMA",),
}
_ALWAYS = ("DATABASE", "DATABASE PROPERTIES", "ENCODING", "SEARCHPATH", "STDSTRINGS")
_PUBLICATIONS = ("PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA")
_SELECTABLE = (*_TABLES, "SEQUENCE")
# These are restored if the entries that they depend on are restored.
_BELONGINGS = (
    "ACL",
    "CAST",
    "CHECK CONSTRAINT",
    "COMMENT",
    "CONSTRAINT",
    "DEFAULT",
    "FK CONSTRAINT",
    "INDEX",
    "INDEX ATTACH",
    "POLICY",
    "ROW SECURITY",
    "RULE",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "STATISTICS",
    "TABLE ATTACH",
    "TRANSFORM",
    "TRIGGER",
)
_NAMED_IN_WARNING = 10


@dataclass(frozen=True)
class Entry:
    """An entry of an archive. ``rest`` is its kind, schema, name and owner; ``needs`` are the numbers that it depends on."""

    number: int
    line: str
    kind: str
    rest: str
    needs: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """Return the kind, the schema and the name."""
        return self.rest.rpartition(" ")[0]


@dataclass(frozen=True)
class Chosen:
    """The lines of the entries to restore, in the archive's order, and warnings about the rest."""

    lines: str
    warnings: list[str]


def choose(parts: Parts, list_entries: List) -> Chosen:
    """Choose entries. Raises PartsMissing for parts that the archive does not have, ArgumentInvalid for ambiguous ones."""
    entries = {entry.number: entry for entry in _parse(list_entries("--verbose"))}
    selection = _Selection(entries, _selected(parts, entries, list_entries))
    selection.complete()
    chosen = [entry for number, entry in entries.items() if number in selection.chosen]
    return Chosen("".join(f"{entry.line}\n" for entry in chosen), selection.warnings())


@contextlib.contextmanager
def use_list(entries: str | None) -> t.Iterator[tuple[list[str], list[int]]]:
    """Yield pg_restore's arguments for a list of entries, and the descriptors that go with them."""
    if entries is None:
        yield [], []
        return
    with secret_file(entries.encode("utf-8", "surrogateescape")) as descriptor:
        yield [f"--use-list=/dev/fd/{descriptor}"], [descriptor]


def _parse(listed: str) -> t.Iterator[Entry]:
    found: Entry | None = None
    for line in listed.split("\n"):
        if found is not None and line.startswith(_NEEDS):
            numbers = tuple(int(number) for number in line[len(_NEEDS) :].split())
            found = Entry(found.number, found.line, found.kind, found.rest, numbers)
            continue
        if found is not None:
            yield found
        match = _ENTRY.fullmatch(line)
        found = None if match is None else Entry(int(match["id"]), line, _kind(match), match["rest"])
    if found is not None:
        yield found


def _kind(match: re.Match[str]) -> str:
    kinds = _KINDS.get(match["catalog"], ())
    return next((kind for kind in kinds if match["rest"].startswith(f"{kind} ")), "")


def _selected(parts: Parts, entries: dict[int, Entry], list_entries: List) -> set[int]:
    selected: set[int] = set()
    missing: list[str] = []
    for schema in parts.schemas:
        found = set(_numbers(list_entries(f"--schema={schema}")))
        found |= {entry.number for entry in entries.values() if entry.rest.startswith(f"SCHEMA - {schema} ")}
        selected |= {number for number in found if entries[number].kind not in (*_BELONGINGS, *_ROWS, *_PUBLICATIONS)}
        if not found:
            missing.append(f"schema {schema}")
    for table in parts.tables:
        tables = _find_table(table, entries, list_entries)
        if len(tables) > 1:
            titles = ", ".join(entries[number].title for number in sorted(tables))
            raise ArgumentInvalid(f"restore_only names {table}, and the backup has: {titles}.", "Name it with its schema.")
        selected |= tables
        if not tables:
            missing.append(f"table {table}")
    if missing:
        raise PartsMissing(
            f"The backup has no {', no '.join(missing)}.",
            "Correct restore_only: name a table as schema.table, without quotes; pg_restore --list shows what an archive has.",
            missing=missing,
        )
    return selected


def _find_table(name: str, entries: dict[int, Entry], list_entries: List) -> set[int]:
    """Return the tables with a name, which may begin with a schema. Names of schemas and of tables may have dots in them."""
    dots = [place for place, character in enumerate(name) if character == "."]
    ways = [(f"--schema={name[:dot]}", f"--table={name[dot + 1 :]}") for dot in dots if 0 < dot < len(name) - 1]
    for arguments in (ways, [(f"--table={name}",)]):
        listed = [number for one in arguments for number in _numbers(list_entries(*one))]
        found = {number for number in listed if entries[number].kind in _SELECTABLE}
        if found:
            return found
    return set()


def _numbers(listed: str) -> t.Iterator[int]:
    for line in listed.split("\n"):
        match = _ENTRY.fullmatch(line)
        if match is not None:
            yield int(match["id"])


class _Selection:
    """The entries to restore. ``complete`` adds entries until none that belongs to them, and none that they need, is missing."""

    def __init__(self, entries: dict[int, Entry], selected: set[int]) -> None:
        self._entries = entries
        self._selected = selected
        self.chosen = {number for number, entry in entries.items() if entry.kind in _ALWAYS}

    def complete(self) -> None:
        self._select_partitions()
        self.chosen |= self._selected
        size = 0
        while size < len(self.chosen):
            size = len(self.chosen)
            self._add_needs()
            self.chosen |= {entry.number for entry in self._entries.values() if self._belongs(entry)}

    def warnings(self) -> list[str]:
        """Return what the restored database lacks."""
        empty = [entry for entry in self._tables(self.chosen) if entry.number not in self._selected]
        lost = [entry for entry in self._entries.values() if self._is_left_out(entry)]
        found = []
        if empty:
            found.append(f"Restored without rows, since what restore_only names needs them: {_titles(empty)}.")
        if lost:
            found.append(f"Not restored, since they need tables that restore_only does not name: {_titles(lost)}.")
        if any(entry.kind.startswith("BLOB") for entry in self._entries.values()):
            found.append("The large objects of the backup are not restored with restore_only.")
        return found

    def _select_partitions(self) -> None:
        attached = [entry for entry in self._entries.values() if entry.kind == "TABLE ATTACH"]
        size = 0
        while size < len(self._selected):
            size = len(self._selected)
            for entry in attached:
                partition, parent = [*entry.needs, 0, 0][:2]
                if parent in self._selected:
                    self._selected.add(partition)

    def _add_needs(self) -> None:
        waiting = list(self.chosen)
        while waiting:
            for number in self._entries[waiting.pop()].needs:
                if number in self._entries and number not in self.chosen:
                    self.chosen.add(number)
                    waiting.append(number)

    def _belongs(self, entry: Entry) -> bool:
        """Return whether an entry belongs to the chosen ones."""
        needs = [number for number in entry.needs if number in self._entries]
        tables = {one.number for one in self._tables(needs)}
        if entry.kind in _ROWS:
            return bool(self._selected.intersection(needs))
        if entry.kind == "SEQUENCE":  # a table's own: its table is among its needs
            return bool(tables) and tables <= self.chosen
        if entry.kind not in _BELONGINGS:
            return False
        if entry.kind == "FK CONSTRAINT":
            return tables <= self._selected
        return tables <= self.chosen if tables else self.chosen.issuperset(needs)

    def _is_left_out(self, entry: Entry) -> bool:
        of_selected = bool(self._selected.intersection(one.number for one in self._tables(entry.needs)))
        return entry.kind in _BELONGINGS and entry.number not in self.chosen and of_selected

    def _tables(self, numbers: t.Iterable[int]) -> list[Entry]:
        found = (self._entries[number] for number in sorted(set(numbers)) if number in self._entries)
        return [entry for entry in found if entry.kind in _TABLES]


def _titles(entries: t.Sequence[Entry]) -> str:
    more = len(entries) - _NAMED_IN_WARNING
    return ", ".join(entry.title for entry in entries[:_NAMED_IN_WARNING]) + (f" and {more} more" if more > 0 else "")
