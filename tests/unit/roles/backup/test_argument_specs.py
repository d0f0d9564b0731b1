"""What the role says of itself: its entry points, and the dicts that it hands to modules as they are."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import RETENTION_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._arguments.stores import SFTP_SPEC
from ansible_collections.lastgood.database.tests.support.specifications import entry_points

ROLE = Path(__file__).resolve().parents[4] / "roles" / "backup"


def test_each_entry_point_has_tasks_and_says_what_modes_it_supports() -> None:
    for name, entry_point in entry_points().items():
        assert (ROLE / "tasks" / f"{name}.yml").is_file(), name
        attributes = entry_point["attributes"]
        assert set(attributes) == {"check_mode", "diff_mode", "idempotent"}, name
        assert all(attribute["description"] for attribute in attributes.values()), name
        assert attributes["check_mode"]["support"] == "full", name
        assert attributes["diff_mode"]["support"] in ("full", "N/A"), name
        assert attributes["idempotent"]["support"] in ("full", "partial"), name


@pytest.mark.parametrize(
    ("variable", "spec"),
    [("backup_retention", RETENTION_SPEC), ("backup_sftp_retention", RETENTION_SPEC), ("backup_sftp", SFTP_SPEC)],
)
def test_a_dict_for_a_module_has_exactly_the_options_that_the_module_takes(variable: str, spec: dict[str, Any]) -> None:
    with_it = [point["options"][variable]["options"] for point in entry_points().values() if variable in point["options"]]
    assert with_it
    for options in with_it:
        assert set(options) == set(spec)
        for name, option in options.items():
            assert option["type"] == spec[name]["type"], name
            assert option.get("choices") == spec[name].get("choices"), name
            assert option.get("no_log", False) == spec[name].get("no_log", False), name
