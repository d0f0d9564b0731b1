"""The program ``lastgood`` as a host runs it: one file, with an empty environment, and without Ansible and a network.

program = Program.build(folder)
done = program.run("list", "--json", settings=path)
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.plugins.plugin_utils._program_builder import program as built

HANGS_AFTER_SECONDS = 120
NO_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")


@dataclass(frozen=True)
class Program:
    """The program, and the Python that runs it."""

    path: Path
    python: Path = Path(sys.executable)
    libraries: Path | None = None  # for PostgreSQL and SFTP
    network: bool = False

    @classmethod
    def build(cls, folder: Path) -> Program:
        path = folder / "lastgood"
        path.write_bytes(built())
        path.chmod(0o755)
        return cls(path)

    def with_libraries(self, folder: Path) -> Program:
        """Return the program with the libraries of this interpreter, except for Ansible."""
        for package in Path(sysconfig.get_path("purelib")).iterdir():
            if not package.name.startswith(("ansible", "__pycache__")) and package.suffix != ".pth":
                (folder / package.name).symlink_to(package)
        return replace(self, libraries=folder)

    @property
    def environment(self) -> dict[str, str]:
        path = "/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, **({"PYTHONPATH": str(self.libraries)} if self.libraries else {})}

    def command(self, *arguments: str) -> list[str]:
        """Return the command. Python finds no packages but the libraries: ``-S`` leaves out those of the installation."""
        isolated = ("-S",) if self.libraries else ("-S", "-I")
        return [*(() if self.network else NO_NETWORK), str(self.python), *isolated, str(self.path), *arguments]

    def run(
        self, *arguments: str, settings: Path | None = None, environment: Mapping[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        given = {} if settings is None else {"LASTGOOD_SETTINGS": str(settings)}
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **given, **(environment or {})},
            cwd="/",
            input=stdin,
            capture_output=True,
            text=True,
            timeout=HANGS_AFTER_SECONDS,
            check=False,
        )


def settings_file(folder: Path, **variables: Any) -> Path:
    """Write settings for a host called db7."""
    path = folder / "settings.json"
    path.write_text(json.dumps({"inventory_hostname": "db7", **variables}))
    path.chmod(0o600)
    return path
