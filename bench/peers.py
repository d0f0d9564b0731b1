"""Modules to measure, ours and others', each as a process with its options in a file.

From the files of the checkout, as Python has compiled them once. Ansible sends a module in a zip, which is compiled anew for each
task: some 0.1 s more, for theirs as for ours.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import subprocess
import sys
import typing as t
from pathlib import Path

from bench.measure import Case

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".cache" / "peers"


def ours(name: str, folder: Path, /, *, environment: t.Mapping[str, str] | None = None, **options: t.Any) -> Case:
    """Return a run of one of our modules. Its options lie in ``folder``."""
    return _module(f"ansible_collections.lastgood.database.plugins.modules.{name}", folder, environment or {}, options)


def theirs(name: str, folder: Path, /, *, environment: t.Mapping[str, str] | None = None, **options: t.Any) -> Case:
    """Return a run of a community collection's module, such as ``community.general.archive``."""
    namespace, collection, module = name.split(".")
    path = f"ansible_collections.{namespace}.{collection}.plugins.modules.{module}"
    return _module(path, folder, {**(environment or {}), "PYTHONPATH": str(_installed())}, options)


def _module(path: str, folder: Path, environment: t.Mapping[str, str], options: t.Mapping[str, t.Any]) -> Case:
    arguments = folder / f"arguments{len(list(folder.glob('arguments*')))}.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    return Case([sys.executable, "-m", path, str(arguments)], environment)


@functools.cache
def _installed() -> Path:
    """Install the community's collections, unless they are there, and return where."""
    if not PEERS.exists():
        unfinished = PEERS.with_suffix(".unfinished")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(unfinished)]
        subprocess.run([*pip, "--requirement", str(ROOT / "requirements" / "peers.txt")], check=True)
        unfinished.rename(PEERS)
    return PEERS
