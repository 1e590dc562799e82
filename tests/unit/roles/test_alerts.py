"""Alert rules, their tests, the collector and the guide name the same things.

`promtool test rules`, in `make lint`, judges what the rules do.
"""

import re
from typing import Any

import pytest
import yaml

from autobot_metrics.collector import METRICS
from tests.support.role_files import ROOT

RULES = [
    rule
    for group in yaml.safe_load((ROOT / "roles/monitoring/files/autobot.rules.yml").read_text())[
        "groups"
    ]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES}
GUIDE = (ROOT / "docs" / "monitoring.md").read_text()
METRIC = re.compile(r"\bautobot_[a-z_]+")


def expectations() -> list[tuple[str, bool]]:
    """Each alert that a test asks for, and whether it must fire then."""
    found = []
    for path in (ROOT / "tests" / "alerts").glob("*.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for asked in test.get("promql_expr_test", []):
                name = re.search(r'alertname="(\w+)"', asked["expr"])
                assert name is not None, asked
                assert 'alertstate="firing"' in asked["expr"]
                found.append((name[1], bool(asked["exp_samples"])))
    return found


def series_of_tests() -> set[str]:
    return {
        series["series"].partition("{")[0]
        for path in (ROOT / "tests" / "alerts").glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for series in test["input_series"]
    }


def test_there_are_alerts_of_different_names() -> None:
    assert len(ALERTS) == len(RULES) >= 20


@pytest.mark.parametrize("fires", [True, False])
def test_a_test_sees_each_alert_fire_and_not_fire(fires: bool) -> None:
    assert {name for name, expected in expectations() if expected is fires} == set(ALERTS)


def test_rules_read_only_metrics_that_the_collector_writes() -> None:
    read = {metric for rule in RULES for metric in METRIC.findall(rule["expr"])}
    assert len(read) > 10
    assert read <= set(METRICS)
    assert series_of_tests() - {"up"} <= set(METRICS)


@pytest.mark.parametrize("rule", RULES, ids=list(ALERTS))
def test_an_alert_says_what_is_the_matter_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    summary, description, runbook = (
        rule["annotations"][name] for name in ("summary", "description", "runbook")
    )
    assert summary.endswith(".")
    assert description.endswith((".", "?"))
    assert runbook == f"docs/monitoring.md#{rule['alert'].lower()}"
    # The guide has that section.
    assert re.search(rf"^#+ {rule['alert']}$", GUIDE, re.MULTILINE)


def test_the_guide_has_no_alert_that_is_none() -> None:
    assert set(re.findall(r"^#+ (Autobot\w+)$", GUIDE, re.MULTILINE)) == set(ALERTS)


def test_the_table_of_the_guide_has_each_alert_with_its_severity() -> None:
    table = re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (\w+) \|", GUIDE, re.MULTILINE)
    assert dict(table) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_the_guide_names_every_metric_of_the_collector_and_no_other() -> None:
    assert set(re.findall(r"^\| `(autobot_[a-z_]+)`", GUIDE, re.MULTILINE)) == set(METRICS)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_is_named_by_convention(name: str) -> None:
    """Units are spelled out at the end, and a count that only rises ends in _total."""
    assert re.fullmatch(r"autobot_[a-z]+(_[a-z]+)*", name)
    for word in ("timestamp", "duration", "size", "avail"):
        assert f"_{word}" not in name or name.endswith(("_seconds", "_bytes"))
    assert METRICS[name].endswith(".")
