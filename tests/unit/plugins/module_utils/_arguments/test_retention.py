# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import rules_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
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
