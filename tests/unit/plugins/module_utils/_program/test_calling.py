"""A module in a child: its result, its progress, its death, and the signals that end the program."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _background
from ansible_collections.lastgood.database.plugins.module_utils._program import calling
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller

CALL = Call("db_backup", {"directory": "/b"})


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Replace what a module does in the child."""
    return lambda main: monkeypatch.setattr(calling, "face", lambda name: main)


def call(caller: Caller | None = None) -> dict[str, Any]:
    return (caller or Caller(__file__))(CALL)


def test_the_result_is_what_the_module_printed(module: Any) -> None:
    def main() -> None:
        print("noise")
        print(json.dumps({"changed": True, "big": "x" * 1_000_000}))
        sys.exit(0)

    module(main)
    assert call() == {"changed": True, "big": "x" * 1_000_000}


def test_the_module_gets_its_options_and_the_modes_without_a_log_of_them(module: Any) -> None:
    def main() -> None:
        from ansible.module_utils import basic

        print(basic._ANSIBLE_ARGS.decode())

    module(main)
    given = Caller(__file__, check_mode=True, diff=True)(CALL)["ANSIBLE_MODULE_ARGS"]
    assert given["directory"] == "/b"
    assert (given["_ansible_check_mode"], given["_ansible_diff"], given["_ansible_no_log"]) == (True, True, True)
    assert Caller(__file__)(CALL, check_mode=True)["ANSIBLE_MODULE_ARGS"]["_ansible_check_mode"] is True


def test_the_progress_comes_while_the_module_runs(module: Any) -> None:
    def main() -> None:
        [sink] = _background.sinks()
        sink([])
        print("{}")

    module(main)
    reports: list[str] = []
    assert call(Caller(__file__, watch=lambda _call, report: reports.append(report))) == {}
    assert reports[0].startswith(_background.UNDER_WAY)
    assert reports[-1] == ""


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended by signal 9"),
        (lambda: sys.exit(3), "exit status was 3"),
        (lambda: print("[1]"), "exit status was 1"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["killed", "exits", "no result", "raises"],
)
def test_a_module_without_a_result_is_a_failure(module: Any, main: Callable[[], object], words: str) -> None:
    module(main)
    result = call()
    assert result["failed"]
    assert result["error"] == {"code": "run_died"}
    assert words in result["msg"]


def test_another_user_has_no_terminal_of_ours(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        print(json.dumps({"leads": os.getsid(0) == os.getpid()}))

    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *_ids: None)
    monkeypatch.setattr(calling, "_entry_of", lambda name: None if name is None else pwd.getpwnam(name))
    module(main)
    assert Caller(__file__)(Call("db_backup", {}, user="nobody")) == {"leads": True}
    assert Caller(__file__)(Call("db_backup", {})) == {"leads": False}


def test_a_user_that_does_not_exist_is_a_failure() -> None:
    result = Caller(__file__)(Call("db_backup", {}, user="no-such-user"))
    assert result["error"] == {"code": "argument_invalid"}
    assert "the host knows no such user" in result["msg"]


def test_a_signal_is_passed_on_and_noted(module: Any) -> None:
    def main() -> None:
        received = signal.sigwait({signal.SIGTERM})
        print(json.dumps({"received": received}))

    module(main)
    caller = Caller(__file__)
    before = signal.getsignal(signal.SIGTERM)

    with subprocess.Popen(("sh", "-c", f"sleep 0.3; kill -TERM {os.getpid()}")):
        assert call(caller) == {"received": signal.SIGTERM}
    assert caller.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
