"""Chooses among the programs of MariaDB and MySQL on the host. Those of the server's own product are preferred."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.connection import Product
from ansible_collections.lastgood.database.plugins.module_utils._errors import BackupError, ProgramMissing
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, run

Role = t.Literal["dump", "client", "server"]

# Both products install programs with the older names.
_NAMES: dict[Role, dict[Product, tuple[str, ...]]] = {
    "dump": {"MariaDB": ("mariadb-dump", "mysqldump"), "MySQL": ("mysqldump",)},
    "client": {"MariaDB": ("mariadb", "mysql"), "MySQL": ("mysql",)},
    "server": {"MariaDB": ("mariadbd", "mysqld"), "MySQL": ("mysqld",)},
}
_PACKAGES: dict[Role, dict[Product, str]] = {
    "dump": {
        "MariaDB": "mariadb-client (Debian, Ubuntu, SUSE, Alpine) or mariadb (RHEL, Fedora)",
        "MySQL": "mysql-client (Debian, Ubuntu) or mysql (RHEL, Fedora)",
    },
    "server": {
        "MariaDB": "mariadb-server, which need not run (Debian, Ubuntu, RHEL, Fedora), or mariadb (SUSE, Alpine)",
        "MySQL": "mysql-server, which need not run",
    },
}
_PACKAGES["client"] = _PACKAGES["dump"]
# Directories of servers that PATH may lack.
_DIRECTORIES = ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/usr/local/bin")
_VERSION = re.compile(rb"(?:Distrib|from|Ver) (\d+)\.(\d+)(?:\.(\d+))?[^,\s]*")
_ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Program:
    """A program, its product, and the version that it reports."""

    path: str
    product: Product
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{os.path.basename(self.path)} {'.'.join(map(str, self.version))} ({self.product})"


def names_of(role: Role, product: Product) -> tuple[str, ...]:
    """Return the names that the program of a product for a role may have."""
    return _NAMES[role][product]


def choose_program(runner: Runner, role: Role, product: Product, bin_directory: str | None) -> Program:
    """Return the program of a product for a role. Raises ProgramMissing if the host has none."""
    unusable: list[str] = []
    for path in _candidates(runner, role, product, bin_directory):
        try:
            program = _ask(runner, path)
        except BackupError as error:
            unusable.append(str(error).rstrip("."))
            continue
        if program.product == product:
            return program
        unusable.append(f"{path} is of {program.product}")
    where = "" if bin_directory is None else f" in {bin_directory}"
    raise ProgramMissing(
        f"The server is {product}, and there is no {_NAMES[role][product][0]} of it{where}"
        f"{': ' + '; '.join(unusable) if unusable else ''}.",
        f"Install {_PACKAGES[role][product]}, or say in bin_directory where it is.",
    )


def _candidates(runner: Runner, role: Role, product: Product, bin_directory: str | None) -> t.Iterator[str]:
    for name in _NAMES[role][product]:
        if bin_directory is not None:
            path = os.path.join(bin_directory, name)
            if os.path.exists(path):
                yield path
            continue
        on_path = runner.find_program(name)
        if on_path is not None:
            yield on_path
        for directory in _DIRECTORIES:
            path = os.path.join(directory, name)
            if path != on_path and os.path.exists(path):
                yield path


def _ask(runner: Runner, path: str) -> Program:
    said = run(runner, Command((path, "--no-defaults", "--version"), seconds=_ANSWER_SECONDS)).stdout
    product: Product = "MariaDB" if b"MariaDB" in said else "MySQL"
    # Programs of MariaDB report their own version before the product's.
    versions = _VERSION.findall(said)
    if not versions:
        raise ProgramMissing(f"{path} does not report its version.", "Find out what program it is, and remove or replace it.")
    return Program(path, product, tuple(int(part) for part in versions[-1] if part))
