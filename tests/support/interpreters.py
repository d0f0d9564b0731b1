"""Interpreters to run modules with: other versions of Python, and one that an unprivileged user can run."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from ansible_collections.lastgood.database.tests.support.modules import COLLECTION, Host, collections_path
from tools.pythons import find_all

UNPRIVILEGED = 65534

# The packages that a module may import.
_PACKAGES = ("ansible", "psycopg2", "psycopg2_binary.libs", "pymysql", "isal", "zstandard")
_MODULE = f"{COLLECTION}.plugins.modules.db_backup"
_IMPORTS = f"import psycopg2, pymysql, {_MODULE}"


def other_pythons() -> list[tuple[str, Path]]:
    """Return the other versions of Python that the modules support and this machine has: name and path."""
    return [(str(one), one.path) for one in find_all(9, 14) if one.version != sys.version_info[:2]]


def make_host_of_another_python(python: Path, folder: Path) -> Host:
    """Return a host whose Python finds Ansible and the collection, and no other package of ours."""
    (folder / "ansible").symlink_to(_package("ansible"))
    return Host(python=python, search_path=(collections_path(), folder), environment={"PYTHONDONTWRITEBYTECODE": "1"})


def make_unprivileged_host(folder: Path) -> Host:
    """Return a host of an unprivileged user: the current one, or another if that is root.

    If that user can't reach our interpreter (as below a home folder of mode 0700), makes a copy in ``folder``.
    """
    if os.geteuid() != 0:
        return Host()
    host = Host(uid=UNPRIVILEGED)
    if _can_import(host):
        return host
    folder.chmod(0o755)
    host = _copy(folder)
    assert _can_import(host), f"{folder}: the copy of {sys.base_prefix} does not run"
    return host


def _can_import(host: Host) -> bool:
    try:
        done = subprocess.run(
            (host.python, "-c", _IMPORTS),
            env=host.environ(),
            cwd="/",
            capture_output=True,
            user=host.uid,
            group=host.uid,
            extra_groups=[],
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def _copy(folder: Path) -> Host:
    """Return a host with a copy of this interpreter and of modules' imports, hard links if possible."""
    base = Path(sys.base_prefix)
    prefix, packages = folder / "python", folder / "packages"
    python = prefix / "bin" / Path(sys.executable).resolve().name
    python.parent.mkdir(parents=True)
    _copy_file(Path(sys.executable).resolve(), python)
    for library in (base / "lib").glob("libpython*.so*"):
        (prefix / "lib").mkdir(exist_ok=True)
        _copy_file(library, prefix / "lib" / library.name)
    standard_library = Path(sysconfig.get_path("stdlib"))
    _copy_tree(standard_library, prefix / standard_library.relative_to(base), "site-packages", "test", "idlelib", "ensurepip")
    for name in _PACKAGES:
        if _package(name).is_dir():
            _copy_tree(_package(name), packages / name)
    plugins = Path(*COLLECTION.split("."), "plugins")
    _copy_tree(collections_path() / plugins, packages / plugins)
    return Host(
        python=python,
        search_path=(packages,),
        environment={"LD_LIBRARY_PATH": str(prefix / "lib")},
        uid=UNPRIVILEGED,
    )


def _package(name: str) -> Path:
    """Return a package's path. A wheel's libraries are beside it."""
    spec = importlib.util.find_spec("psycopg2" if name == "psycopg2_binary.libs" else name)
    assert spec is not None and spec.origin is not None, f"{name} is not installed"
    return Path(spec.origin).parent.with_name(name)


def _copy_tree(source: Path, target: Path, *without: str) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without), copy_function=_copy_file, symlinks=False)


def _copy_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
