"""A real AnsibleModule and its runner, small real programs, and a look at what a test leaves behind."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from tests.support.arguments import patch_module_args

Result = TypeVar("Result")

HANGS_AFTER_SECONDS = 120.0  # far more than anything here takes, on however busy a machine


@pytest.fixture
def module() -> Iterator[AnsibleModule]:
    with patch_module_args({}):
        yield AnsibleModule(argument_spec={}, supports_check_mode=True)


@pytest.fixture
def runner(module: AnsibleModule) -> ModuleRunner:
    return ModuleRunner(module)


@pytest.fixture
def python() -> Callable[..., tuple[str, ...]]:
    """Return the command that runs Python code: what follows the code is in its ``sys.argv[1:]``."""

    def command(code: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-I", "-S", "-c", code, *arguments)

    return command


@pytest.fixture
def shell_program(tmp_path: Path) -> Callable[..., str]:
    """Make a program of that name, a shell script, and return its path."""

    def make(name: str, script: str, directory: str = "bin") -> str:
        path = tmp_path / directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def bounded() -> Callable[[Callable[[], Any]], Any]:
    """Do something in a thread of its own, and fail the test when it hangs."""

    def do(action: Callable[[], Result]) -> Result:
        results: list[Result] = []
        errors: list[BaseException] = []

        def act() -> None:
            try:
                results.append(action())
            except BaseException as error:
                errors.append(error)

        before = children()
        thread = threading.Thread(target=act, name="bounded", daemon=True)
        thread.start()
        thread.join(HANGS_AFTER_SECONDS)
        if thread.is_alive():
            for pid in children() - before:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            pytest.fail(f"it hangs: it was not done after {HANGS_AFTER_SECONDS:g} seconds")
        if errors:
            raise errors[0]
        return results[0]

    return do


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """See to it that the test leaves no process (not even an unreaped one), no thread and no descriptor behind."""
    before = children(), set(threading.enumerate()), descriptors()
    yield
    for thread in set(threading.enumerate()) - before[1]:
        thread.join(HANGS_AFTER_SECONDS)  # a timer that was cancelled takes a moment to see it
    assert set(threading.enumerate()) <= before[1], "threads are left"
    assert children() <= before[0], "processes are left"
    assert descriptors() == before[2], "descriptors are left open"


def children() -> set[int]:
    """Return the ids of our child processes, those that ended and were not waited for among them."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    found.add(int(entry.name))
    return found


def descriptors() -> dict[str, str]:
    """Return our open descriptors, and what each is."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found
