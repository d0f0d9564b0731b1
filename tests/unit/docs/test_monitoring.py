"""docs/monitoring.md, its alert rules and its dashboard speak of the metrics that the module writes, and of no other."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.lastgood.database.plugins.module_utils._operations.metric_series import (
    GROUP_LABELS,
    METRICS,
    OWN_LABELS,
)

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "monitoring.md").read_text(encoding="utf-8")
NAMES = {metric.name for metric in METRICS}
NAME = re.compile(r"\blastgood_\w+")
ROW = re.compile(r"^\| (`.+?) \|", re.MULTILINE)
TEMPLATE = re.compile(r"\{\{ ?(?:\$labels\.)?([a-z]+) ?\}\}")
# Labels that Prometheus adds itself, and the value of an alert.
OF_PROMETHEUS = {"instance", "job"}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
    return found


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def first_cells(heading: str) -> list[str]:
    """Return the names in the first column of the tables below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [name for cell in ROW.findall(section) for name in re.findall(r"`(\w+)`", cell)]


def test_the_page_has_each_metric_and_each_label_once() -> None:
    assert sorted(first_cells("Metrics")) == sorted([*NAMES, *GROUP_LABELS])


def test_the_page_has_each_alert_once_in_order() -> None:
    assert first_cells("Alert rules")[:1] == ["LastgoodBackupLate"]
    assert sorted(first_cells("Alert rules")) == sorted(rule["alert"] for rule in rules())


def test_the_rules_use_metrics_that_exist() -> None:
    used = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    assert used and used <= NAMES


def test_the_dashboard_uses_metrics_that_exist() -> None:
    used = {name for expression in expressions() for name in NAME.findall(expression)}
    assert used and used <= NAMES


def test_each_metric_is_used_by_a_rule_or_the_dashboard_but_the_time_of_the_last_run() -> None:
    used = {name for text in [*expressions(), *(rule["expr"] for rule in rules())] for name in NAME.findall(text)}
    assert NAMES - used == {"lastgood_backup_last_run_timestamp_seconds"}


def test_texts_show_labels_that_exist() -> None:
    texts = [text for rule in rules() for text in rule["annotations"].values()]
    texts += [target.get("legendFormat", "") for panel in dashboard()["panels"] for target in panel["targets"]]
    shown = {label for text in texts for label in TEMPLATE.findall(text)}
    assert shown and shown <= OWN_LABELS | OF_PROMETHEUS


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_no_two_panels_have_one_id_or_one_place() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {
        (column, row)
        for panel in panels
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    assert max(column for column, _row in places) == 23
