"""Make the pictures of the documentation, in docs/images. Needs what the tests of the report need: chromium, nodejs and npm."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import report_of
from ansible_collections.lastgood.database.plugins.plugin_utils._report.page import page_of
from ansible_collections.lastgood.database.tests.support.browser import browser, what_is_missing
from ansible_collections.lastgood.database.tests.support.report import NOW, fleet

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_BYTES = 150_000  # together: they are in the collection's artifact


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
    for picture in made:
        print(f"{picture} ({picture.stat().st_size // 1000} kB)")
    if sum(picture.stat().st_size for picture in made) > MOST_BYTES:
        sys.exit("pictures: too large")


if __name__ == "__main__":
    main()
