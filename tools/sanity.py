"""Run ansible-test sanity on a copy of the collection, under every Python of this machine.

ansible-test passes over a test whose tool is missing. Here that is a failure; a Python that this
machine has not is only reported.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import collection
import pythons
from ansible_test._internal.constants import SUPPORTED_PYTHON_VERSIONS
from ansible_test._internal.python_requirements import get_venv_packages

OLDEST = 9  # as in tests/config.yml

# ansible-test downloads pip for the environments it makes. Python brings one along.
BOOTSTRAP = """
import subprocess, sys
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
"""

PROGRESS = re.compile(r"^(Running sanity test|Installing requirements|Using cached pip)")
PASSED_OVER = re.compile(r"^WARNING: (?=.*(?:skip|not found))", re.IGNORECASE)
NO_SUCH_PYTHON = re.compile(r"on Python \S+ because it could not be found")


def main() -> int:
    found = pythons.find_all(OLDEST, max(map(_minor, SUPPORTED_PYTHON_VERSIONS)))
    _provide_pip()
    _configure_pip()
    run = subprocess.run(
        ["ansible-test", "sanity", "--color", "no", *sys.argv[1:]],
        cwd=collection.copy_to(collection.CACHE / "sanity"),
        env={**os.environ, "PATH": _path(found)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    output = [line for line in run.stdout.splitlines() if not PROGRESS.search(line)]
    good = run.returncode == 0 and not any(map(_is_passed_over, output))
    if not good:
        print(*output, sep="\n")
    print(f"{'ok  ' if good else 'FAIL'}  ansible-test sanity, {_report(found)}")
    return 0 if good else 1


def _report(found: list[pythons.Python]) -> str:
    """Return which Pythons the tests ran on, and which this machine lacks."""
    here = [str(python) for python in reversed(found)]
    wanted = [version for version in SUPPORTED_PYTHON_VERSIONS if _minor(version) >= OLDEST]
    missing = [version for version in wanted if version not in here]
    lacking = f", without {', '.join(missing)}" if missing else ""
    return f"with Python {', '.join(here)}{lacking}"


def _provide_pip() -> None:
    """Put pip where ansible-test looks for it before it downloads one."""
    for version in SUPPORTED_PYTHON_VERSIONS:
        pip = get_venv_packages(SimpleNamespace(version=version))["pip"]
        script = Path.home() / ".ansible/test/cache" / f"get_pip_{pip.replace('.', '_')}.py"
        if not script.exists():
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(BOOTSTRAP)


def _configure_pip() -> None:
    """Write down how pip is configured: ansible-test hides its environment from it."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    settings = {"quiet": "2"}
    for line in sorted(listing.splitlines(), key=_is_environment):  # which has the last word
        name, value = line.split("=", 1)
        settings[name.rpartition(".")[2]] = ast.literal_eval(value)
    config = configparser.RawConfigParser()
    config["global"] = settings
    path = Path.home() / ".config/pip/pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        config.write(file)  # may hold a password for the index


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def _is_environment(line: str) -> bool:
    return line.startswith(":env:")


def _path(found: list[pythons.Python]) -> str:
    """Return a PATH that leads to pythons that run.

    ansible-test takes the first pythonX.Y for good: a folder of shims must not come first.
    """
    own, *others = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join([own, *(str(python.path.parent) for python in found), *others])


def _is_passed_over(line: str) -> bool:
    return bool(PASSED_OVER.search(line)) and not NO_SUCH_PYTHON.search(line)


if __name__ == "__main__":
    sys.exit(main())
