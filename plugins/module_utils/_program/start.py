"""The start of the program ``lastgood``, which plugin_utils/_program_builder.py builds from this collection."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import sys
import typing as t
import zipfile

from ansible_collections.lastgood.database.plugins.module_utils._program.main import main


def start() -> t.NoReturn:
    """Execute the command line, and exit."""
    path = sys.path[0]  # the path of the archive that Python executes
    with zipfile.ZipFile(path) as archive:
        documents = json.loads(archive.read("lastgood.json"))
    raise SystemExit(main(sys.argv[1:], documents, path))
