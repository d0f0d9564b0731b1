"""The progress of a module that the program runs, on a terminal and in a log."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import json

from ansible_collections.lastgood.database.plugins.module_utils._background import UNDER_WAY
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call
from ansible_collections.lastgood.database.plugins.module_utils._program.progress import Bar, Lines

CALL = Call("db_backup", {}, "postgresql in /b")


def report(done: int, expected: int | None, seconds: float = 10.0) -> str:
    task = {"title": "app", "seconds": seconds, "done_bytes": done, "expected_bytes": expected}
    return f"{UNDER_WAY}{json.dumps({'seconds': 100.0, 'tasks': [task]})}}}"


def test_a_bar_replaces_itself_and_vanishes_at_the_end() -> None:
    stream = io.StringIO()
    shown = Bar(stream)
    shown(CALL, report(50 << 20, 100 << 20))
    assert stream.getvalue().startswith(f"\r\x1b[K{'█' * 10}{'░' * 10}  postgresql in /b  app  50 %")
    shown(CALL, "")
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_bar_needs_an_expectation() -> None:
    stream = io.StringIO()
    Bar(stream)(CALL, report(50 << 20, None))
    assert "░" not in stream.getvalue()
    assert "50.0 MiB" in stream.getvalue()


def test_a_module_without_a_report_leaves_the_terminal_alone() -> None:
    stream = io.StringIO()
    Bar(stream)(CALL, "")
    assert stream.getvalue() == ""


def test_a_log_gets_a_line_every_few_seconds() -> None:
    stream, times = io.StringIO(), iter([0.0, 1.0, 9.9, 10.1, 12.0, 20.2])
    lines = Lines(stream, 10, lambda: next(times))
    for _number in range(5):
        lines(CALL, report(1 << 20, 2 << 20))
    assert len(stream.getvalue().splitlines()) == 2
    assert stream.getvalue().startswith("postgresql in /b  app  50 %")
