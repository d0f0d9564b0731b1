"""Build the program for hosts without a controller, as .cache/dist/lastgood."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import collection

from ansible_collections.lastgood.database.plugins.plugin_utils._program_builder import program


def build(folder: Path = collection.CACHE / "dist") -> Path:
    """Build the program in a folder, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lastgood"
    path.write_bytes(program())
    path.chmod(0o755)
    return path


if __name__ == "__main__":
    print(build())
