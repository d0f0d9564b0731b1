"""Let every call of the system that an operation makes go wrong, each in a run of its own, and see what is left.

A ``Scenario`` is an operation in a folder that has been prepared for it. Each run begins with a fresh copy of the folder.
``violations`` is what a run may never do, whatever went wrong.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.tests.support.modules import collections_path

HANGS_AFTER_SECONDS = 60
_TWO_DAYS = 2 * 24 * 60 * 60
_HERE = Path(__file__).parent
_PAYLOAD = re.compile(r"backup_.*\.dump(\.gz|\.zst)?")
_MANIFEST = ".manifest.json"
_SHORTENED = re.compile(r"p?(read|write)v?(64)?(v2)?|recv|send")
_PROBE = re.compile(r"[a-z0-9_]{8}")  # with an empty file Python tries a directory for temporary files
# What a run may leave, and what a plan of this kind has no use for.
_STAYS = {".lastgood.lock", ".lastgood.status.json"}


@dataclass(frozen=True)
class Fault:
    """What becomes of one call of a run, counted from 1."""

    call: int
    what: str
    value: int = 0

    def __str__(self) -> str:
        if self.what.startswith("signal"):
            return f"{signal.Signals(self.value).name} {self.what.split()[1]} call {self.call}"
        return f"call {self.call}: {self.what}" + (f" with {errno.errorcode[self.value]}" if self.value else "")


NOTHING = Fault(0, "none")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    hung: bool
    killed: bool
    status: int
    stdout: str
    calls: list[str]

    @property
    def result(self) -> dict[str, Any]:
        try:
            found = json.loads(self.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str | None:
        error = self.result.get("error")
        return error.get("code") if isinstance(error, dict) else None


@dataclass(frozen=True)
class Scenario:
    """An operation, and what it must not touch. ``folder`` is where everything of it happens.

    ``may_delete`` are the earlier backups that it may delete; ``leaves`` says what is wrong with all else after a run.
    ``may_leave`` is the pattern of files that another operation removes.
    """

    name: str
    folder: Path
    module: str
    options: Mapping[str, Any]
    may_delete: frozenset[str] = frozenset()
    reset: Callable[[], None] = lambda: None
    leaves: Callable[[Outcome], list[str]] = lambda outcome: []
    may_leave: str = ""

    @property
    def backups(self) -> Path:
        return self.folder / "backups"


@dataclass
class Figures:
    """What a sweep came to."""

    scenario: str
    calls: int = 0
    runs: int = 0
    failed: int = 0
    killed: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.scenario}: {self.calls} calls, {self.runs} runs, {self.failed} failed, {self.killed} killed, "
            f"{len(self.violations)} violations"
        )


class Laboratory:
    """Runs modules with faults."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, scenario: Scenario, fault: Fault = NOTHING) -> Outcome:
        temporary = scenario.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        order = {
            "module": scenario.module,
            "arguments": dict(scenario.options),
            "directory": str(scenario.folder),
            "temporary": str(temporary),
            "fault": {"call": fault.call, "what": fault.what, "value": fault.value},
            "seconds": HANGS_AFTER_SECONDS,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def laboratory(folder: Path) -> Iterator[Laboratory]:
    """Build the shim, and start the server that has it."""
    shim = folder / "shim.so"
    subprocess.run(("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", shim, _HERE / "shim.c", "-ldl"), check=True)
    path = os.pathsep.join((str(collections_path()), str(_HERE.parents[1])))
    environment = {**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": path, "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        (sys.executable, _HERE / "server.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    with process:
        try:
            yield Laboratory(process)
        finally:
            process.stdin.close()  # type: ignore[union-attr]


def sweep(laboratory: Laboratory, scenario: Scenario, *, share: int | None = None) -> Figures:
    """Run a scenario with each fault, or with a ``share`` of so many that lie evenly among them."""
    template = scenario.folder.with_name(f"{scenario.folder.name}.template")
    shutil.copytree(scenario.folder, template, symlinks=True)
    figures = Figures(scenario.name)
    try:
        whole = _run(laboratory, scenario, template, NOTHING, figures)
        figures.calls = len(whole.calls)
        assert whole.code is None and not figures.violations, (whole.stdout, figures.violations)
        faults = list(_faults(whole.calls))
        chosen = faults if share is None else [faults[number * len(faults) // share] for number in range(min(share, len(faults)))]
        for fault in chosen:
            _run(laboratory, scenario, template, fault, figures)
    finally:
        shutil.rmtree(template)
    return figures


def _faults(calls: list[str]) -> Iterator[Fault]:
    for number, name in enumerate(calls, 1):
        for reason in _reasons(name):
            yield Fault(number, "fail", reason)
        yield Fault(number, "fail from here on", errno.EIO)
        if _SHORTENED.fullmatch(name):
            yield Fault(number, "half")
        for sent in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            yield Fault(number, "signal before", sent)
        yield Fault(number, "signal after", signal.SIGKILL)
        yield Fault(number, "signal after", signal.SIGTERM)


def _reasons(name: str) -> tuple[int, ...]:
    """What such a call may fail with, beside a broken disk."""
    if name == "connect":
        return errno.ECONNREFUSED, errno.ETIMEDOUT
    if name in ("recv", "send"):
        return errno.ECONNRESET, errno.ETIMEDOUT
    if name == "flock":
        return errno.EIO, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS
    if name.startswith("open"):
        return errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOSPC
    if "write" in name or name in ("fsync", "fdatasync", "ftruncate64"):
        return errno.EIO, errno.ENOSPC, errno.EDQUOT
    return (errno.EIO,) if "read" in name or name == "close" else (errno.EIO, errno.EACCES)


def _run(laboratory: Laboratory, scenario: Scenario, template: Path, fault: Fault, figures: Figures) -> Outcome:
    shutil.rmtree(scenario.folder)
    shutil.copytree(template, scenario.folder, symlinks=True)
    scenario.reset()
    before = payloads(scenario.backups)
    outcome = laboratory.run(scenario, fault)
    figures.runs += 1
    figures.failed += outcome.code is not None
    figures.killed += outcome.killed
    name = outcome.calls[fault.call - 1] if 0 < fault.call <= len(outcome.calls) else "no call"
    found = violations(scenario, before, outcome)
    if not outcome.hung:
        found += [f"then {one}" for one in next_run(laboratory, scenario)]
    for one in found:
        figures.violations.append(f"{scenario.name}, {fault} ({name}): {one}")
        print(figures.violations[-1], file=sys.__stderr__, flush=True)
    return outcome


# --- What may never be -----------------------------------------------------------------------------


def payloads(folder: Path) -> dict[str, str]:
    """The digest of each file that has a backup's name."""
    if not folder.exists():
        return {}
    found = (path for path in folder.iterdir() if _PAYLOAD.fullmatch(path.name))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def recorded(folder: Path, name: str) -> str | None:
    """The digest that a backup's manifest says, None where it has none, or says that the backup is bad."""
    try:
        manifest = json.loads((folder / f"{name}{_MANIFEST}").read_bytes())
    except (OSError, ValueError):
        return None
    verdict = (manifest.get("verification") or {}).get("verdict")
    return None if verdict == "failed" else manifest["payload_sha256"]


def violations(scenario: Scenario, before: dict[str, str], outcome: Outcome) -> list[str]:
    after = payloads(scenario.backups)
    found = []
    for name, digest in before.items():
        if name in after and after[name] != digest:
            found.append(f"{name} is another file")
        if name in scenario.may_delete:
            continue
        if name not in after:
            found.append(f"{name} was deleted")
        elif recorded(scenario.backups, name) != digest:
            found.append(f"{name} counts as good no more")
    found += [f"{name} is no good backup" for name in after.keys() - before if recorded(scenario.backups, name) != after[name]]
    if outcome.hung:
        return [*found, "it hung"]
    if not outcome.killed:
        found += _false_words(scenario, before, after, outcome)
    return found + scenario.leaves(outcome)


def _false_words(scenario: Scenario, before: dict[str, str], after: dict[str, str], outcome: Outcome) -> list[str]:
    """What is wrong with what a run that ended by itself says."""
    result, failed = outcome.result, outcome.status != 0
    if not result:
        return [f"no result, status {outcome.status}: {outcome.stdout[-300:]!r}"]
    found = []
    if failed and outcome.code in (None, "unexpected"):
        found.append(f"no code of its own: {result.get('msg')}")
    gone, new = before.keys() - after, after.keys() - before
    if scenario.module in ("db_backup", "backup_prune") and bool(result.get("changed")) != bool(gone or new):
        found.append(f"changed is {result.get('changed')}: {sorted(gone)} went, {sorted(new)} came; {outcome.code}")
    if "deleted" in result and {one["filename"] for one in result["deleted"]} != gone:
        found.append(f"{sorted(gone)} went, and deleted is {[one['filename'] for one in result['deleted']]}")
    created = {one["filename"] for one in result.get("backups", ()) if one["outcome"] == "created"}
    if created != new and "backups" in result:
        found.append(f"{sorted(new)} came, and created is {sorted(created)}")
    return found


def next_run(laboratory: Laboratory, scenario: Scenario) -> list[str]:
    """What is wrong with a run two days after that, which meets no fault. Some leftovers are removed only after a day."""
    for path in leftovers(scenario.folder):
        os.utime(scenario.folder / path, (time.time() - _TWO_DAYS,) * 2)
    scenario.reset()
    outcome = laboratory.run(scenario)
    found = [] if outcome.status == 0 else [f"the next run fails: {outcome.stdout[-300:]!r}"]
    return found + [f"{path} is left" for path in leftovers(scenario.folder) if not fnmatch.fnmatch(path, scenario.may_leave)]


def leftovers(folder: Path) -> Iterator[str]:
    """What no run may leave in the end: partials, manifests without a payload, copies."""
    for path in sorted(folder.rglob("*")):
        name = path.name
        orphan = name.endswith(_MANIFEST) and not path.with_name(name.removesuffix(_MANIFEST)).exists()
        hidden = name.startswith(".") and name not in _STAYS
        temporary = path.parent.name == "tmp" and path.parent.parent == folder and not _PROBE.fullmatch(name)
        if orphan or hidden or temporary:
            yield str(path.relative_to(folder))
