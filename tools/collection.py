"""The collection as its users get it: a real copy under its own name, and the artifact."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"


def copy_to(tree: Path) -> Path:
    """Copy what git would commit to <tree>/ansible_collections/lastgood/database, and return that.

    ansible-test refuses a link, and a copy holds nothing that only lies about in the checkout.
    What a tool keeps in tests/output from its last run stays.
    """
    collection = tree / "ansible_collections" / "lastgood" / "database"
    wanted = {collection / name: ROOT / name for name in _files()}
    for stale in set(_files_below(collection)) - set(wanted):
        stale.unlink()
    for target, source in wanted.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    # Without a repository of its own, git would take it for a folder that the checkout ignores.
    subprocess.run(["git", "init", "--quiet"], cwd=collection, check=True)
    return collection


def build() -> Path:
    """Build the artifact in .cache/dist, which holds nothing else, and return its path."""
    folder = CACHE / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    run = subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", str(folder)],
        cwd=copy_to(CACHE / "build"),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        sys.exit(run.stdout + run.stderr)
    (artifact,) = folder.glob("*.tar.gz")
    return artifact


def _files() -> list[str]:
    """Return the files git knows or would add, without those deleted in the work tree."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return [name for name in set(listing.split("\0")) if name and (ROOT / name).is_file()]


def _files_below(collection: Path) -> list[Path]:
    kept = {collection / ".git", collection / "tests" / "output"}
    return [path for path in collection.rglob("*") if kept.isdisjoint(path.parents) and (path.is_file() or path.is_symlink())]


if __name__ == "__main__":
    print(build())
