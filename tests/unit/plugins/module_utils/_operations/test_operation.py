"""Every operation has one signature and one outcome, and every module is one call of one operation."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import diff_of

COLLECTION = "ansible_collections.lastgood.database"
MODULES = sorted(Path(__file__).parents[5].joinpath("plugins", "modules").glob("*.py"))
ON_THE_CONTROLLER = ("backup_program", "backup_report", "backup_summary")  # these modules only refuse to run on a host


def operation_of(path: Path) -> str:
    """Return the name of the operation that a module ends with."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    [end] = [call for call in calls if ast.unparse(call.func) == "run_operation"]
    module, request_from, operation = map(ast.unparse, end.args)
    assert (module, request_from) == ("module", "request_from")
    return operation


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem not in ON_THE_CONTROLLER], ids=lambda path: path.stem)
def test_a_module_is_one_call_of_an_operation_that_has_the_signature_of_all(path: Path) -> None:
    module, verb = importlib.import_module(f"{COLLECTION}.plugins.modules.{path.stem}"), operation_of(path)
    operation = inspect.signature(getattr(module, verb))
    found = {name: parameter.annotation for name, parameter in operation.parameters.items()}
    assert (found, operation.return_annotation) == ({"request": f"{verb.capitalize()}Request", "context": "Context"}, "Outcome")
    request_from = inspect.signature(module.request_from)
    assert list(request_from.parameters) == ["params", "context"]
    assert request_from.return_annotation == f"t.Iterator[{verb.capitalize()}Request]"


def test_a_diff_is_a_line_for_each_thing_before_and_after() -> None:
    assert diff_of("/b", ["one"], []) == {"before_header": "/b", "after_header": "/b", "before": "one\n", "after": ""}
