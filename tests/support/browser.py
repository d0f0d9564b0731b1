"""A headless Chromium that tests drive, by Playwright from npm: the versions that tests/browser/package-lock.json pins."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests" / "browser"
MODULES = ROOT / ".cache" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page of a browser."""

    def __init__(self, driver: subprocess.Popen[str]) -> None:
        self._driver = driver

    def open(self, file: Path, **options: Any) -> float:
        """Open a file in a new context with Playwright's options, and return after how many seconds it was painted."""
        seconds: float = self.ask("open", url=file.as_uri(), options=options)
        return seconds

    def texts(self, selector: str) -> list[str]:
        """Return the text that each element shows."""
        texts: list[str] = self.ask("texts", selector=selector)
        return texts

    def ask(self, command: str, **values: Any) -> Any:
        """Send the driver a command, and return the value of its answer."""
        assert self._driver.stdin is not None and self._driver.stdout is not None
        print(json.dumps({"command": command, **values}), file=self._driver.stdin, flush=True)
        line = self._driver.stdout.readline()
        if not line:
            raise RuntimeError("the browser ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


def what_is_missing() -> str | None:
    """Return what this machine lacks for a browser to run, None if it lacks nothing."""
    for names in (("node",), ("npm",), BROWSERS):
        if not any(map(shutil.which, names)):
            return f"no {names[0]} on this machine"
    return None


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser, and end it."""
    [executable, *_others] = filter(None, map(shutil.which, BROWSERS))
    driver = subprocess.Popen(
        ("node", SOURCES / "drive.mjs", _modules(), executable), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdin is not None
        try:
            yield Browser(driver)
        finally:
            driver.stdin.close()  # the driver ends the browser, then itself
            try:
                driver.wait(20)
            except subprocess.TimeoutExpired:
                driver.kill()


def _modules() -> Path:
    """Return the folder with the modules from npm, after installing them by the lock file if they differ."""
    MODULES.mkdir(parents=True, exist_ok=True)
    stamp = MODULES / "stamp"
    with (MODULES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, MODULES)
            command = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
            subprocess.run(command, cwd=MODULES, check=True, stdout=subprocess.DEVNULL)
            stamp.write_text(wanted)
    return MODULES
