"""What a program may not ask the kernel for, and what it still may."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import errno
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _syscalls
from ansible_collections.lastgood.database.plugins.module_utils._errors import Inconclusive

AF_VSOCK = 40
SHOW = """
import ctypes, errno, socket, sys
for family in map(int, sys.argv[1].split(",")):
    try:
        socket.socket(family, socket.SOCK_STREAM if family != 16 else socket.SOCK_RAW).close()
        print("made")
    except OSError as error:
        print(errno.errorcode[error.errno])
library = ctypes.CDLL(None, use_errno=True)
for number in map(int, sys.argv[2].split(",")):
    print(library.syscall(number, 0, 0, 0, 0, 0), errno.errorcode[ctypes.get_errno()])
"""


def said(families: list[int], calls: list[int]) -> list[str]:
    """What a program says that a thread starts after it was forbidden the calls."""

    def start() -> str:
        _syscalls.forbid_calls()
        command = (sys.executable, "-c", SHOW, ",".join(map(str, families)), ",".join(map(str, calls)))
        return subprocess.run(command, stdout=subprocess.PIPE, encoding="ascii", check=True, timeout=30).stdout

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(start).result().splitlines()


def test_sockets_are_made_of_families_that_a_network_namespace_separates_alone() -> None:
    answers = said([int(socket.AF_UNIX), int(socket.AF_INET), 16, AF_VSOCK, 38], [425])
    assert answers == ["made", "made", "made", "EAFNOSUPPORT", "EAFNOSUPPORT", "-1 ENOSYS"]


def test_keys_are_out_of_reach() -> None:
    calls = _syscalls._MACHINES[os.uname().machine].forbidden
    assert said([1], list(calls)) == ["made", *["-1 ENOSYS"] * len(calls)]


def test_other_threads_may_do_what_they_could() -> None:
    before = _filters()
    said([1], [425])
    assert _filters() == before


def _filters() -> list[str]:
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    return [line for line in status.splitlines() if line.startswith(("Seccomp", "NoNewPrivs"))]


def test_a_machine_whose_calls_are_unknown_has_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_syscalls.os, "uname", lambda: types.SimpleNamespace(machine="vax"))
    with pytest.raises(Inconclusive, match="vax"):
        _syscalls.forbid_calls()


def test_a_kernel_without_filters_has_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_syscalls, "_FILTER", 99)
    with concurrent.futures.ThreadPoolExecutor(1) as thread, pytest.raises(Inconclusive, match=os.strerror(errno.EINVAL)):
        thread.submit(_syscalls.forbid_calls).result()
