"""The types of all operations. An operation is a function ``verb(request, context)`` that returns an ``Outcome``.

The request says what to do; the context has what every operation needs.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Clock
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner
from ansible_collections.lastgood.database.plugins.module_utils._progress import Progress

Diff = t.Mapping[str, str]  # as Ansible shows it


@dataclass(frozen=True)
class Context:
    """The runner of programs and the clock. In ``check_mode`` an operation ends after its plan.

    It counts the bytes it processes in ``progress``.
    """

    runner: Runner
    clock: Clock
    check_mode: bool = False
    progress: Progress = field(default_factory=Progress)

    def is_stopped(self) -> bool:
        """Return whether the run was stopped. Work then raises Interrupted at its next step."""
        return self.runner.is_stopped()


@dataclass(frozen=True)
class Outcome:
    """The result of an operation, predicted in check mode.

    ``values`` are what the module returns, ``changed`` among them. A failure is returned with the values: an operation that
    did a part of its work reports that part. Without -v, ``brief`` replaces the values of the same key of a failed task, since
    Ansible prints all that a failed task returns. ``diff`` is called in diff mode only: it may have a line for each of a hundred
    thousand files.
    """

    values: t.Mapping[str, t.Any]
    warnings: t.Sequence[str] = ()
    failure: BackupError | None = None
    brief: t.Mapping[str, t.Any] = field(default_factory=dict)
    diff: t.Callable[[], Diff] | None = None


def diff_of(place: str, before: t.Iterable[str], after: t.Iterable[str]) -> Diff:
    """Return the lines that describe a place, before and after, as Ansible's diff."""
    return {
        "before_header": place,
        "after_header": place,
        "before": "".join(f"{line}\n" for line in before),
        "after": "".join(f"{line}\n" for line in after),
    }
