"""Prints the program's output: tables for people, JSON for programs, plain lines for logs."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

_COLOURS = {"good": "32", "bad": "31", "warn": "33"}
_WORDS = {
    **dict.fromkeys(("good", "created", "passed", "safe", "yes"), "good"),
    **dict.fromkeys(("failed", "corrupt", "failing", "suspect", "died", "error", "NONE"), "bad"),
    **dict.fromkeys(("unverified", "inconclusive", "late", "warning", "unknown"), "warn"),
}
_RIGHT = {"size", "age", "tables", "rows", "seconds"}

Row = t.Mapping[str, str]


@dataclass(frozen=True)
class Output:
    """Where and how to print."""

    stream: t.TextIO
    errors: t.TextIO
    json: bool = False
    is_terminal: bool = False
    colours: bool = False

    def lines(self, lines: t.Iterable[str]) -> None:
        for line in lines:
            self.stream.write(f"{line}\n")

    def document(self, values: t.Any) -> None:
        self.lines([json.dumps(values, indent=2, ensure_ascii=False)])

    def titled(self, title: str) -> None:
        """Print a title, unless it is empty."""
        if title:
            self.lines([title])

    def flush(self) -> None:
        self.stream.flush()

    def complain(self, text: str) -> None:
        self.stream.flush()  # both may be the same file
        self.errors.write(f"lastgood: {text}\n")

    def table(self, columns: t.Sequence[str], rows: t.Sequence[Row]) -> None:
        """Print rows below the names of their columns."""
        columns = [name for name in columns if any(row.get(name) for row in rows)]
        if not columns:
            return
        width = {name: max(len(name), *(len(row.get(name, "")) for row in rows)) for name in columns}
        self.lines(
            [self._line({name: name for name in columns}, columns, width), *(self._line(row, columns, width) for row in rows)]
        )

    def _line(self, row: Row, columns: t.Sequence[str], width: t.Mapping[str, int]) -> str:
        return "  ".join(self._cell(row.get(name, ""), name, width[name]) for name in columns).rstrip()

    def _cell(self, text: str, name: str, width: int) -> str:
        padded = f"{text:>{width}}" if name in _RIGHT else f"{text:<{width}}"
        colour = _WORDS.get(text) if self.colours else None
        return padded if colour is None else padded.replace(text, f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m", 1)
