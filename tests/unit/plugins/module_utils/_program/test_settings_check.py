"""Settings that can't work are found before they are saved."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.settings_check import problems_of
from ansible_collections.lastgood.database.tests.support.specifications import program_documents

DOCUMENTS = program_documents()
SERVER = {"host": "h", "user": "u", "remote_directory": "b"}


def problems(**variables: Any) -> list[str]:
    given = {"backup_directory": "/b", "backup_sources": [{}], **variables}
    return problems_of(Settings("/s", "db7", {**DOCUMENTS["defaults"], **given}), DOCUMENTS)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"backup_retention": {}, "backup_sftp": {}, "backup_sftp_retention": {}},
        {"backup_sftp": SERVER, "backup_sftp_retention": {"keep_last": 3}},
        {"backup_sources": [{"directory": "/c", "per_database": {"app": {"retention": {"keep_last": 1}}}}]},
        {"backup_sources": [{"login_port": "5433", "skip_unchanged": "yes"}], "backup_max_age": {"backup": "26h"}},
    ],
)
def test_what_the_role_accepts_is_valid(variables: dict[str, Any]) -> None:
    assert problems(**variables) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"backup_retension": {}}, "no variable backup_retension. It may be backup_retention."),
        ({"something": 1}, "no variable something. Take it out."),
        ({"backup_sources": []}, "nothing to back up"),
        ({"backup_sources": [{"engin": "sqlite"}]}, "backup_sources.engin"),
        ({"backup_sources": [{"engine": "oracle"}]}, "engine must be one of"),
        ({"backup_sources": [{"login_port": "many"}]}, "login_port"),
        ({"backup_sources": [{}, {}], "backup_directory": ""}, "Source 2 has no directory."),
        ({"backup_sources": [{"per_database": {"app": {"formt": "plain"}}}]}, "Source 1, database app: formt"),
        ({"backup_sources": [{"per_database": {"app": 7}}]}, "the database app that are no options"),
        ({"backup_sources": [{"interval": "soon"}]}, "interval of source 1 is 'soon'"),
        ({"backup_interval": "5x"}, "backup_interval is '5x'"),
        ({"backup_max_age": {"drilled": "long"}}, "backup_max_age.drilled is 'long'"),
        ({"backup_retention": {"keep_last": 0}}, "backup_retention: No rule"),
        ({"backup_retention": {"keep_last": 1, "timezone": "Mars"}}, "no such time zone"),
        ({"backup_sources": [{"retention": {"keep_daily": -7}}]}, "The retention of source 1: "),
        ({"backup_sftp": {"host": "h"}}, "backup_sftp lacks user and remote_directory."),
        ({"backup_sftp": {**SERVER, "host_key_policy": "pinned"}}, "backup_sftp: host_key_policy is pinned"),
        ({"backup_sftp": {**SERVER, "timeout": "0s"}}, "backup_sftp: timeout is 0"),
    ],
)
def test_each_problem_is_named_with_what_to_do(variables: dict[str, Any], words: str) -> None:
    found = problems(**variables)
    assert any(words in problem for problem in found), found


def test_required_variables_are_those_of_a_backup() -> None:
    found = problems_of(Settings("/s", "db7", {}), DOCUMENTS)
    assert found == ["missing required arguments: backup_sources. Correct it."]


def test_no_problem_shows_a_secret() -> None:
    found = problems(backup_sources=[{"login_password": "hunter2", "engine": "hunter2"}])
    assert found and "hunter2" not in "".join(found)
