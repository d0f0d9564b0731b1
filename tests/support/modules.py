"""Runs a module of the collection as a host does: in a process of its own, JSON in, JSON out.

outcome = run_module("backup_facts", directory="/somewhere")
outcome.result["ansible_facts"]

with running_module("db_backup", directory="/somewhere", ...) as process:
    ...                     # observe or stop it
    outcome = process.wait()
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COLLECTION = "ansible_collections.lastgood.database"
NOTHING: Mapping[str, Any] = types.MappingProxyType({})
HANGS_AFTER_SECONDS = 120  # far more than any run takes


def collections_path() -> Path:
    """Return the search path of the collection."""
    spec = importlib.util.find_spec(f"{COLLECTION}.plugins")
    assert spec is not None and spec.submodule_search_locations is not None
    # Not resolved: a link with the collection's name may lead to the checkout.
    return Path(next(iter(spec.submodule_search_locations))).parents[3]


@dataclass(frozen=True)
class Host:
    """A host that runs modules: an interpreter, its search path, and a user (None: the current one)."""

    python: Path = Path(sys.executable)
    search_path: tuple[Path, ...] = field(default_factory=lambda: (collections_path(),))
    environment: Mapping[str, str] = types.MappingProxyType({})
    uid: int | None = None
    largest_file: int | None = None

    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(map(str, self.search_path)),
            # The user nobody can't write a cache, and older interpreters need none.
            **({} if self.uid is None else {"PYTHONDONTWRITEBYTECODE": "1"}),
            **self.environment,
        }


OURSELVES = Host()


@dataclass(frozen=True)
class Outcome:
    """The exit status and the output of a module."""

    status: int
    result: dict[str, Any]
    stdout: str
    stderr: str

    @property
    def changed(self) -> bool:
        """Raises AssertionError if the module failed: it has no meaning then."""
        assert self.status == 0, f"the module failed: {self.result.get('msg')}\n{self.stderr}"
        changed = self.result["changed"]
        assert isinstance(changed, bool)
        return changed

    @property
    def warnings(self) -> list[str]:
        """Their texts, which newer versions of Ansible wrap."""
        found = self.result.get("warnings", [])
        return [one if isinstance(one, str) else str(one["event"]["msg"]) for one in found]

    @property
    def backups(self) -> list[dict[str, Any]]:
        return list(self.result["backups"])

    @property
    def outcomes(self) -> list[str]:
        return [str(backup["outcome"]) for backup in self.backups]

    @property
    def error_code(self) -> str | None:
        """The code of the failure, None if none occurred."""
        assert (self.status != 0) == bool(self.result.get("failed")), self.stdout
        return self.result["error"]["code"] if self.status != 0 else None

    @property
    def msg(self) -> str:
        return str(self.result["msg"])


class ModuleProcess:
    """A running module."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._outcome: Outcome | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_output(self) -> None:
        """Close its output."""
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._process.stdout = self._process.stderr = None

    def kill(self) -> None:
        """Kill it by SIGKILL, and wait until it has ended."""
        self._process.kill()
        self._process.communicate(timeout=HANGS_AFTER_SECONDS)

    def wait(self) -> Outcome:
        if self._outcome is None:
            stdout, stderr = self._process.communicate(timeout=HANGS_AFTER_SECONDS)
            self._outcome = _read(self._process.returncode, stdout, stderr)
        return self._outcome


@contextlib.contextmanager
def running_module(
    name: str,
    more: Mapping[str, Any] = NOTHING,
    /,
    *,
    host: Host = OURSELVES,
    check: bool = False,
    diff: bool = False,
    **options: Any,
) -> Iterator[ModuleProcess]:
    """Start a module, which ends with the ``with``. ``more`` has options named like a parameter."""
    arguments = {"_ansible_check_mode": check, "_ansible_diff": diff, **options, **more}
    process = subprocess.Popen(
        (host.python, "-m", f"{COLLECTION}.plugins.modules.{name}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        cwd="/",
        env=host.environ(),
        start_new_session=True,
        user=host.uid,
        group=host.uid,
        extra_groups=None if host.uid is None else [],
        preexec_fn=None if host.largest_file is None else _limit(host.largest_file),
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        process.stdin.close()
        process.stdin = None
        yield ModuleProcess(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run_module(
    name: str,
    more: Mapping[str, Any] = NOTHING,
    /,
    *,
    host: Host = OURSELVES,
    check: bool = False,
    diff: bool = False,
    **options: Any,
) -> Outcome:
    """Run a module to its end."""
    with running_module(name, more, host=host, check=check, diff=diff, **options) as process:
        return process.wait()


def _limit(largest_file: int) -> Any:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))


def _read(status: int, stdout: str, stderr: str) -> Outcome:
    try:
        result = json.loads(stdout)
    except ValueError:
        raise AssertionError(f"no result, status {status}; standard output:\n{stdout}\nstandard error:\n{stderr}") from None
    # Ansible treats a task with this key as skipped.
    assert "skipped" not in result
    assert "Traceback" not in stdout + stderr, stdout + stderr
    return Outcome(status, result, stdout, stderr)
