"""Listing backups by the program ``lastgood``, from its start to its end, compared with ``ls -l``."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.plugins.plugin_utils._program_builder import program as built
from bench.listing import fill
from bench.measure import Case, compare

COUNT = 1_000


def program() -> None:
    """Print the row."""
    with tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        path, directory = Path(folder, "lastgood"), Path(folder, "backups")
        path.write_bytes(built())
        directory.mkdir()
        fill(directory, COUNT)
        python = [sys.executable, "-I", "-S"]
        compare(
            f"lastgood list of {COUNT} backups, start to end",
            {
                "lastgood list": Case([*python, str(path), "list", "--directory", str(directory)]),
                "lastgood --version": Case([*python, str(path), "--version"]),
                "python": Case([*python, "-c", "pass"]),
                "ls -l": Case(["ls", "-l", str(directory)]),
            },
        )
