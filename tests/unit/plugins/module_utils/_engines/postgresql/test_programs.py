"""Which of the programs on a host is taken: small real programs that say which version they are."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import programs
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.programs import (
    Program,
    choose_program,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ProgramMissing

Says = Callable[..., str]


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the host be one whose programs are all below tmp_path: in lib/<version>/bin, and on PATH in bin."""
    monkeypatch.setattr(programs, "_VERSIONED_DIRECTORIES", (f"{tmp_path}/lib/*/bin", f"{tmp_path}/lib/pgsql-*/bin"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")


@pytest.fixture
def says(shell_program: Callable[..., str]) -> Says:
    """Make a pg_dump of that version in a directory, and return its path."""
    return lambda version, directory="bin": shell_program("pg_dump", f"echo 'pg_dump (PostgreSQL) {version}'", directory)


@pytest.fixture
def choose(runner: ModuleRunner) -> Callable[..., Program]:
    def do(version: str, bin_directory: str | Path | None = None) -> Program:
        directory = None if bin_directory is None else str(bin_directory)
        return choose_program(runner, "pg_dump", version, int(version.split(".")[0]), directory)

    return do


@pytest.mark.parametrize("order", [["15", "16", "18"], ["18", "16", "15"]])
def test_the_servers_own_major_version_comes_first(says: Says, choose: Callable[..., Program], order: list[str]) -> None:
    paths = {major: says(f"{major}.4", f"lib/{name}/bin") for name, major in zip("abc", order, strict=True)}
    says("17.1")
    assert choose("16.2") == Program(paths["16"], "16.4", 16)


def test_the_own_version_on_path_comes_before_a_newer_one_elsewhere(says: Says, choose: Callable[..., Program]) -> None:
    says("18.4", "lib/18/bin")
    path = says("16.4")
    assert choose("16.2").path == path


@pytest.mark.parametrize("order", [["15", "17", "18"], ["18", "17", "15"]])
def test_else_it_is_the_nearest_newer_one(says: Says, choose: Callable[..., Program], order: list[str]) -> None:
    paths = {major: says(f"{major}.4", f"lib/{name}/bin") for name, major in zip("abc", order, strict=True)}
    assert choose("16.2") == Program(paths["17"], "17.4", 17)


def test_where_all_are_older_the_error_says_what_there_is_and_which_package_has_it(
    says: Says, choose: Callable[..., Program]
) -> None:
    old, older = says("15.4", "lib/15/bin"), says("14.9")
    with pytest.raises(ProgramMissing) as caught:
        choose("16.2")
    assert caught.value.code == "program_missing"
    for words in (
        "The server is PostgreSQL 16.2, and there is no pg_dump of version 16 or newer",
        f"{old} is 15.4",
        f"{older} is 14.9",
        *("postgresql-client-16 (Debian", "postgresql16 (RHEL", "postgresql16-client (Alpine", "bin_directory"),
    ):
        assert words in str(caught.value)


def test_where_there_is_none_the_error_says_which_package_has_it(choose: Callable[..., Program]) -> None:
    with pytest.raises(ProgramMissing, match=r"no pg_dump of version 16 or newer\. Install postgresql-client-16"):
        choose("16.2")


def test_in_a_directory_that_was_named_nothing_else_is_looked_at(
    says: Says, choose: Callable[..., Program], tmp_path: Path
) -> None:
    says("16.4")
    says("16.4", "lib/16/bin")
    path = says("18.1", "opt")
    assert choose("16.2", tmp_path / "opt").path == path


def test_a_directory_that_was_named_and_has_no_such_program_is_an_error(
    says: Says, choose: Callable[..., Program], tmp_path: Path
) -> None:
    says("16.4")
    with pytest.raises(ProgramMissing, match="No such file or directory") as caught:
        choose("16.2", tmp_path / "opt")
    assert f" in {tmp_path}/opt" in str(caught.value)
    assert f"{tmp_path}/opt/pg_dump can't be run" in str(caught.value)


BROKEN: dict[str, tuple[str, str]] = {
    "fails": ("echo 'no such library' >&2; exit 127", "ended with status 127: no such library"),
    "says nothing": ("exit 0", "does not report its version"),
    "is another": ("echo 'pg_dump (SomethingElse) 16.4'", "does not report its version"),
    "hangs": ("exec /bin/sleep 1000", "was ended after 0.3 seconds"),
}


@pytest.mark.parametrize(("script", "words"), BROKEN.values(), ids=BROKEN)
@pytest.mark.usefixtures("nothing_left")
def test_a_program_that_does_not_work_is_passed_over_and_reported_where_none_fits(
    says: Says,
    choose: Callable[..., Program],
    shell_program: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    bounded: Callable[[Callable[[], Any]], Any],
    script: str,
    words: str,
) -> None:
    monkeypatch.setattr(programs, "_ANSWER_SECONDS", 0.3 if "sleep" in script else 60)
    shell_program("pg_dump", script, "lib/16/bin")
    with pytest.raises(ProgramMissing) as caught:
        bounded(lambda: choose("16.2"))
    assert words in str(caught.value)
    path = says("17.1")
    assert bounded(lambda: choose("16.2")).path == path


@pytest.mark.parametrize(
    ("said", "version", "major"),
    [
        ("16.4", "16.4", 16),
        ("16.4 (Debian 16.4-1.pgdg120+2)", "16.4", 16),
        ("18beta2", "18beta2", 18),
        ("19devel", "19devel", 19),
        ("9.6.24", "9.6.24", 9),
    ],
)
def test_versions_are_read_however_they_are_written(
    says: Says, choose: Callable[..., Program], said: str, version: str, major: int
) -> None:
    path = says(said)
    found = choose(f"{major}.0")
    assert found == Program(path, version, major)
    assert str(found) == f"pg_dump {version}"


@pytest.mark.parametrize(
    ("program", "server", "expected"),
    [
        ("15.20", "15.20", True),
        ("15.21", "15.9", True),
        ("15.9", "15.20", False),
        ("16.1", "15.20", False),
        ("18beta1", "18beta1", True),
        ("18.0", "18.0", True),
    ],
)
def test_a_program_knows_all_of_a_server_of_its_major_version_that_is_not_newer(
    program: str, server: str, expected: bool
) -> None:
    assert Program("/bin/pg_dump", program, int(program[:2])).knows_all_of(server) is expected
