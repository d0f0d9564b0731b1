"""Prometheus' own program, which reads metrics and rules as the server does."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path, stdin: bytes = b"") -> None:
    """Run promtool, and fail with its output. Skips the test if it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on this machine")
    done = subprocess.run((program, *arguments), input=stdin, capture_output=True, check=False)
    words = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, words
    assert "lint" not in words, words
