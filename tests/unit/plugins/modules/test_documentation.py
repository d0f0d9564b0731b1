"""What the modules say of themselves is what they are: documentation as ansible-doc reads it, held against the code."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.lastgood.database.tests.support.examples import check_syntax, write_playbook
from ansible_collections.lastgood.database.tests.support.specifications import (
    COLLECTION,
    collection_folder,
    module_names,
    specification,
    task_problems,
    tasks_of,
)

SFTP_SECRETS = {"password", "private_key", "key_passphrase"}
HAS_SECRETS = {
    "identity",
    "identity_passphrase",
    "login_password",
    "run_sql.statements",
    *SFTP_SECRETS,
    *(f"sftp.{option}" for option in SFTP_SECRETS),
}


@functools.cache
def documentation() -> dict[str, dict[str, Any]]:
    """Return what ansible-doc says of each module, documentation fragments and all."""
    names = [f"{COLLECTION}.{name}" for name in module_names()]
    done = subprocess.run(
        (sys.executable, "-m", "ansible", "doc", "--json", "--type", "module", *names),
        env={
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collection_folder().parents[2]),
            "ANSIBLE_NOCOLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return {name.rpartition(".")[2]: said for name, said in found.items()}


each_module = pytest.mark.parametrize("name", module_names())


@pytest.fixture
def told(name: str) -> dict[str, Any]:
    return specification(name)


@pytest.fixture
def options(name: str) -> dict[str, Any]:
    documented: dict[str, Any] = documentation()[name]["doc"]["options"]
    return documented


def flat(options: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the options with those of dicts beside them, as ``sftp.host``."""
    below = {f"{name}.{inner}": value for name, option in options.items() for inner, value in (option.get(key) or {}).items()}
    return {**options, **below}


@each_module
def test_every_option_is_documented_and_every_documented_option_is_there(told: dict[str, Any], options: dict[str, Any]) -> None:
    assert set(options) == set(told["argument_spec"])


@each_module
def test_each_option_is_what_its_documentation_says(told: dict[str, Any], options: dict[str, Any]) -> None:
    documentation_of = flat(options, "suboptions")
    assert set(documentation_of) == set(flat(told["argument_spec"], "options"))
    for option, spec in flat(told["argument_spec"], "options").items():
        documented = documentation_of[option]
        for key, default in (("type", "str"), ("elements", None), ("choices", None), ("default", None), ("required", False)):
            assert documented.get(key, default) == spec.get(key, default), f"{option}: {key}"
        assert documented.get("aliases", []) == spec.get("aliases", []), option


@each_module
def test_every_option_is_explained(options: dict[str, Any]) -> None:
    assert all("".join(documented["description"]).strip() for documented in options.values())


@each_module
def test_secrets_and_nothing_else_are_kept_out_of_logs(told: dict[str, Any]) -> None:
    spec = flat(told["argument_spec"], "options")
    hidden = {option for option, of_option in spec.items() if of_option.get("no_log")}
    assert hidden == HAS_SECRETS & set(spec)


@each_module
def test_check_mode_is_full_and_the_module_knows(name: str, told: dict[str, Any]) -> None:
    attributes = documentation()[name]["doc"]["attributes"]
    assert attributes["check_mode"]["support"] == "full"
    assert told["supports_check_mode"] is True
    assert attributes["diff_mode"]["support"] in ("full", "N/A")
    assert attributes["platform"]["platforms"] == "linux"


@each_module
def test_a_facts_module_says_that_it_returns_facts_and_returns_nothing_else(name: str) -> None:
    said = documentation()[name]
    if name.endswith("_facts"):
        assert said["doc"]["attributes"]["facts"]["support"] == "full"
        assert set(said["return"]) == {"ansible_facts", "error"}
    else:
        assert "facts" not in said["doc"]["attributes"]
        assert "ansible_facts" not in said["return"]


def keys_of(returned: dict[str, Any]) -> set[str]:
    return set(returned) | {key for value in returned.values() for key in keys_of(value.get("contains", {}))}


@each_module
def test_an_error_has_a_code_and_no_result_is_called_skipped(name: str) -> None:
    returned = documentation()[name]["return"]
    assert returned["error"]["contains"]["code"]["type"] == "str"
    assert "skipped" not in keys_of(returned)


@each_module
def test_each_example_is_what_the_modules_and_the_role_take(name: str) -> None:
    tasks = list(tasks_of(examples_of(name)))
    assert any(f"{COLLECTION}.{name}" in task for task in tasks)
    assert [problem for task in tasks for problem in task_problems(task)] == []


def test_ansible_reads_the_examples(tmp_path: Path) -> None:
    check_syntax(tmp_path, *(write_playbook(tmp_path, name, examples_of(name)) for name in module_names()))


def examples_of(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(documentation()[name]["examples"])
    return found


# --- Action groups ---------------------------------------------------------------------------------------------


def groups() -> dict[str, list[str]]:
    runtime = yaml.safe_load((collection_folder() / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = runtime["action_groups"]
    return found


def test_the_action_groups_have_exactly_the_modules_that_say_so() -> None:
    documented: dict[str, list[str]] = {}
    for name in module_names():
        attribute = documentation()[name]["doc"]["attributes"].get("action_group", {"membership": []})
        membership = attribute["membership"]
        for group in [membership] if isinstance(membership, str) else membership:
            documented.setdefault(group.removeprefix(f"{COLLECTION}."), []).append(name)
    assert groups() == documented


@pytest.mark.parametrize(("group", "option"), [("backup", "directory"), ("login", "login_host")])
def test_an_action_group_is_of_the_modules_with_its_option(group: str, option: str) -> None:
    assert groups()[group] == [name for name in module_names() if option in specification(name)["argument_spec"]]


def test_a_group_is_of_modules_that_are_there() -> None:
    assert {name for members in groups().values() for name in members} <= set(module_names())
