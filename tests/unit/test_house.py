"""The order of the house: a file imports from its own room and the floors below, never from another room of its floor."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
PREFIX = "ansible_collections.lastgood.database.plugins."

# From the top down: the floors of the house, and the rooms of each. A room is a folder or a file.
FLOORS = (
    ("module_utils._program",),
    ("modules", "action"),
    ("module_utils._ansible", "plugin_utils"),
    ("module_utils._operations", "module_utils._arguments", "module_utils._overview"),
    ("module_utils._engines", "module_utils._archives", "module_utils._retention", "module_utils._progress_line"),
    ("module_utils._metadata", "module_utils._sandbox", "module_utils._background"),
    ("module_utils._stores", "module_utils._codecs", "module_utils._stopping", "module_utils._progress"),
    ("module_utils._scratch",),
    ("module_utils._process", "module_utils._syscalls", "module_utils._locks", "module_utils._space", "module_utils._parameters"),
    (
        "module_utils._errors",
        "module_utils._access",
        "module_utils._io",
        "module_utils._lane",
        "module_utils._collector",
        "module_utils._digests",
    ),
    ("module_utils._text",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Folders of one room, each of another database, codec or kind of store: none knows of another.
PARTS = [
    f"module_utils.{room}.{folder.name}"
    for room in ("_engines", "_codecs", "_stores")
    for folder in sorted((PLUGINS / "module_utils" / room).iterdir())
    if folder.is_dir() and folder.name != "__pycache__"
]
BODY_ON_THE_LINE = re.compile(r"^ *(?:def |\)).*: \.\.\.$", re.MULTILINE)
ANSIBLE = {"ansible", "jinja2", "markupsafe", "yaml"}  # and the libraries that a controller has because Ansible needs them
KNOW_ANSIBLE = {"modules", "action", "plugin_utils", "module_utils._ansible"}
LAZY = {"psycopg2", "pymysql", "isal", "blake3", "zstandard", "compression", "pyrage", "paramiko", "cryptography"}
# What Ansible's own run_command is there for, and what its packer can't follow.
FORBIDDEN = {"subprocess", "multiprocessing", "importlib", "pty", "popen2"}
MAY_FORK = {"module_utils._background", "module_utils._program"}  # to do a module's work in a child
FORBIDDEN_CALLS = {"__import__", "eval", "exec", "os.system", "os.popen", "os.fork", "os.execv", "os.posix_spawn"}


def room_of(name: str) -> str | None:
    """Return the room in which a module of ours is, None where the house has no such room."""
    return next((room for room in FLOOR_OF if name == room or name.startswith(f"{room}.")), None)


def part_of(name: str) -> str | None:
    """Return the folder of a divided room in which a module of ours is, such as ``module_utils._stores.sftp``."""
    return next((part for part in PARTS if name == part or name.startswith(f"{part}.")), None)


class Imports(ast.NodeVisitor):
    """Collects what a file imports, and whether that happens as soon as it is imported itself."""

    def __init__(self) -> None:
        self.found: list[tuple[str, bool]] = []
        self._at_once = True

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, self._at_once) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.found.append(("." * node.level + (node.module or ""), self._at_once))
            return
        assert node.module is not None
        ours = node.module + "."
        if ours.startswith(PREFIX) and room_of(ours.removeprefix(PREFIX).rstrip(".")) is None:
            # "from ....module_utils import _process" names the room only behind "import".
            self.found += [(f"{node.module}.{alias.name}", self._at_once) for alias in node.names]
        else:
            self.found.append((node.module, self._at_once))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._later(node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._later(node.body)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("t.TYPE_CHECKING", "TYPE_CHECKING"):
            self._later(node.body)
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def _later(self, statements: list[ast.stmt]) -> None:
        before, self._at_once = self._at_once, False
        for statement in statements:
            self.visit(statement)
        self._at_once = before


def complaints(name: str, source: str) -> Iterator[str]:
    """Yield what is wrong with a file of that name, such as ``module_utils._codecs.gzip``."""
    room = room_of(name)
    if room is None:
        yield f"{name} is in no room of the house"
        return
    tree = ast.parse(source)
    imports = Imports()
    imports.visit(tree)
    for imported, at_once in imports.found:
        top = imported.partition(".")[0]
        if imported.startswith("."):
            yield f"{name} imports {imported}, and not by its whole name"
        elif imported.startswith(PREFIX):
            other = room_of(imported.removeprefix(PREFIX))
            if other is None:
                yield f"{name} imports {imported}, which is in no room"
            elif other != room and FLOOR_OF[other] < FLOOR_OF[room]:
                yield f"{name} imports {imported}, which is above it"
            elif other != room and FLOOR_OF[other] == FLOOR_OF[room]:
                yield f"{name} imports {imported}, which is another room of its floor"
            elif (part := part_of(name)) and (other_part := part_of(imported.removeprefix(PREFIX))) and part != other_part:
                yield f"{name} imports {imported}, which is another part of its room"
        elif top in FORBIDDEN and imported != "importlib.metadata":  # which imports nothing, but tells versions
            yield f"{name} imports {imported}, which nothing here may"
        elif top in LAZY:
            if at_once:
                yield f"{name} imports {imported} before it is needed"
        elif top in ANSIBLE:
            if at_once and room not in KNOW_ANSIBLE:
                yield f"{name} imports {imported}, and is not to know of it"
        elif top not in sys.stdlib_module_names:
            yield f"{name} imports {imported}, which is not ours, not Ansible's and not the standard library's"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN_CALLS:
            if room in MAY_FORK and ast.unparse(node.func) == "os.fork":
                continue
            yield f"{name} calls {ast.unparse(node.func)}"


@functools.cache
def files() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PLUGINS).with_suffix("").parts): path
        for folder in ("modules", "action", "plugin_utils", "module_utils")
        for path in sorted((PLUGINS / folder).rglob("*.py"))
    }


@pytest.mark.parametrize("name", files())
def test_a_file_keeps_to_the_order_of_the_house(name: str) -> None:
    assert list(complaints(name, files()[name].read_text(encoding="utf-8"))) == []


ENGINES = sorted({name.split(".")[2] for name in files() if name.startswith("module_utils._engines.") and name.count(".") > 2})


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_registry_knows_an_engine(engine: str) -> None:
    folder = f"module_utils._engines.{engine}"
    outside = [name for name in files() if not name.startswith(f"{folder}.")]
    known_by = {name for name in outside if f"{PREFIX}{folder}." in files()[name].read_text(encoding="utf-8")}
    assert known_by == {"module_utils._engines.registry"}


@pytest.mark.parametrize("codec", sorted({name.split(".")[2] for name in files() if name.endswith(".compression")}))
def test_only_the_registry_knows_a_codec(codec: str) -> None:
    folder = f"module_utils._codecs.{codec}"
    outside = [name for name in files() if not name.startswith(f"{folder}.")]
    known_by = {name for name in outside if f"{PREFIX}{folder}." in files()[name].read_text(encoding="utf-8")}
    assert known_by == {"module_utils._codecs.registry"}


def test_no_body_is_on_the_line_of_its_signature() -> None:
    """pycodestyle of ansible-core 2.16 refuses it (E704), and ruff, which would not keep it on two lines, does not report it."""
    found = [path.name for path in PLUGINS.rglob("*.py") if BODY_ON_THE_LINE.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_every_room_of_every_floor_has_files() -> None:
    assert {room_of(name) for name in files()} == set(FLOOR_OF)


UTILS = f"{PREFIX}module_utils"


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("module_utils._process", f"from {UTILS}._ansible import ModuleRunner", "above it"),
        ("module_utils._process", f"def f():\n    from {UTILS}._ansible import ModuleRunner", "above it"),
        ("module_utils._process", f"if t.TYPE_CHECKING:\n    from {UTILS}._codecs.base import Codec", "above it"),
        ("module_utils._codecs.gzip", f"import {UTILS}._engines.sqlite", "above it"),
        ("module_utils._codecs.gzip", f"from {UTILS} import _stores", "another room of its floor"),
        (
            "module_utils._engines.base",
            f"def f():\n    from {UTILS}._archives.zip import Zip",
            "another room of its floor",
        ),
        ("module_utils._arguments.stores", f"from {UTILS}._operations import prune", "another room of its floor"),
        ("modules.backup_prune", f"from {PREFIX}action.backup_summary import ActionModule", "another room of its floor"),
        ("module_utils._stores.local.store", f"from {UTILS}._metadata.names import parse", "above it"),
        ("module_utils._operations.dump", f"from {PREFIX}plugin_utils._play import is_in_lockstep", "above it"),
        ("module_utils._stores.sftp.store", f"from {UTILS}._stores.local.store import LocalStore", "another part of its room"),
        ("module_utils._engines.sqlite.dump", f"from {UTILS}._engines.postgresql import sql", "another part of its room"),
        ("module_utils._errors", f"from {PREFIX}modules.db_backup import main", "above it"),
        ("module_utils._errors", f"from {UTILS}._new import x", "in no room"),
        ("module_utils._new", "", "in no room of the house"),
        ("module_utils._codecs.gzip", "from .base import Codec", "not by its whole name"),
        ("module_utils._process", "import subprocess", "which nothing here may"),
        ("module_utils._process", "def f():\n    from subprocess import run", "which nothing here may"),
        ("module_utils._process", "import importlib.util", "which nothing here may"),
        ("module_utils._process", "os.system('x')", "calls os.system"),
        ("module_utils._process", "__import__('x')", "calls __import__"),
        ("module_utils._engines.postgresql", "import psycopg2.extensions", "before it is needed"),
        ("module_utils._engines.postgresql", "try:\n    import psycopg2\nexcept ImportError:\n    pass", "before it is needed"),
        ("module_utils._codecs.gzip", "class C:\n    from isal import isal_zlib", "before it is needed"),
        ("module_utils._codecs.gzip", "if not t.TYPE_CHECKING:\n    import zstandard", "before it is needed"),
        ("module_utils._process", "from ansible.module_utils.basic import AnsibleModule", "is not to know of it"),
        ("modules.db_backup", f"from {UTILS}._program.main import main", "above it"),
        ("module_utils._process", "import requests", "not the standard library's"),
    ],
)
def test_disorder_is_seen(name: str, source: str, words: str) -> None:
    [complaint] = complaints(name, source)
    assert words in complaint


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "action.backup_summary",
            f"from {PREFIX}module_utils._overview.summary import summary\nfrom ansible.plugins.action import ActionBase",
        ),
        ("module_utils._stores.local.store", f"from {UTILS}._stores.base import Store\nfrom {UTILS}._stores.local import paths"),
        ("module_utils._engines.registry", f"from {UTILS}._engines.sqlite.engine import SqliteEngine"),
        ("modules.db_backup", f"from {UTILS}._ansible import run_module\nfrom ansible.module_utils.basic import AnsibleModule"),
        ("module_utils._codecs.gzip", f"from {UTILS}._codecs.base import Codec\nfrom {UTILS}._process import Runner"),
        ("module_utils._codecs.gzip", f"def f():\n    import isal\n\nfrom {UTILS} import _process"),
        ("module_utils._engines.postgresql", "if t.TYPE_CHECKING:\n    import psycopg2"),
        ("module_utils._errors", "import os, typing as t"),
    ],
)
def test_order_is_let_be(name: str, source: str) -> None:
    assert list(complaints(name, source)) == []


# A file name needs the names and suffixes of the compressions and encryptions. They are in their faces, apart from what does
# the work.
CODECS = sorted(
    name.removeprefix("module_utils.")
    for name in files()
    if name.startswith("module_utils._codecs.")
    and not name.endswith((".base", ".registry", ".encoding", ".compression", ".encryption"))
)


@pytest.mark.parametrize(
    ("module", "rooms"),
    [
        ("backup_facts", ["_archives", *CODECS, "_engines", "_stores.sftp"]),
        ("backup_metrics", ["_archives", *CODECS, "_engines", "_stores.sftp"]),
        ("backup_prune", ["_archives", *CODECS, "_engines", "_stores.sftp"]),
        ("db_backup", ["_archives", "_engines.postgresql.restore", "_engines.postgresql.examination", "_stores.sftp"]),
    ],
)
def test_a_module_loads_only_what_it_needs_since_a_target_compiles_it_anew_each_time(module: str, rooms: list[str]) -> None:
    loaded = loaded_by(module)
    assert f"{PREFIX}modules.{module}" in loaded
    assert [name for name in loaded if name.startswith(tuple(f"{PREFIX}module_utils.{room}" for room in rooms))] == []


@pytest.mark.parametrize("module", ["backup_verify", "db_restore"])
def test_pools_of_threads_are_loaded_with_a_module_since_a_program_may_start_just_as_the_first_is_made(module: str) -> None:
    assert "concurrent.futures.thread" in loaded_by(module)


def loaded_by(module: str) -> list[str]:
    """Return the names of what Python has loaded once it has one of our modules."""
    script = f"import sys, {PREFIX}modules.{module}; print(*sys.modules, sep='\\n')"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
