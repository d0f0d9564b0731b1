"""Prints a run: on a terminal a table at its end, in a log a line for each database as soon as it is done."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._overview.summary import BACKED_UP, lines_of
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Result
from ansible_collections.lastgood.database.plugins.module_utils._program.output import Output
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.showing import difference, record_row, trouble
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line

_ERROR = "<3>"  # systemd's journal reads this priority at the beginning of a line


class RunOutput:
    """Prints the results of a run."""

    def __init__(self, settings: Settings, output: Output, *, check_mode: bool) -> None:
        self._settings = settings
        self._output = output
        self._check_mode = check_mode
        self._printed: set[str] = set()
        self._error = _ERROR if "JOURNAL_STREAM" in os.environ else ""

    def of_source(self, result: Result) -> None:
        """Print what was done with a source."""
        if self._output.json:
            return
        for step in ("dumped", "uploaded", "pruned", "pruned_there"):
            difference(result.get(step) or {}, self._output)
        if not self._output.is_terminal:
            self._output.lines(self._lines(result))
            self._output.flush()

    def at_end(self, result: Result) -> None:
        """Print the table, and each failure."""
        if self._output.json:
            self._output.document(result)
            return
        if self._output.is_terminal:
            variables = {
                **self._settings.variables,
                "backup_runs": result["runs"],
                "backup_inventory": {"results": result["inventory"]},
            }
            self._output.lines(lines_of(BACKED_UP, {self._settings.host: variables}, check_mode=self._check_mode))
        for one in result["runs"]:
            for step in ("dumped", "uploaded", "pruned", "pruned_there"):
                trouble({"warnings": (one.get(step) or {}).get("warnings")}, one["title"], self._output)
        for failure in result["failures"]:
            if not any(message in failure for message in self._printed):
                self._output.complain(one_line(failure))

    def _lines(self, result: Result) -> t.Iterator[str]:
        """Yield a line for each database of a source, and one for each step that failed as a whole."""
        dumped = result["dumped"]
        for record in dumped.get("backups") or []:
            row = record_row(record)
            failed = row["outcome"] == "failed"
            self._printed.add(record["msg"] if failed else "\n")
            said = [row["next"]] if failed else [row["size"], row["backup"]]
            words = "  ".join(filter(None, (row["outcome"], row["database"], *said, f"({result['title']})")))
            yield f"{self._error if failed else ''}{words}"
        steps = {"uploaded": "upload: ", "pruned": "retention: ", "pruned_there": "retention on the server: "}
        if not dumped.get("backups"):
            steps = {"dumped": "", **steps}
        for step, name in steps.items():
            failure = result.get(step) or {}
            if failure.get("failed"):
                self._printed.add(failure["msg"])
                yield f"{self._error}failed  {name}{one_line(str(failure['msg']))}  ({result['title']})"
