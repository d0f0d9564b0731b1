"""Make the pictures of the documentation, in docs/images. Needs what the tests of the report need: chromium, nodejs and npm."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import html
import sys
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._progress_line import Reading, line
from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import report_of
from ansible_collections.lastgood.database.plugins.plugin_utils._report.page import page_of
from ansible_collections.lastgood.database.tests.support.browser import browser, what_is_missing
from ansible_collections.lastgood.database.tests.support.report import NOW, fleet

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_BYTES = 200_000  # together: they are in the collection's artifact

TERMINAL = """<!doctype html><meta charset="utf-8"><title>Progress</title>
<style>body {{ margin: 0; padding: 22px 28px; background: #16181d; color: #d7dae0; font: 15px/1.6 monospace }}
pre {{ margin: 0 }} b {{ color: #8fd19e; font-weight: normal }}</style>
<pre>$ ansible-playbook lastgood.database.backup -i inventory -e backup_hosts=databases

TASK [lastgood.database.backup : Back up postgresql in /var/lib/postgresql/backups]

<b>{}</b></pre>"""
GIBIBYTE = 1024**3
# Of each host the database, its size, and how much of it is read after 10 and after 20 seconds, in GiB.
HOSTS = {"db3": ("billing", 12.4, (2.3, 4.7)), "db7": ("app", 3.5, (1.2, 3.1))}


def progress_page() -> str:
    """Return a terminal in which a run shows its progress."""
    shown, before = [], {}
    for turn, seconds in enumerate((10.0, 20.0)):
        for host, (database, size, done) in HOSTS.items():
            reading = Reading(database, seconds, 0.0, int(done[turn] * GIBIBYTE), int(size * GIBIBYTE))
            shown.append(line(host, reading, before.get(host)))
            before[host] = reading
    return TERMINAL.format(html.escape("\n".join(shown)))


def main() -> None:
    if (missing := what_is_missing()) is not None:
        sys.exit(f"pictures: {missing}")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        page = Path(folder) / "report.html"
        page.write_text(page_of(report_of(fleet(9, 30), NOW)), encoding="utf-8")
        made = []
        for scheme in ("light", "dark"):
            made.append(IMAGES / f"report-{scheme}.webp")
            chromium.open(page, colorScheme=scheme, viewport={"width": 1180, "height": 920})
            chromium.ask("picture", path=str(made[-1]))
        terminal = Path(folder) / "progress.html"
        terminal.write_text(progress_page(), encoding="utf-8")
        made.append(IMAGES / "progress.webp")
        chromium.open(terminal, colorScheme="dark", viewport={"width": 810, "height": 230})
        chromium.ask("picture", path=str(made[-1]))
    for picture in made:
        print(f"{picture} ({picture.stat().st_size // 1000} kB)")
    if sum(picture.stat().st_size for picture in made) > MOST_BYTES:
        sys.exit("pictures: too large")


if __name__ == "__main__":
    main()
