"""Find the Python interpreters of this machine."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

# A version manager's shim may be there and yet run nothing, and a distribution may leave out venv:
# only what has run these imports counts. It answers with its real place, not the shim's.
PROBE = """
import ensurepip, json, sys, venv
real = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([sys.version_info[:2], sys.version_info.releaselevel == "final", real]))
"""


class Python:
    """An interpreter that really runs."""

    def __init__(self, version, path):
        self.version = tuple(version)
        self.path = Path(path)

    def __str__(self):
        return "{}.{}".format(*self.version)


def probe(command):
    """Return the interpreter that the command runs, or None where it runs none that is usable."""
    try:
        run = subprocess.run(
            [str(command), "-c", PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        version, final, path = json.loads(run.stdout.decode())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Python(version, path) if final else None


def find_all(oldest, newest):
    """Return the usable interpreters between two minor versions of Python 3, newest first."""
    names = [f"python3.{minor}" for minor in range(newest, oldest - 1, -1)]
    found = {}
    for folder in _folders():
        for name in [*names, "python3"]:
            if not (folder / name).exists():
                continue
            python = probe(folder / name)
            if python and (3, oldest) <= python.version <= (3, newest):
                found.setdefault(python.version, python)
    return [found[version] for version in sorted(found, reverse=True)]


def _folders():
    """Return where to look: PATH, and what pyenv keeps off it until it is activated."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    return [*on_path, *sorted(pyenv.glob("versions/3.*/bin"), reverse=True)]
