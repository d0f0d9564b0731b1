"""Putting backups into one file, beside the community's module, and cp: alone, which copies inside the kernel and leaves the
disk to work later; with the disk waited for, as we do; and with the digest of the copy as well.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS
from bench.backups import put_backups
from bench.measure import Case, compare
from bench.peers import ours, theirs

COUNT = 8
COPY = "cp -r {0} {1}"
COPIES = {
    "cp": COPY,
    "cp, sync and sha256sum": f"{COPY} && sync {{1}}/* && cat {{1}}/* | sha256sum",
    "cp and sync": f"{COPY} && sync {{1}}/*",
}
MEBIBYTES = 60


def archiving() -> None:
    """Print the row."""
    with tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        top = Path(folder)
        backups, results = top / "backups", top / "results"
        results.mkdir()
        put_backups(backups, COUNT, MEBIBYTES)
        cases = {f"backup_archive, {name}": _ours(top, name) for name in FORMATS}
        unchanged = results / "unchanged.zip"
        cases["backup_archive again"] = ours("backup_archive", top, directory=str(backups), dest=str(unchanged))
        peer = {"path": str(backups), "format": "zip", "dest": str(results / "peer.zip")}
        cases["community.general.archive, zip"] = theirs("community.general.archive", top, **peer)
        copies = results / "copies"
        for name, command in COPIES.items():
            arguments = ["sh", "-c", command.format(backups, copies)]
            cases[name] = Case(arguments, prepare=lambda: shutil.rmtree(copies, ignore_errors=True))
        compare(f"Archiving {COUNT * MEBIBYTES} MiB", cases)


def _ours(top: Path, name: str) -> Case:
    destination = top / "results" / f"ours.{name}"
    case = ours("backup_archive", top, directory=str(top / "backups"), dest=str(destination))
    return Case(case.command, case.environment, lambda: destination.unlink(missing_ok=True))
