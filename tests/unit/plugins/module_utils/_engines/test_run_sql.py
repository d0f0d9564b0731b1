# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.run_sql import run_sql_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

GIVEN: dict[str, Any] = {"statements": None, "file": None, "as_owner": False, "timeout": None}


def convert(**given: Any) -> Any:
    return run_sql_from({"run_sql": {**GIVEN, **given}})


def test_statements_have_numbers_and_stay_hidden() -> None:
    sql = convert(statements=["a secret", "b"], as_owner=True, timeout="2m")
    assert [(one.title, one.text) for one in sql.texts] == [
        ("Statement 1 of run_sql", "a secret"),
        ("Statement 2 of run_sql", "b"),
    ]
    assert "a secret" not in repr(sql) and sql.seconds == 120
    assert sql.plan == "run_sql: 2 statements, as the owner"


def test_a_file_is_one_text(tmp_path: Path) -> None:
    path = tmp_path / "anonymise.sql"
    path.write_text("one;\ntw\u00f6;\n", encoding="utf-8")
    sql = convert(file=str(path))
    assert [one.text for one in sql.texts] == ["one;\ntw\u00f6;\n"]
    assert sql.plan == f"run_sql: the file {path}"
    assert sql.deadline() == float("inf")


def test_without_the_option_nothing_is_run() -> None:
    assert run_sql_from({"run_sql": None}) is None


@pytest.mark.parametrize(
    "given",
    [
        {"statements": []},
        {"statements": ["a", " "]},
        {"statements": ["a\0"]},
        {"statements": ["a"], "timeout": "0s"},
        {"file": "a"},
    ],
)
def test_what_is_no_sql_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match="run_sql"):
        convert(**given)


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/nonexistent/anonymise.sql", "latin"])
def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "latin").write_bytes(b"select '\xe9'")
    with pytest.raises(ArgumentInvalid):
        convert(file=str(tmp_path / path))


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sql")
    with pytest.raises(ArgumentInvalid, match="no regular file"):
        run_sql_from({"run_sql": {"statements": None, "file": str(tmp_path / "sql"), "as_owner": False, "timeout": None}})
