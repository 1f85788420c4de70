"""deploy/monitoring fits the programs: the metrics that it uses exist, and its alerts fire."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import gen_monitoring
import pytest
import yaml

FOLDER: Final = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
DASHBOARDS: Final = sorted((FOLDER / "grafana").glob("*.json"))
OURS: Final = re.compile(r"\bphonefarm_[a-z_]+\b")
KNOWN: Final = {
    series
    for metrics in gen_monitoring.declared().values()
    for metric in metrics
    for series in metric.series()
}


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions(dashboard: Path) -> Iterator[str]:
    """Yield what the panels of a dashboard ask for."""
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def promtool(*words: str, cwd: Path = FOLDER) -> str:
    """Run promtool and return what it says; fail with that when it fails."""
    done = subprocess.run(
        ["promtool", *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_metric_that_an_alert_uses_exists() -> None:
    """A renamed metric would silence an alert without a word."""
    used = {name for rule in rules() for name in OURS.findall(rule["expr"])}

    assert used
    assert used <= KNOWN


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_metric_of_a_dashboard_exists(dashboard: Path) -> None:
    """And each panel has a title and a place of its own."""
    panels = json.loads(dashboard.read_text())["panels"]
    used = {name for text in expressions(dashboard) for name in OURS.findall(text)}

    assert used
    assert used <= KNOWN
    assert all(panel["title"] for panel in panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_every_alert_is_tested_where_it_fires_and_where_it_is_quiet() -> None:
    """alerts_test.yml has both cases for each."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]

    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


@pytest.mark.promtool
def test_the_alerts_do_what_their_unit_tests_say() -> None:
    """Prometheus' own tool judges the rules, their tests and the configuration."""
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml")
    assert f"{len(rules())} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@pytest.mark.promtool
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_prometheus_reads_what_a_dashboard_asks(dashboard: Path, tmp_path: Path) -> None:
    """Each expression parses; Grafana's variable stands for a time."""
    recorded = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions(dashboard))
    ]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]})
    )

    assert f"{len(recorded)} rules found" in promtool("check", "rules", "rules.yml", cwd=tmp_path)
