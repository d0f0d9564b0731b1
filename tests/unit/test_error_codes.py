# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/errors.md has each code of the source once, with what to do, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_IN_SOURCE = re.compile(r'^ +code(?:: [^=]+)? = "([a-z_]+)"$|"code": "([a-z_]+)"', re.MULTILINE)
ROW = re.compile(r"^\| `([a-z_]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

# The code of the base class, which nothing raises itself.
UNUSED = {"backup_failed"}


def codes_in_source() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py"))
    return {one or other for source in sources for one, other in CODE_IN_SOURCE.findall(source)} - UNUSED


def rows() -> list[tuple[str, str, str]]:
    return ROW.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))


def test_each_code_of_the_source_is_documented_once() -> None:
    assert sorted(code for code, _cause, _remedy in rows()) == sorted(codes_in_source())


def test_each_code_has_a_cause_and_a_remedy() -> None:
    assert all(cause.strip().endswith(".") and remedy.strip().endswith(".") for _code, cause, remedy in rows())


def test_nothing_raises_the_base_class() -> None:
    raised = re.compile(r"\bBackupError\(")
    sources = [path for path in (ROOT / "plugins").rglob("*.py") if path.name != "_errors.py"]
    assert not [path.name for path in sources if raised.search(path.read_text(encoding="utf-8"))]
