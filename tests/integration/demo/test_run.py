"""The demonstration, as ``make demo`` shows it."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo import run

ROOT = Path(__file__).resolve().parents[3]


def test_it_goes_to_its_end_and_what_it_shows_is_so() -> None:
    done = subprocess.run((sys.executable, "-m", "demo.run"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    assert re.search(r"^ +host +database +source +level +verdict", done.stdout, re.MULTILINE)
    assert re.search(r"^ +demo +shop +\S+ +restore +passed +3 +20580 ", done.stdout, re.MULTILINE)
    assert done.stdout.count("customer 500 rows, product 80 rows, purchase 20000 rows") >= 3
    assert re.search(r"^ +demo +blog +\S+ +restore +passed +1 +300 ", done.stdout, re.MULTILINE)
    assert re.findall(r"post (\d+) rows", done.stdout) == ["300", "0", "300"]
    assert not (ROOT / ".cache" / "demo").exists()
    assert "Hosts: 1 safe." in done.stdout
    assert "<h1>All backups are safe</h1>" in Path(done.stdout.split()[-1]).read_text(encoding="utf-8")


def test_without_mariadb_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "find_mariadb", lambda: None)
    with contextlib.ExitStack() as stack:
        assert run.start_mariadb(stack) is None
    assert "mariadb-server" in capsys.readouterr().out
