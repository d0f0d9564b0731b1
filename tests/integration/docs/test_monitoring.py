"""The alert rules and the dashboard of docs/monitoring, as Prometheus evaluates them."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from ansible_collections.lastgood.database.tests.support.promtool import promtool

MONITORING = Path(__file__).resolve().parents[3] / "docs" / "monitoring"


def test_prometheus_accepts_the_rules() -> None:
    promtool("check", "rules", MONITORING / "alerts.yml")


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    test = shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    promtool("test", "rules", test)


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    document = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in document["groups"] for rule in group["rules"]}
    cases = yaml.safe_load(Path(__file__).with_name("alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    assert {case["alertname"] for test in cases for case in test["alert_rule_test"] if case["exp_alerts"]} == alerts


def test_prometheus_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    expressions = [target["expr"].replace("$origin", ".*") for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)
