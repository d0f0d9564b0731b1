"""Observe what a run leaves behind: files and live processes."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_GIVE_UP_SECONDS = 60
_POLL_SECONDS = 0.01

LOCK = ".lastgood.lock"
STATUS = ".lastgood.status.json"
DIGEST_KEY = ".lastgood.key"
BOOKKEEPING = (LOCK, STATUS, DIGEST_KEY)
MANIFEST = ".manifest.json"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(_POLL_SECONDS)


def runs(pid: int) -> bool:
    """Return whether a process lives; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file in a folder, by name, without the files of bookkeeping."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and path.name not in BOOKKEEPING
    }


def state_of(top: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that is known of a tree: its files, with bytes, times, owner and mode."""
    return {str(path): _facts(path) for path in (top, *sorted(top.rglob("*")))}


def _facts(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    content: Any = None
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(found.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return (found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns, found.st_ctime_ns, content)


def payloads(folder: Path) -> list[Path]:
    """Return the files named as backups, the oldest first."""
    return sorted(path for path in folder.iterdir() if path.name.startswith("backup_") and not path.name.endswith(MANIFEST))


def payload(folder: Path) -> Path:
    """Return the only backup."""
    [only] = payloads(folder)
    return only


def manifest_path(of: Path) -> Path:
    return of.with_name(of.name + MANIFEST)


def manifest(of: Path) -> dict[str, Any]:
    values = json.loads(manifest_path(of).read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def rewrite_manifest(of: Path, **values: Any) -> None:
    manifest_path(of).write_text(json.dumps({**manifest(of), **values}), encoding="utf-8")


def leftovers(folder: Path) -> list[str]:
    """Return the names of files that only a run in progress has."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".") and path.name not in BOOKKEEPING)


def assert_whole(folder: Path) -> None:
    """Assert that each payload has a matching manifest, each manifest a payload, and nothing is left over."""
    assert leftovers(folder) == []
    for path in payloads(folder):
        said = manifest(path)
        data = path.read_bytes()
        assert (said["payload_bytes"], said["payload_sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    orphans = [path for path in folder.glob(f"*{MANIFEST}") if not path.with_name(path.name.removesuffix(MANIFEST)).exists()]
    assert orphans == []
