"""The context of an operation for tests, with a given time and no programs, and the diff of its outcome."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Diff, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._progress import Progress, UnderWay
from ansible_collections.lastgood.database.tests.support.backups import NOW


class NoPrograms:
    """A runner that starts no program, and can report that the run was stopped."""

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self.is_stopped = is_stopped

    def find_program(self, name: str) -> None:
        return None

    def run(self, command: Any, **how: Any) -> NoReturn:
        raise AssertionError(f"{command} is started")

    def stopping(self, act: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def context_at(
    now: datetime | Callable[[], datetime] = NOW, *, check: bool = False, is_stopped: Callable[[], bool] = lambda: False
) -> Context:
    """Return the context of an operation that runs at that time, or by that clock."""
    return Context(NoPrograms(is_stopped), now if callable(now) else lambda: now, check)


Reported = list[tuple[str, int, int | None]]  # of each task under way: title, bytes that are done, bytes that are expected


def reporting(context: Context) -> tuple[Context, Reported]:
    """Return the context with a progress that reports each step, and its reports."""
    reported: Reported = []
    seconds = itertools.count()

    def receive(under_way: Sequence[UnderWay]) -> None:
        reported.extend((one.title, one.done_bytes, one.expected_bytes) for one in under_way)

    return replace(context, progress=Progress(receive, monotonic=lambda: float(next(seconds)))), reported


def diff_in(outcome: Outcome) -> Diff:
    assert outcome.diff is not None
    return outcome.diff()
