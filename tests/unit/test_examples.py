"""Every example in the documents can be used as it is: Ansible accepts it, the modules and the role do, and so does a shell."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.splitter import parse_kv

from ansible_collections.lastgood.database.plugins.module_utils._program.command_line import options_from, parser_for, verb_first
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS
from ansible_collections.lastgood.database.tests.support.examples import (
    ROOT,
    Example,
    check_syntax,
    commands,
    examples,
    write_playbook,
)
from ansible_collections.lastgood.database.tests.support.specifications import (
    COLLECTION,
    module_names,
    module_problems,
    program_documents,
    role_problems,
    specification,
    task_problems,
    tasks_of,
)

# Those of pictures, of an SQL server and of other programs are for people.
LANGUAGES = {"console", "json", "python", "sql", "text", "yaml"}
YAML = examples("yaml")
CONSOLE = examples("console")
OF_SETTINGS = {"inventory_hostname", "version"}  # beside the role's variables, in the settings of the program
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)

each_yaml = pytest.mark.parametrize("example", YAML, ids=str)
each_console = pytest.mark.parametrize("example", CONSOLE, ids=str)


def test_each_example_has_a_language_so_that_it_is_checked() -> None:
    assert [f"{one} {one.language}" for one in examples() if one.language not in LANGUAGES] == []
    assert {one.page for one in YAML} >= {"README.md", "docs/operations.md", "docs/sftp.md", "roles/backup/README.md"}


@each_yaml
def test_an_example_in_yaml_is_accepted(example: Example, tmp_path: Path) -> None:
    document = yaml.safe_load(example.text)
    if isinstance(document, dict):
        assert variable_problems({name: value for name, value in document.items() if name not in OF_SETTINGS}) == []
        return
    assert [problem for task in tasks_of(document) for problem in task_problems(task)] == []
    assert [
        problem for play in document for role in play.get("roles", []) for problem in role_problems(role.get("vars", {}))
    ] == []
    check_syntax(tmp_path, write_playbook(tmp_path, "example", document))


def variable_problems(variables: dict[str, Any]) -> list[str]:
    """Return what is wrong with variables of the role, or options of modules."""
    options = {option for name in module_names() for option in specification(name)["argument_spec"]}
    unknown = [name for name in variables if not name.startswith(("ansible_", "backup_")) and name not in options]
    return [f"unknown: {name}" for name in unknown] + role_problems(variables)


def test_an_example_in_json_is_json() -> None:
    for example in examples("json"):
        json.loads(example.text)


def test_an_example_in_python_can_be_compiled() -> None:
    for example in examples("python"):
        compile(example.text, str(example), "exec")


@each_console
def test_a_shell_accepts_an_example(example: Example) -> None:
    done = subprocess.run(("sh", "-n"), input=example.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@each_console
def test_a_command_of_an_example_names_what_exists(example: Example, tmp_path: Path) -> None:
    for program, *arguments in commands(example.text):
        if program == "make":
            assert arguments[0] in TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
        elif program == "ansible":
            assert command_problems(arguments) == []
        elif program == "lastgood" or arguments[2:3] == ["lastgood"]:  # sudo -u USER lastgood
            check_program(arguments if program == "lastgood" else arguments[3:])
        elif program == "ansible-playbook" and arguments[0].startswith(f"{COLLECTION}."):
            check_syntax(tmp_path, arguments[0])


def check_program(arguments: list[str]) -> None:
    """Parse a command line of the program ``lastgood``, and check its options against the module."""
    word, rest = verb_first(arguments)
    assert word is not None
    verb, documents = VERBS[word], program_documents()
    given = parser_for(verb, documents).parse_args(rest)
    if verb.module is not None and not given.help:
        options_from(given, verb, documents)


def command_problems(arguments: list[str]) -> list[str]:
    """Return what is wrong with the task of an ad hoc command."""
    module, given = arguments[arguments.index("-m") + 1], ""
    if "-a" in arguments:
        given = arguments[arguments.index("-a") + 1]
    return task_problems({module: json.loads(given) if given.startswith("{") else parse_kv(given)})


# --- That these tests see what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"lastgood.database.db_backup": {"directory": "/b", "skip_unchange": True}}, "Supported parameters include"),
        ({"lastgood.database.db_dump": {}}, "no module"),
        ({"lastgood.database.backup_facts": {"directory": "/b", "newest": "five"}}, "cannot be converted"),
        ({"lastgood.database.backup_facts": {}}, "required"),
        ({"ansible.builtin.include_role": {"name": "lastgood.database.backup", "tasks_from": "drill"}}, "no entry point drill"),
        (
            {"ansible.builtin.include_role": {"name": "lastgood.database.backup"}, "vars": {"backup_retention": {"keep": 7}}},
            "Supported parameters include",
        ),
    ],
)
def test_a_task_that_would_be_refused_is_found(task: dict[str, Any], problem: str) -> None:
    assert any(problem in found for found in task_problems(task))


def test_options_that_exclude_each_other_are_found() -> None:
    assert module_problems("backup_facts", {"directory": "/b", "sftp": {"host": "backup.example.org", "user": "db7"}})


def test_a_variable_that_the_role_does_not_have_is_found() -> None:
    assert role_problems({"backup_directories": "/b"})
    assert variable_problems({"login_sockets": "/b"}) == ["unknown: login_sockets"]


def test_a_command_over_several_lines_is_one() -> None:
    assert commands("A=1 ansible x \\\n  -a 'b\nc'\nmake demo   # tries it\n") == [
        ["ansible", "x", "-a", "b\nc"],
        ["make", "demo"],
    ]
