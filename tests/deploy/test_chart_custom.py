"""What the chart renders is what Kubernetes, KEDA, KubeRay, the Gateway API and the Prometheus operator take."""

import copy
import re
from collections.abc import Iterator

import jsonschema
import pytest
import yaml

from deploy.checks import crds
from deploy.checks.tools import CHART
from tests.deploy.conftest import EVERYTHING, GATEWAY, kinds, named

kubernetes_validate = pytest.importorskip("kubernetes_validate")
CUSTOM = {
    ("ServiceMonitor", EVERYTHING),
    ("PrometheusRule", EVERYTHING),
    ("ScaledObject", EVERYTHING),
    ("RayJob", EVERYTHING),
    ("HTTPRoute", GATEWAY),
    ("GRPCRoute", GATEWAY),
    ("BackendTLSPolicy", GATEWAY),
}


def test_every_object_is_valid_by_the_schema_of_its_kind(objects):
    """An unknown kind is a failure, whoever's it is."""
    for one in objects:
        try:
            kubernetes_validate.validate(one, crds.KUBERNETES, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            crds.check(one)


def test_no_kind_of_custom_resource_is_left_out(render):
    found = {(one["kind"], more) for more in (EVERYTHING, GATEWAY) for one in render("gpu-large", more=(more,))}
    assert found >= CUSTOM


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Where mappings with fields of their own are: no maps of labels, and no pods, which Kubernetes' schema checks."""
    if isinstance(value, dict):
        if path and path[-1] in ("labels", "annotations", "matchLabels", "rayStartParams", "template", "metadata"):
            return
        yield path
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


@pytest.mark.parametrize(("kind", "more"), sorted(CUSTOM, key=str), ids=lambda value: getattr(value, "stem", value))
def test_unknown_key_is_refused_wherever_it_is(render, kind, more):
    first = kinds(render("gpu-large", more=(more,)), kind)[0]
    crds.check(first)
    assert len(list(places(first["spec"]))) > 1
    for place in places(first["spec"], ("spec",)):
        wrong = copy.deepcopy(first)
        at = wrong
        for step in place:
            at = at[step]
        at["replikas"] = 1
        with pytest.raises(jsonschema.ValidationError, match="replikas"):
            crds.check(wrong)


def test_unknown_key_of_a_pod_in_a_ray_cluster_is_refused(render):
    (job,) = kinds(render(), "RayJob")
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePulPolicy"):
        crds.check(job)


def test_kind_without_a_schema_is_refused():
    with pytest.raises(LookupError, match="RayService"):
        crds.check({"apiVersion": "ray.io/v1", "kind": "RayService"})


# --- what refers to what --------------------------------------------------------------------------------------------


def test_scalers_ask_for_metrics_that_there_are(render):
    from deploy.monitoring.panels import DASHBOARDS
    from services.metrics_doc import all_metrics

    known = {metric._name for metric in all_metrics()}
    known |= set(
        re.findall(r"nv_\w+", " ".join(q for b in DASHBOARDS.values() for panel in b for q, _ in panel.queries))
    )
    scalers = kinds(render("gpu-large"), "ScaledObject")
    assert {scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers} == {"town", "town-triton"}
    for scaler in scalers:
        (query,) = (t["metadata"]["query"] for t in scaler["spec"]["triggers"] if t["type"] == "prometheus")
        asked = {name.removesuffix("_bucket") for name in re.findall(r"(?:anonfaces|nv)_\w+", query)}
        assert asked
        assert asked <= known


def test_scalers_name_deployments_whose_number_nobody_else_sets(objects):
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        for scaler in kinds(objects, kind):
            target = named(objects, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
            assert "replicas" not in target["spec"]


def test_cpu_scales_where_prometheus_does_not_answer(render):
    (scaler,) = (s for s in kinds(render("gpu-large"), "ScaledObject") if s["metadata"]["name"] == "town")
    assert "cpu" in {trigger["type"] for trigger in scaler["spec"]["triggers"]}
    assert "fallback" not in scaler["spec"]


def test_monitors_find_what_they_name(render):
    objects = render("gpu-large")
    services = kinds(objects, "Service")
    for monitor in kinds(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert len(found) == 1
        ports = {port["name"] for port in found[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_prometheus_shows_what_the_service_asks_for(render):
    (monitor,) = (m for m in kinds(render("gpu-large"), "ServiceMonitor") if m["metadata"]["name"] == "town-service")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"] == {"name": "metrics", "key": "key"}
    assert endpoint["tlsConfig"]["cert"] == {"secret": {"name": "ours", "key": "tls.crt"}}
    assert endpoint["tlsConfig"]["ca"] == {"secret": {"name": "ca", "key": "ca.crt"}}


def test_rules_of_the_chart_are_the_files_that_are_tested(render):
    rules = {one["metadata"]["name"]: one["spec"] for one in kinds(render("gpu-large"), "PrometheusRule")}
    files = {f"town-{path.stem}": yaml.safe_load(path.read_text()) for path in (CHART / "rules").glob("*.yaml")}
    assert rules == files


@pytest.mark.parametrize("command", ["enroll", "build"])
def test_command_line_of_a_population_is_one_that_there_is(render, command, tmp_path):
    """The entrypoint is taken apart as the shell does, and parsed by the command line itself."""
    import shlex

    from typer.main import get_command

    from services.population.cli import app

    (job,) = kinds(render(), "RayJob")
    shell, option, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("sh", "-ec")
    (words,) = (w for w in map(shlex.split, script.split(";")) if w[:3] == ["anonfaces", "population", command])
    given = [str(tmp_path) if word == "/photos" else word for word in words[3:]]  # it must exist
    parsed = get_command(app).commands[command].make_context(command, given)
    assert parsed.params["engine"] == "ray"
    assert parsed.params["triton"] == "town-triton:8001"
