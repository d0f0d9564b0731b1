"""Backups from which arguments of pg_dump leave something out."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.tests.support.modules import run_module
from ansible_collections.lastgood.database.tests.support.observe import manifest
from ansible_collections.lastgood.database.tests.support.postgresql import Site, login

WITHOUT_ROWS = ["--exclude-table-data=t"]


@pytest.fixture
def names(site: Site) -> tuple[str, str]:
    """A whole backup and a newer partial one: their file names."""
    [whole] = site.back_up().backups
    [partial] = site.back_up(extra_args=[*WITHOUT_ROWS, "--verbose"]).backups
    return whole["filename"], partial["filename"]


def test_the_manifest_and_the_records_say_what_was_left_out(site: Site, names: tuple[str, str]) -> None:
    whole, partial = names
    assert manifest(site.directory / whole)["partial"] is False
    assert manifest(site.directory / whole)["partial_arguments"] is None
    assert manifest(site.directory / partial)["partial"] is True
    assert manifest(site.directory / partial)["partial_arguments"] == WITHOUT_ROWS
    facts = site.facts()
    assert {one["filename"]: (one["partial"], one["partial_arguments"]) for one in facts["files"]} == {
        whole: (False, []),
        partial: (True, WITHOUT_ROWS),
    }
    assert [(one["newest_good"], one["partial"]) for one in facts["databases"]] == [(whole, False), (partial, True)]


def test_check_mode_and_failures_say_it_as_well(site: Site) -> None:
    [record] = site.back_up(extra_args=WITHOUT_ROWS, check=True).backups
    assert (record["partial"], record["partial_arguments"]) == (True, WITHOUT_ROWS)


def test_backups_of_the_same_arguments_are_a_group(site: Site, names: tuple[str, str]) -> None:
    assert site.back_up().outcomes == ["unchanged"]
    assert site.back_up(extra_args=WITHOUT_ROWS).outcomes == ["unchanged"]
    assert site.back_up(extra_args=["--exclude-table=t"]).outcomes == ["created"]
    assert site.back_up(extra_args=["--exclude-table=t"], interval="1h").outcomes == ["fresh"]


@pytest.mark.parametrize("by_groups", [False, True])
def test_retention_deletes_no_whole_backup_in_favour_of_a_partial_one(
    site: Site, names: tuple[str, str], by_groups: bool
) -> None:
    site.sql("insert into t values (2)")
    newer = site.back_up(extra_args=WITHOUT_ROWS, skip_unchanged=False).backups
    choice = {"groups": newer} if by_groups else {}
    pruned = run_module("backup_prune", directory=str(site.directory), keep_last=1, **choice).result
    assert [(one["filename"], one["partial_arguments"]) for one in pruned["deleted"]] == [(names[1], WITHOUT_ROWS)]
    assert names[0] in [one["filename"] for one in (*pruned["kept"], *pruned["passed_over"])]


def test_the_latest_backup_of_a_database_is_a_whole_one(site: Site, names: tuple[str, str]) -> None:
    options = {"directory": str(site.directory), "database": site.database, "if_exists": "replace", **login(site.server)}
    restored = run_module("db_restore", **options)
    assert restored.result["restored"]["filename"] == names[0]
    [warning] = restored.warnings
    assert f"newer ones are not: {names[1]} (" in warning
    assert "partial" in warning

    for check in (True, False):
        by_name = run_module("db_restore", check=check, backup=names[1], **options)
        assert by_name.result["restored"]["partial"] is True
        assert any(f"partial backup, made with {WITHOUT_ROWS[0]}" in warning for warning in by_name.warnings)
    assert site.sql("select count(*) from t") == "0"


def test_a_database_with_partial_backups_alone_has_no_latest_one(site: Site) -> None:
    [partial] = site.back_up(extra_args=WITHOUT_ROWS).backups
    options = {"directory": str(site.directory), "database": site.database, "if_exists": "replace", **login(site.server)}
    outcome = run_module("db_restore", **options)
    assert outcome.error_code == "backup_missing"
    assert f"{partial['filename']} (partial)" in outcome.msg


def test_a_verification_says_which_backups_are_partial(site: Site, names: tuple[str, str]) -> None:
    verified = run_module("backup_verify", directory=str(site.directory)).result["verified"]
    assert {one["filename"]: one["partial"] for one in verified} == {names[0]: False, names[1]: True}
