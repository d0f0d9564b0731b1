"""What the status costs a dump: the same dump of 1 GB with and without it, in turn.

The run without it is the module with a record that is switched off, as in check mode.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from bench.dumping import ROWS, ROWS_OF_A_GIGABYTE, Place
from bench.measure import Case, compare
from tools.throwaway_postgresql import Server, installation

_UTILS = "ansible_collections.lastgood.database.plugins.module_utils"
_WITHOUT = f"""
import runpy, sys
from {_UTILS}._operations import run_record
made = run_record.RunRecord.__init__
def switched_off(self, *arguments):
    made(self, *arguments)
    self._is_off = True
run_record.RunRecord.__init__ = switched_off
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
_ROUNDS = 9


def status() -> None:
    """Print the rows."""
    with Server.start(installation(18)) as server, tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        server.create_database("large")
        server.psql(ROWS.format(count=ROWS_OF_A_GIGABYTE), "large")
        place = Place(server, Path(folder))
        cases = {"db_backup": place.backup("large"), "db_backup, without its status": _without(place.backup("large"))}
        compare("Dumping 1 GB of SQL, with and without the status", cases, rounds=_ROUNDS)


def _without(case: Case) -> Case:
    _python, _option, *arguments = case.command
    return dataclasses.replace(case, command=[sys.executable, "-c", _WITHOUT, *arguments])
