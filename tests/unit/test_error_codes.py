"""docs/errors.md has each code of the source once, with what to do, and no other, in the sections of _errors.py."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_IN_SOURCE = re.compile(r'^ +code(?:: [^=]+)? = "([a-z_]+)"$|"code": "([a-z_]+)"', re.MULTILINE)
CODE_IN_ROLE = re.compile(r"'([a-z]+_(?:failed|invalid))'")
ROW = re.compile(r"^\| `([a-z_]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

# The code of the base class, which nothing raises itself.
UNUSED = {"backup_failed"}

HEADING_IN_SOURCE = re.compile(r"^# --- (.+?) -+$", re.MULTILINE)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
CONTROLLER = "On the controller"  # errors of an action plugin, which has no use for the classes


def codes_in_source() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py"))
    of_plugins = {one or other for source in sources for one, other in CODE_IN_SOURCE.findall(source)}
    of_role = set(CODE_IN_ROLE.findall((ROOT / "roles" / "backup" / "vars" / "main.yml").read_text(encoding="utf-8")))
    return (of_plugins | of_role) - UNUSED


def rows() -> list[tuple[str, str, str]]:
    return ROW.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))


def test_each_code_of_the_source_is_documented_once() -> None:
    assert sorted(code for code, _cause, _remedy in rows()) == sorted(codes_in_source())


def sections(text: str, heading: re.Pattern[str], code: re.Pattern[str]) -> dict[str, set[str]]:
    """Return the codes below each heading that has any, in order."""
    titles, bodies = heading.findall(text), heading.split(text)[2::2]
    found = {title: {groups[0] for groups in code.findall(body)} for title, body in zip(titles, bodies)}
    return {title: codes for title, codes in found.items() if codes}


def test_the_source_and_the_documentation_have_the_same_sections() -> None:
    source = (ROOT / "plugins" / "module_utils" / "_errors.py").read_text(encoding="utf-8")
    documented = sections((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), HEADING, ROW)
    del documented[CONTROLLER]
    assert list(sections(source, HEADING_IN_SOURCE, CODE_IN_SOURCE).items()) == list(documented.items())


def test_each_code_has_a_cause_and_a_remedy() -> None:
    assert all(cause.strip().endswith(".") and remedy.strip().endswith(".") for _code, cause, remedy in rows())


def test_nothing_raises_the_base_class() -> None:
    raised = re.compile(r"\bBackupError\(")
    sources = [path for path in (ROOT / "plugins").rglob("*.py") if path.name != "_errors.py"]
    assert not [path.name for path in sources if raised.search(path.read_text(encoding="utf-8"))]
