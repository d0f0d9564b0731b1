"""The examples in the documents: every fenced block of the README, of docs/ and of the role's README."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "roles" / "backup" / "README.md")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)$\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
PLAY_KEYS = {"hosts", "ansible.builtin.import_playbook"}
ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Example:
    """A fenced block, and where it is."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def examples(language: str | None = None) -> list[Example]:
    """Return the examples, of one language or of all."""
    return [one for page in PAGES for one in _of_page(page) if language in (None, one.language)]


def _of_page(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Example(str(page.relative_to(ROOT)), line, match["language"], textwrap.dedent(match["text"]))


def commands(script: str) -> list[list[str]]:
    """Return the words of each command of a script, without variables set before it; several lines may be one command."""
    found = []
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        try:
            words = shlex.split(text.replace("\\\n", " "), comments=True)
        except ValueError:  # inside a quotation
            continue
        if text.endswith("\\\n"):
            continue
        while words and ASSIGNMENT.match(words[0]):
            del words[0]
        if words:
            found.append(words)
        text = ""
    assert not text, text
    return found


def write_playbook(folder: Path, name: str, document: list[dict[str, Any]]) -> str:
    """Write plays, or a play of tasks, to a file, and return its name."""
    a_play = {"name": "Run the example", "hosts": "all", "gather_facts": False, "tasks": document}
    plays = document if PLAY_KEYS & set(document[0]) else [a_play]
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(plays), encoding="utf-8")
    return path.name


def check_syntax(folder: Path, *playbooks: str) -> None:
    """Check playbooks' syntax by ansible-playbook: a folder's or the collection's."""
    done = subprocess.run(
        (sys.executable, "-m", "ansible", "playbook", "--syntax-check", "--inventory", "db7,", *playbooks),
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
