"""Runs modules in processes of their own that have imported all already, with one call of the system made to fail.

A program, with shim.c preloaded. Reads a run as JSON from each line of its standard input, and writes what came of it.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from typing import Any

from tests.support.arguments import patch_module_args

MODULES = ("db_backup", "backup_archive", "backup_facts", "backup_prune", "backup_upload", "backup_verify", "db_restore")
FAULTS = ("none", "fail", "half", "signal before", "signal after", "fail from here on")


def main() -> None:
    for name in ("isal.isal_zlib", "isal.igzip_lib", "paramiko", "psycopg2", "zipfile", "tarfile", "tempfile"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    modules = {name: importlib.import_module(f"ansible_collections.lastgood.database.plugins.modules.{name}") for name in MODULES}
    for line in sys.stdin:
        print(json.dumps(run(modules, json.loads(line))), flush=True)


def run(modules: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    record, recorded = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(child(modules[order["module"]], order, writing, recorded))
    os.close(writing)
    os.close(recorded)
    words = read_until(reading, record, time.monotonic() + order["seconds"])
    if words is None:
        os.killpg(pid, signal.SIGKILL)
    _pid, status = os.waitpid(pid, 0)
    said, calls = words or (b"", b"")
    os.close(reading)
    os.close(record)
    return {
        "hung": words is None,
        "killed": os.WIFSIGNALED(status),
        "status": os.waitstatus_to_exitcode(status),
        "stdout": said.decode("utf-8", "replace"),
        "calls": calls.decode().split(),
    }


def read_until(reading: int, record: int, deadline: float) -> tuple[bytes, bytes] | None:
    """Return all that comes until both are closed, None where that takes too long."""
    found = {reading: b"", record: b""}
    rest = set(found)
    while rest:
        ready, _writable, _exceptional = select.select(rest, (), (), max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        for descriptor in ready:
            data = os.read(descriptor, 65536)
            found[descriptor] += data
            if not data:
                rest.remove(descriptor)
    return found[reading], found[record]


def child(module: Any, order: dict[str, Any], writing: int, recorded: int) -> int:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stdout = sys.stderr = os.fdopen(os.dup(1), "w", buffering=1)
    os.environ["TMPDIR"], tempfile.tempdir = order["temporary"], None
    shim, status = ctypes.CDLL(None), 0
    fault = order["fault"]
    arguments = (order["directory"].encode(), fault["call"], FAULTS.index(fault["what"]), fault["value"], recorded)
    with patch_module_args({**order["arguments"], "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}):
        shim.sweep_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        shim.sweep_arm(*arguments)
        try:
            module.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            status = 99
    shim.sweep_disarm()
    sys.stdout.flush()
    threading._shutdown()  # type: ignore[attr-defined]  # as the end of the interpreter does
    return status


if __name__ == "__main__":
    main()
