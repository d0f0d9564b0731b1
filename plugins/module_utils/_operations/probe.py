"""Check step by step whether backups can be sent to a server, and report the step that fails."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, DirectoryMissing
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context, Outcome
from ansible_collections.lastgood.database.plugins.module_utils._stores.base import RemoteStore


@dataclass(frozen=True)
class ProbeRequest:
    """The server to check, and whether to write a file to it."""

    store: RemoteStore
    write_probe: bool = True


@dataclass
class Report:
    """The results of the steps so far."""

    steps: list[dict[str, t.Any]] = field(default_factory=list)
    values: dict[str, t.Any] = field(default_factory=lambda: {"free_bytes": None, "writable": None})
    changed: bool = False
    failure: BackupError | None = None

    def take(self, name: str, step: t.Callable[[], None]) -> None:
        """Perform a step, and record how long it took and whether it succeeded."""
        began, ok = time.monotonic(), False
        try:
            step()
            ok = True
        finally:
            self.steps.append({"name": name, "ok": ok, "milliseconds": round((time.monotonic() - began) * 1000, 1)})

    def outcome(self, warnings: t.Sequence[str]) -> Outcome:
        failed = {"failed_step": self.steps[-1]["name"]} if self.failure is not None and self.steps else {}
        return Outcome({"changed": self.changed, "steps": self.steps, **self.values, **failed}, warnings, self.failure)


def probe(request: ProbeRequest, context: Context) -> Outcome:
    """Perform all steps until one fails. Check mode writes nothing."""
    store, report = request.store, Report()
    report.values.update(store.server_facts())
    try:
        _open(store, report)
        exists = _find_directory(store, report, context.check_mode)
        if request.write_probe and exists and not context.check_mode:
            _write_and_read(store, report)
    except BackupError as error:
        report.failure = error
    return report.outcome(store.warnings)


def _open(store: RemoteStore, report: Report) -> None:
    for name, step in store.steps():
        report.take(name, step)
        report.values.update(store.server_facts())
    report.changed = store.remembered


def _find_directory(store: RemoteStore, report: Report, check_mode: bool) -> bool:
    """Check that the directory exists, or create it. Return whether it exists afterwards."""
    exists = False

    def find() -> None:
        nonlocal exists
        exists = store.exists()
        if not exists:
            if not store.creates_directory:
                raise DirectoryMissing(f"The directory {store.location} does not exist.", "Make it, or set create_directory.")
            report.changed = True
            if check_mode:
                return
            store.ensure()
            exists = True
        report.values["free_bytes"] = store.free_bytes()

    report.take("directory", find)
    return exists


def _write_and_read(store: RemoteStore, report: Report) -> None:
    trial = store.trial()
    if (problem := trial.refusal()) is not None:
        store.warnings.append(f"No file was written as a test, because the account may delete none: {problem}")
        return
    report.values["writable"] = False
    try:
        for name, step in trial.steps():
            report.take(name, step)
            report.values["writable"] = True
    except BackupError:
        trial.clean_up()
        raise
