"""Dashboards are those of the panels; each panel has an answer from a real Prometheus that watches the real stack."""

import json
import re

import pytest
import yaml

from deploy.local.prometheus import RULES
from deploy.monitoring.dashboards import FOLDER, document
from deploy.monitoring.panels import DASHBOARDS, EMPTY_WHEN_WELL, WINDOW

PANELS = [(name, panel) for name, panels in DASHBOARDS.items() for panel in panels]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_is_that_of_the_panels(name):
    assert (FOLDER / f"{name}.json").read_text() == document(name), "python -m deploy.monitoring.dashboards"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_lie_on_each_other(name):
    places = [panel["gridPos"] for panel in json.loads(document(name))["panels"]]
    taken = {(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
    assert len(taken) == sum(p["w"] * p["h"] for p in places)
    assert max(p["x"] + p["w"] for p in places) <= 24


def test_list_of_empty_panels_is_short_and_names_panels():
    titles = {panel.title for _, panel in PANELS}
    assert set(EMPTY_WHEN_WELL) <= titles
    assert len(EMPTY_WHEN_WELL) <= 3


def test_limits_are_those_that_the_alerts_look_at():
    rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    alerts = {rule["alert"]: rule["expr"] for rule in rules if "alert" in rule}
    limits = [panel.limit for _, panel in PANELS if panel.limit]
    assert len(limits) >= 5
    for limit in limits:
        text = alerts[limit.alert]
        text += "".join(recorded[name] for name in re.findall(r"anonfaces:\w+:\w+", text))
        assert limit.value in [float(number) for number in re.findall(r"[\d.]+\b", text)], limit


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=[f"{name}: {panel.title}" for name, panel in PANELS])
def test_every_query_of_a_panel_has_an_answer(watched, dashboard, panel):
    for query, legend in panel.queries:
        samples = watched.ask(query.replace(WINDOW, "30s"))
        if panel.needs_gpu or panel.title in EMPTY_WHEN_WELL:
            continue  # the query is understood, which is all that can be asked for
        assert samples, query
        assert any(sample["value"][1] != "NaN" for sample in samples), query
        for label in [part.split("}}")[0] for part in legend.split("{{")[1:]]:
            assert all(label in sample["metric"] for sample in samples), (query, label)
