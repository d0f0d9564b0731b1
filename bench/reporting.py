"""The report about 500 hosts with 20,000 backups: it has to be made within 30 seconds.

Run as a module, it is the process that is measured: it makes the page once.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys

from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import report_of
from ansible_collections.lastgood.database.plugins.plugin_utils._report.page import page_of, statement
from ansible_collections.lastgood.database.tests.support.report import NOW, fleet
from bench.measure import Case, compare

FACTS = "from bench.reporting import HOSTS, DAYS, fleet; fleet(HOSTS, DAYS)"
HOSTS, DAYS = 500, 21


def reporting() -> None:
    """Print the row."""
    compare(
        f"A report about {HOSTS} hosts with 20,000 backups",
        {
            "backup_report": Case([sys.executable, "-m", "bench.reporting"]),
            "its imports and facts alone": Case([sys.executable, "-c", FACTS]),
        },
    )


if __name__ == "__main__":
    print(len(statement(page_of(report_of(fleet(HOSTS, DAYS), NOW)))))
