"""Run every static check. A check that passes says one line; one that fails, all it has to say."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import collection

# Galaxy's importer calls a bad collection a warning, and succeeds.
GALAXY_TROUBLE = re.compile(r"^(WARNING|ERROR|CRITICAL)", re.MULTILINE)
GALAXY_SETTINGS = {
    "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",  # has run already, with more rules
    "GALAXY_IMPORTER_RUN_ANSIBLE_TEST": "false",  # that is `make sanity`
    "GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP": os.environ["ANSIBLE_LOCAL_TEMP"],
}


@dataclass(frozen=True)
class Check:
    """A command that checks something."""

    name: str
    command: list[str]
    folder: Path = collection.ROOT
    settings: dict[str, str] = field(default_factory=dict)
    trouble: re.Pattern[str] | None = None

    def run(self) -> bool:
        """Run the command, report, and return whether all is well."""
        began = time.monotonic()
        run = subprocess.run(
            self.command,
            cwd=self.folder,
            env={**os.environ, **self.settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        good = run.returncode == 0 and not (self.trouble and self.trouble.search(run.stdout))
        seconds = time.monotonic() - began
        report = f"{'ok  ' if good else 'FAIL'}  {self.name} ({seconds:.1f}s)"
        print(report if good else f"{report}\n{run.stdout}", flush=True)
        return good


def checks() -> list[Check]:
    """Return all checks, the slowest first. Those that walk folders get a clean copy."""
    copy = collection.copy_to(collection.CACHE / "lint")
    tree = {"ANSIBLE_COLLECTIONS_PATH": str(collection.CACHE / "lint")}
    artifact = collection.build()
    return [
        Check(
            "galaxy-importer",
            [sys.executable, "-m", "galaxy_importer.main", str(artifact)],
            artifact.parent,
            GALAXY_SETTINGS,
            GALAXY_TROUBLE,
        ),
        Check("ansible-lint", ["ansible-lint", "--nocolor"], copy, tree),
        Check(
            "antsibull-docs",
            [
                *("antsibull-docs", "lint-collection-docs", "--plugin-docs"),
                *("--validate-collection-refs", "all", "--disallow-unknown-collection-refs", "."),
            ],
            copy,
            tree,
        ),
        Check("reuse", ["reuse", "lint", "--lines"]),
        Check("changelog fragments", ["antsibull-changelog", "lint"]),
        Check(
            "changelog",
            ["antsibull-changelog", "lint-changelog-yaml", "--strict", "changelogs/changelog.yaml"],
        ),
        Check("yamllint", ["yamllint", "--strict", "."]),
        Check("shellcheck", ["shellcheck", "tools/env", ".ci/run"]),
        Check("ruff format", ["ruff", "format", "--check", "--diff"]),
        Check("ruff check", ["ruff", "check"]),
    ]


def main() -> int:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(Check.run, checks()))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
