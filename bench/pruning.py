"""Planning a prune of many backups, and pruning them, beside listing the same directory, and a bare loop that reads the same:
planning may take twice as long as that.

Run with ``plan`` or ``prune`` and a directory as its arguments, it is the process that is measured.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._operations.prune import PruneRequest, prune
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from bench.listing import COUNTS, DATABASES, LOOP, fill
from bench.measure import Case, compare

RULES = Rules(hourly=24, daily=7, weekly=5, monthly=12)
REMOVE = "import os, sys; [os.unlink(entry) for entry in os.scandir(sys.argv[1])]"
NOTHING = "import bench.pruning"


def pruning() -> None:
    """Print the rows."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as parent:
            directory, copy = Path(parent, "backups"), Path(parent, "copy")
            directory.mkdir()
            fill(directory, count)
            compare(
                f"Planning to prune {count} backups of {DATABASES} databases",
                {
                    "backup_prune in check mode": Case([sys.executable, "-m", "bench.pruning", "plan", str(directory)]),
                    "its imports alone": Case([sys.executable, "-c", NOTHING]),
                    "backup_facts": Case([sys.executable, "-m", "bench.listing", str(directory)]),
                    "bare scandir, stat, read, json.loads": Case([sys.executable, "-c", LOOP, str(directory)]),
                },
            )

            def fresh(directory: Path = directory, copy: Path = copy) -> None:
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(directory, copy, copy_function=os.link)

            compare(
                f"Pruning {count} backups of {DATABASES} databases",
                {
                    "backup_prune": Case([sys.executable, "-m", "bench.pruning", "prune", str(copy)], prepare=fresh),
                    "bare unlink of all": Case([sys.executable, "-c", REMOVE, str(copy)], prepare=fresh),
                },
                rounds=3,
            )


if __name__ == "__main__":
    verb, place = sys.argv[1:]
    report = prune(PruneRequest(LocalStore(place), RULES), context_at(lambda: datetime.now(timezone.utc), check=verb == "plan"))
    print(len(report.values["deleted"]))
