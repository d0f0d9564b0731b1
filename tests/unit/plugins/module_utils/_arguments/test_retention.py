# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import (
    groups_from,
    rules_from,
    rules_or_retention_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules

RULES: dict[str, Any] = {
    **{f"keep_{rule}": number for number, rule in enumerate(("last", "hourly", "daily", "weekly", "monthly", "yearly"))},
    "keep_within": "7d",
    "timezone": "UTC",
}


def test_each_option_is_its_rule() -> None:
    expected = Rules(0, 1, 2, 3, 4, 5, timedelta(days=7), timezone.utc)
    assert rules_from(RULES) == expected
    assert rules_from({**RULES, "keep_last": -1, "keep_within": None}) == replace(expected, last=-1, within=None)
    assert rules_from({**RULES, "timezone": "Europe/Berlin"}).timezone == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("name", ["Atlantis", "", "../etc", "/etc/localtime", "Europe", "Europe/Berlin\n", "\ud800", "x" * 5000])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ArgumentInvalid, match="timezone is"):
        rules_from({**RULES, "timezone": name})


@pytest.mark.parametrize("option", [option for option in RULES if option not in ("keep_within", "timezone")])
def test_a_count_below_minus_one_is_refused(option: str) -> None:
    with pytest.raises(ArgumentInvalid, match=option):
        rules_from({**RULES, option: -2})


UNSET: dict[str, Any] = {**dict.fromkeys(RULES, 0), "keep_within": None, "timezone": "UTC"}


def test_rules_are_taken_from_a_dict_or_from_single_options() -> None:
    assert rules_or_retention_from({**RULES, "retention": None}) == rules_from(RULES)
    assert rules_or_retention_from({**UNSET, "retention": RULES}) == rules_from(RULES)


@pytest.mark.parametrize("single", [{"keep_last": -1}, {"keep_yearly": 1}, {"keep_within": "7d"}, {"timezone": "Europe/Berlin"}])
def test_rules_in_a_dict_and_a_single_option_are_refused(single: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid, match=f"retention and {next(iter(single))} don't go together"):
        rules_or_retention_from({**UNSET, **single, "retention": RULES})


@pytest.mark.parametrize("retention", [None, UNSET])
def test_no_rule_at_all_is_refused(retention: dict[str, Any] | None) -> None:
    with pytest.raises(ArgumentInvalid, match="No rule says which backups to keep"):
        rules_or_retention_from({**UNSET, "retention": retention})


# --- Groups ----------------------------------------------------------------------------------------------------

APP: dict[str, Any] = {"origin": "db1", "engine": "postgresql", "instance": "1", "kind": "database", "database": "app"}


def test_groups_are_what_modules_report_whatever_else_they_say() -> None:
    globals_ = {**APP, "kind": "globals", "database": None}
    assert groups_from({"groups": None}) is None
    assert groups_from({"groups": [{**APP, "outcome": "created", "size_bytes": 1}, globals_, APP]}) == {
        Group("db1", "postgresql", "1", "database", "app"),
        Group("db1", "postgresql", "1", "globals", None),
    }


def test_a_group_of_partial_backups_is_another_one() -> None:
    [whole] = groups_from({"groups": [{**APP, "partial": False, "partial_arguments": []}]}) or ()
    [partial] = groups_from({"groups": [{**APP, "partial": True, "partial_arguments": ["-Taudit"]}]}) or ()
    assert (whole.partial, partial) == ((), whole._replace(partial=("-Taudit",)))
    with pytest.raises(ArgumentInvalid, match="partial_arguments"):
        groups_from({"groups": [{**APP, "partial_arguments": "-Taudit"}]})


def test_groups_without_any_are_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="groups is an empty list"):
        groups_from({"groups": []})


def test_a_number_that_yaml_makes_of_an_instance_is_its_text() -> None:
    assert groups_from({"groups": [{**APP, "instance": 1}]}) == {Group("db1", "postgresql", "1", "database", "app")}


@pytest.mark.parametrize("field", APP)
def test_an_item_that_does_not_say_all_of_a_group_is_refused(field: str) -> None:
    group = {name: text for name, text in APP.items() if name != field}
    with pytest.raises(ArgumentInvalid, match=f"groups has an item that does not say its {field}"):
        groups_from({"groups": [APP, group]})


@pytest.mark.parametrize("over", [{"engine": "postgre********"}, {"database": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}])
def test_an_item_in_which_a_password_was_masked_is_refused(over: dict[str, str]) -> None:
    with pytest.raises(ArgumentInvalid, match="masked a password"):
        groups_from({"groups": [{**APP, **over}]})


@pytest.mark.parametrize("kind", [None, "", "databse", 1, ["database"], {}])
def test_an_item_of_another_kind_is_refused(kind: Any) -> None:
    with pytest.raises(ArgumentInvalid, match="groups has an item whose kind is"):
        groups_from({"groups": [{**APP, "kind": kind}]})
