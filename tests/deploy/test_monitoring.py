"""Rules ask for metrics that there are; each alert is explained, fires when it should, and only then."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.checks.tools import CHART
from services import metrics
from services.metrics_doc import all_metrics

ROOT = Path(__file__).parents[2]
RULES = sorted((CHART / "rules").glob("*.yaml"))
TESTS = sorted((ROOT / "deploy" / "monitoring").glob("rules_*test.yaml"))
CONFIGURATION = ROOT / "deploy" / "monitoring" / "prometheus.yaml"
PAGE = ROOT / "docs" / "monitoring.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
SUFFIXES = ("_bucket", "_sum", "_count", "_total")


def rules() -> list[dict]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*arguments: str) -> subprocess.CompletedProcess:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (Debian: prometheus)")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=TESTS[0].parent, check=False)


def test_rules_are_well_formed():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_for_a_prometheus_without_the_operator_is_well_formed():
    done = promtool("check", "config", "--lint=all", "--lint-fatal", str(CONFIGURATION))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == len(RULES)
    assert [job["job_name"] for job in yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]] == [
        "service",
        "triton",
    ]


def test_alerts_fire_when_they_should_and_do_not_when_they_should_not():
    done = promtool("test", "rules", *map(str, TESTS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_tested_both_ways(alert):
    tests = [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    cases = [case for test in tests for case in test["promql_expr_test"]]
    mine = [bool(case["exp_samples"]) for case in cases if f'"{alert}"' in case["expr"]]
    assert set(mine) == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_an_entry_in_the_runbook(alert):
    assert f"\n## {alert}\n" in RUNBOOK.read_text()
    assert ALERTS[alert]["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"
    assert ALERTS[alert]["labels"]["severity"] in ("page", "ticket")


def test_runbook_has_no_entry_of_an_alert_that_is_gone():
    assert set(re.findall(r"\n## (Anonfaces\w+)\n", RUNBOOK.read_text())) == set(ALERTS)


def test_documentation_lists_the_alerts_as_they_are():
    rows = re.findall(r"^\| \[(\w+)\]\(runbook.md#(\w+)\) \| (\w+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(name, name.lower(), rule["labels"]["severity"]) for name, rule in ALERTS.items()]
    for record in re.findall(r"`(anonfaces:\w+:\w+)`", PAGE.read_text()):
        assert record in {rule.get("record") for rule in rules()}, record


def test_every_metric_and_label_that_is_asked_for_is_there():
    known = {metric._name for metric in all_metrics()}
    texts = [rule["expr"] for rule in rules()] + [RUNBOOK.read_text()]
    for name in {name for text in texts for name in re.findall(r"\b(anonfaces_[a-z_0-9]+)", text)}:
        base = name if name in known else re.sub("|".join(f"{suffix}$" for suffix in SUFFIXES), "", name)
        assert base in known, name
    records = {rule["record"] for rule in rules() if "record" in rule}
    for text in texts:
        assert set(re.findall(r"\banonfaces:\w+:\w+", text)) <= records
        labels = set(re.findall(r"[{,]\s*(\w+)(?==~?\"|!=\")", text))
        assert labels <= {*metrics.LABELS, "le", "namespace", "pod"}


def test_failures_that_count_are_codes_of_errors():
    from services import errors

    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    asked = {
        code
        for rule in rules()
        for codes_ in re.findall(r'outcome=~"([^"]+)"', rule["expr"])
        for code in codes_.split("|")
    }
    assert asked <= codes
