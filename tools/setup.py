"""Make .venv with the newest Python of this machine, and install what the demo or the tests need.

Does nothing when all is there already. Runs under any Python 3, with the standard library alone.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pythons

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UNFINISHED = VENV / ".unfinished"

# Each one builds on those before it.
ENVIRONMENTS = ("demo", "dev")
OLDEST, NEWEST = 11, 15
NEEDED = f"Version 3.{OLDEST} or newer is needed, with its modules venv and ensurepip (apt install python3-venv)."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environment", choices=ENVIRONMENTS)
    parser.add_argument("--python", help="the interpreter to use, instead of the newest")
    arguments = parser.parse_args()
    wanted = ENVIRONMENTS[: ENVIRONMENTS.index(arguments.environment) + 1]

    with _only_one():
        asked = _find(arguments.python) if arguments.python else None
        if not _usable(asked):
            _create(asked or _newest())
        for environment in wanted:
            if not _is_installed(environment):
                _install(environment)


def _only_one():
    """Return the open lock file: two makes at a time would break each other's environment."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    lock = (ROOT / ".cache" / "setup.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _usable(asked):
    """Return whether .venv runs, is complete, and is of the Python that was asked for, if any."""
    if UNFINISHED.exists() or not _stamp(ENVIRONMENTS[0]).exists():
        return False
    present = pythons.probe(VENV / "bin" / "python")
    return present is not None and (asked is None or asked.version == present.version)


def _find(command):
    """Return the interpreter of that name or path."""
    python = pythons.probe(command)
    if python is None:
        by_name = {f"python{python}": python for python in pythons.find_all(OLDEST, NEWEST)}
        python = by_name.get(command)
    if python is None or python.version < (3, OLDEST):
        sys.exit(f"setup: {command} is no usable Python. {NEEDED}")
    return python


def _newest():
    found = pythons.find_all(OLDEST, NEWEST)
    if not found:
        sys.exit(f"setup: there is no usable Python. {NEEDED}")
    return found[0]


def _create(python):
    print(f"setup: .venv with Python {python} ({python.path})", flush=True)
    shutil.rmtree(str(VENV), ignore_errors=True)
    _run([str(python.path), "-m", "venv", str(VENV)])


def _install(environment):
    """Install an environment's requirements. A run cut short is told by the file it leaves."""
    print(f"setup: installing requirements/{environment}.txt", flush=True)
    UNFINISHED.touch()
    requirements = ROOT / "requirements" / f"{environment}.txt"
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--requirement", str(requirements)])
    _stamp(environment).write_text(_fingerprint(environment))
    UNFINISHED.unlink()


def _is_installed(environment):
    stamp = _stamp(environment)
    return stamp.exists() and stamp.read_text() == _fingerprint(environment)


def _stamp(environment):
    return VENV / f".{environment}"


def _fingerprint(environment):
    """Return what an environment depends on: its requirements, and its place (scripts name it)."""
    requirements = (ROOT / "requirements" / f"{environment}.txt").read_bytes()
    return hashlib.sha256(requirements + str(VENV).encode()).hexdigest() + "\n"


def _run(command):
    """Run a command; its output is shown only when it fails."""
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if run.returncode != 0:
        sys.stderr.write(run.stdout.decode(errors="replace"))
        sys.exit(f"setup: failed: {' '.join(command)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; the next run begins anew")
