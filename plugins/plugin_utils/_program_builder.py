"""Builds the program ``lastgood``: the collection's modules, and the parts of Ansible that they import, as one file.

The file is a zip archive that Python executes. Its bytes depend only on the collection and on ansible-core. The documentation is
converted to JSON, since a host may lack a library for YAML.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import io
import json
import typing as t
import zipfile
from pathlib import Path

import ansible.module_utils
import yaml

COLLECTION = "ansible_collections.lastgood.database"
ROOT = Path(__file__).resolve().parents[2]

_ANSIBLE = Path(ansible.module_utils.__file__).resolve().parents[1]
_START = f"{COLLECTION}.plugins.module_utils._program.start"
# Ansible imports these by computed names.
_PROFILES = "ansible.module_utils._internal._json._profiles"
_BY_NAME = (f"{_PROFILES}._module_legacy_c2m", f"{_PROFILES}._module_legacy_m2c")
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = f"""\
import os
import sys

if sys.version_info < (3, 9):
    sys.exit("lastgood: needs Python 3.9 or newer, and this is %s.%s." % sys.version_info[:2])

# Python reads the rest by this descriptor, so that a run is not disturbed when another version replaces the file.
opened = "/proc/self/fd/%d" % os.open(sys.path[0], os.O_RDONLY)
if os.path.exists(opened):
    sys.path[0] = opened

from {_START} import start

start()
"""
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a fixed time for every file, so that the bytes are reproducible


def program() -> bytes:
    """Return the bytes of the program."""
    files = {**_sources(), **_licences(), "__main__.py": _MAIN.encode(), "lastgood.json": _documents()}
    archive = io.BytesIO()
    archive.write(_SHEBANG)
    with zipfile.ZipFile(archive, "w") as target:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            target.writestr(entry, files[name], compresslevel=9)
    return archive.getvalue()


# --- Python's files ---------------------------------------------------------------------------------------------


def _sources() -> dict[str, bytes]:
    """Return the file that starts the program and all that it imports, also within functions, by the names of the files."""
    found: dict[str, bytes] = {}
    waiting = [_START, *_BY_NAME]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path, is_package = _file_of(name)
        if path is None and not is_package:
            continue  # a name within a module, or a module that this ansible-core lacks
        waiting += [name.rpartition(".")[0]] if "." in name else []
        source = b"" if path is None else path.read_bytes()
        found[name.replace(".", "/") + ("/__init__.py" if is_package else ".py")] = source
        waiting += [one for one in _imports(source, name, is_package) if _is_shipped(one)]
    return found


def _is_shipped(name: str) -> bool:
    return f"{name}.".startswith(("ansible.module_utils.", f"{COLLECTION}.plugins."))


def _file_of(name: str) -> tuple[Path | None, bool]:
    """Return the file of a module, and whether it is a package. It is None for a package without one, or of another project."""
    if name == "ansible" or f"{COLLECTION}.plugins".startswith(f"{name}."):
        return None, True
    if name == f"{COLLECTION}.plugins":
        return None, True
    if name.startswith(f"{COLLECTION}."):
        base = ROOT.joinpath(*name.removeprefix(f"{COLLECTION}.").split("."))
    else:
        base = _ANSIBLE.joinpath(*name.split(".")[1:])
    if base.is_dir():
        package = base / "__init__.py"
        return (package if package.exists() else None), True
    file = base.with_name(f"{base.name}.py")
    return (file if file.exists() else None), False


def _imports(source: bytes, name: str, is_package: bool) -> t.Iterator[str]:
    """Yield the full names of the modules that a file may import: ``from a import b`` yields ``a`` and ``a.b``."""
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                base = f"{parent}.{base}" if base else parent
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


# --- Licences ---------------------------------------------------------------------------------------------------


def _licences() -> dict[str, bytes]:
    """Return the licence of the collection, and those of ansible-core that its package includes."""
    found = {"LICENSES/GPL-3.0-or-later.txt": (ROOT / "LICENSES" / "GPL-3.0-or-later.txt").read_bytes()}
    for folder in sorted(_ANSIBLE.parent.glob("ansible_core-*.dist-info")):
        for path in sorted(folder.rglob("licenses/**/*")):
            if path.is_file() and path.name != "COPYING":  # the GPL, as above
                found[f"LICENSES/ansible-core/{path.name}"] = path.read_bytes()
    return found


# --- Documentation ----------------------------------------------------------------------------------------------


def _documents() -> bytes:
    """Return the program's version, the modules' documentation, and the role's variables, as JSON."""
    role = ROOT / "roles" / "backup"
    names = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    documents = {
        "version": _version(),
        "modules": {name: _documentation(name) for name in names},
        "role": _yaml(role / "meta" / "argument_specs.yml")["argument_specs"],
        "defaults": _yaml(role / "defaults" / "main.yml"),
    }
    return json.dumps(documents, sort_keys=False, ensure_ascii=False, separators=(",", ":")).encode()


def _version() -> str:
    """Return the collection's version, from the manifest of an installed collection or the galaxy.yml of a checkout."""
    manifest = ROOT / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_bytes())["collection_info"]["version"])
    return str(_yaml(ROOT / "galaxy.yml")["version"])


def _documentation(module: str) -> dict[str, t.Any]:
    """Return the documentation of a module, with the options of the fragments that it names."""
    document = yaml.safe_load(_texts_in(ROOT / "plugins" / "modules" / f"{module}.py")["DOCUMENTATION"])
    options: dict[str, t.Any] = document.get("options") or {}
    for fragment in document.get("extends_documentation_fragment", []):
        for option, described in _fragment(fragment)["options"].items():
            options[option] = {**described, **options.get(option, {})}  # the module's own description takes precedence
    return {
        "short_description": document["short_description"],
        "description": document["description"],
        "options": options,
    }


def _fragment(name: str) -> dict[str, t.Any]:
    """Return a documentation fragment by its name: ``lastgood.database._file``, or ``lastgood.database._file.part``."""
    file, _dot, part = name.removeprefix("lastgood.database.").partition(".")
    texts = _texts_in(ROOT / "plugins" / "doc_fragments" / f"{file}.py")
    fragment: dict[str, t.Any] = yaml.safe_load(texts[part.upper() or "DOCUMENTATION"])
    return fragment


def _texts_in(path: Path) -> dict[str, str]:
    """Return the constant texts in a Python file, by the names of their variables."""
    return {
        target.id: node.value.value
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _yaml(path: Path) -> t.Any:
    return yaml.safe_load(path.read_bytes())
