"""Searches for a secret, repeatedly, wherever another user of the machine could see it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def watching_for(secret: str, *folders: Path) -> Iterator[None]:
    """Search every process's arguments and environment and every file in the folders, during the ``with``.

    Raises AssertionError at its end with the places of the secret, plain or in base64.
    """
    needles = (secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")[:-1])
    seen: set[str] = set()
    rounds = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal rounds
        while not done.is_set():
            seen.update(_places(needles, folders))
            rounds += 1

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert rounds > 1
    assert seen == set()


def _places(needles: tuple[bytes, ...], folders: tuple[Path, ...]) -> Iterator[str]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            for file in ("cmdline", "environ"):
                yield from _if_in(needles, Path("/proc", entry, file))
    for folder in folders:
        for directory, _subdirectories, files in os.walk(folder):
            for file in files:
                yield from _if_in(needles, Path(directory, file))


def _if_in(needles: tuple[bytes, ...], path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if any(needle in content for needle in needles):
            yield f"{path}: {content[:200]!r}"
