"""The arguments that the modules and the role accept by their code, and checks of documents' tasks against them.

A template stands for a value of any type, since only a run would know it.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.lastgood.database.plugins.plugin_utils import _program_builder

COLLECTION = "lastgood.database"
ROLE = f"{COLLECTION}.backup"
ROLE_ACTIONS = tuple(f"ansible.builtin.{verb}_role" for verb in ("include", "import"))
BLOCKS = ("block", "rescue", "always")
RULES = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")


@functools.cache
def collection_folder() -> Path:
    """Return the collection's folder, under the name by which Ansible finds it."""
    spec = importlib.util.find_spec(f"ansible_collections.{COLLECTION}.plugins")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))).parent


def module_names() -> list[str]:
    return sorted(path.stem for path in (collection_folder() / "plugins" / "modules").glob("*.py"))


@functools.cache
def program_documents() -> dict[str, Any]:
    """Return what the program ``lastgood`` knows about itself."""
    found: dict[str, Any] = json.loads(_program_builder._documents())
    return found


class _Caught(Exception):
    """A module's arguments to AnsibleModule."""


@functools.cache
def specification(name: str) -> dict[str, Any]:
    """Return what a module passes to AnsibleModule when it starts. Ends the module then."""

    def catch(**passed: Any) -> None:
        raise _Caught(passed)

    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AnsibleModule", catch)
        patch.setattr(module, "hold_signals", lambda: None, raising=False)  # nothing would unblock them
        with pytest.raises(_Caught) as caught:
            module.main()
    passed: dict[str, Any] = caught.value.args[0]
    return passed


@functools.cache
def entry_points() -> dict[str, dict[str, Any]]:
    """Return the role's argument specs, by entry point."""
    text = (collection_folder() / "roles" / "backup" / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["argument_specs"]
    return found


@functools.cache
def role_variables() -> dict[str, Any]:
    """Return the variables of all entry points, each with the choices of all. None is required: an example shows some."""
    every: dict[str, Any] = {}
    for point in entry_points().values():
        for name, option in point["options"].items():
            choices = [*every.get(name, {}).get("choices", []), *option.get("choices", [])]
            every[name] = {**option, "choices": choices} if choices else option
    return {name: {key: value for key, value in option.items() if key != "required"} for name, option in every.items()}


def module_problems(name: str, arguments: dict[str, Any]) -> list[str]:
    """Return why a module would refuse these arguments."""
    passed = specification(name)
    rules = {rule: passed[rule] for rule in RULES if passed.get(rule)}
    return _problems(f"{COLLECTION}.{name}", passed["argument_spec"], arguments, rules)


def role_problems(variables: dict[str, Any], *, entry_point: str | None = None) -> list[str]:
    """Return why the role would refuse these variables; ignores those of others, such as ``ansible_become``."""
    known = role_variables() if entry_point is None else entry_points()[entry_point]["options"]
    ours = {name: value for name, value in variables.items() if name.startswith("backup_") and name != "backup_hosts"}
    spec = {name: option for name, option in role_variables().items() if name in known and name in ours}
    return _problems(f"{ROLE} {entry_point or ''}".strip(), spec, ours, {})


def tasks_of(document: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a list of plays or tasks, those in blocks too."""
    for item in document:
        inner = [key for key in ("pre_tasks", "tasks", "post_tasks", "handlers", *BLOCKS) if key in item]
        for key in inner:
            yield from tasks_of(item[key])
        if not inner:
            yield item


def task_problems(task: dict[str, Any]) -> list[str]:
    """Return why a task would be refused."""
    problems = []
    for key, arguments in task.items():
        module = key.removeprefix(f"{COLLECTION}.")
        if key.startswith(f"{COLLECTION}."):
            problems += module_problems(module, arguments or {}) if module in module_names() else [f"no module {key}"]
        elif key in ROLE_ACTIONS and arguments["name"] == ROLE:
            entry_point = arguments.get("tasks_from", "main")
            if entry_point in entry_points():
                problems += role_problems(task.get("vars", {}), entry_point=entry_point)
            else:
                problems.append(f"{ROLE} has no entry point {entry_point}")
    return problems


def _problems(title: str, spec: dict[str, Any], arguments: dict[str, Any], rules: dict[str, Any]) -> list[str]:
    templates = {name for name, value in arguments.items() if isinstance(value, str) and "{{" in value}
    loosened = {name: {"type": "raw"} if name in templates else option for name, option in spec.items()}
    validated = ArgumentSpecValidator(loosened, **rules).validate(arguments)
    return [f"{title}: {message}" for message in validated.error_messages]
