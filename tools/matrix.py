"""Run the unit tests, the sanity tests and the role's scenarios under each ansible-core that the collection supports.

Each has an environment of its own in .cache/matrix, with the newest Python of this machine that it supports. A version
for which this machine has no Python is reported. Continuous integration (CI=true) takes that for a failure.

With --oldest only the oldest version that this machine can run, without the sanity tests, which take the longest.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pythons

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "matrix"
REQUIREMENTS = ROOT / "requirements" / "matrix.txt"
INCLUDED = ROOT / "requirements" / "demo.txt"  # by a line of matrix.txt

# The minor versions of Python 3 under which a controller runs.
# https://docs.ansible.com/ansible/latest/reference_appendices/release_and_maintenance.html
CORES = {
    "2.16": range(10, 13),
    "2.17": range(10, 13),
    "2.18": range(11, 14),
    "2.19": range(11, 14),
    "2.20": range(12, 15),
    "2.21": range(12, 15),
}

NO_SKIPS = ("-p", "ansible_collections.lastgood.database.tests.plugins.no_skips")
CHECKS = {
    "unit tests": ("python", "-m", "pytest", *NO_SKIPS, "-q", "-n", "auto", "tests/unit"),
    "sanity": ("python", "tools/sanity.py"),
    "scenarios": ("molecule", "test", "--all"),
}
QUICK = ("unit tests", "scenarios")


@dataclass(frozen=True)
class Environment:
    """A version of ansible-core, and the Python that runs it."""

    core: str
    python: pythons.Python

    @property
    def folder(self) -> Path:
        return CACHE / self.core

    def make(self) -> None:
        """Make the environment, unless it is complete."""
        complete = self.folder / ".complete"
        recipe = f"{self.python} {REQUIREMENTS.read_text()} {INCLUDED.read_text()}"
        if complete.exists() and complete.read_text() == recipe:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        _run([str(self.python.path), "-m", "venv", str(self.folder)])
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", f"ansible-core~={self.core}.0", "--requirement", str(REQUIREMENTS)])
        complete.write_text(recipe)

    def check(self, name: str) -> bool:
        """Run one of the checks, report, and return whether it passed. What fails says all that it has to say."""
        began = time.monotonic()
        environment = {**os.environ, "COLLECTION_VENV": str(self.folder)}
        run = subprocess.run(
            ["tools/env", *CHECKS[name]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        passed = run.returncode == 0
        seconds = time.monotonic() - began
        report = f"{'ok  ' if passed else 'FAIL'}  ansible-core {self.core}, Python {self.python}: {name} ({seconds:.0f}s)"
        print(report if passed else f"{run.stdout}\n{report}", flush=True)
        return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cores", nargs="*", metavar="CORE", help=f"some of {', '.join(CORES)}; all where none is given")
    parser.add_argument("--oldest", action="store_true", help="the oldest one that this machine can run, without sanity")
    arguments = parser.parse_args()
    cores = arguments.cores or list(CORES)
    if unknown := set(cores) - set(CORES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")

    found = pythons.find_all(min(map(min, CORES.values())), max(map(max, CORES.values())))
    environments, lacking = [], []
    for core in cores:
        python = next((one for one in found if one.version[1] in CORES[core]), None)
        environments += [Environment(core, python)] if python else []
        lacking += [] if python else [core]

    _report_lacking(lacking)
    if arguments.oldest:
        return 0 if environments and _passed(environments[:1], QUICK) else 1
    return 0 if _passed(environments, CHECKS) and not (lacking and os.environ.get("CI") == "true") else 1


def _passed(environments: list[Environment], checks: Iterable[str]) -> bool:
    """Run checks in each environment, whatever failed before, and return whether all passed."""
    passed = True
    for environment in environments:
        environment.make()
        for name in checks:
            passed = environment.check(name) and passed
    return passed


def _report_lacking(cores: list[str]) -> None:
    for core in cores:
        minors = CORES[core]
        print(f"----  ansible-core {core}: not run, this machine has no Python from 3.{minors[0]} to 3.{minors[-1]}")


def _run(command: list[str]) -> None:
    """Run a command; show its output only when it fails."""
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{run.stdout}\nmatrix: failed: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
