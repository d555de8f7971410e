"""What the chart promises, on what helm renders of it. No cluster was asked: admission and scheduling are not tried."""

import itertools
import re

import pytest
import yaml

from deploy.checks.reachability import Pod, pods_of, reaches
from deploy.checks.tools import CHART, helm
from deploy.checks.values_schema import OWNED, document
from services.anonymizer.models import choose
from services.errors import ConfigurationError
from services.population.compatibility import served_models
from services.settings import Settings
from tests.deploy.conftest import EVERYTHING, SETS

PREFIX = "ANONFACES_"


@pytest.fixture(scope="module", params=SETS)
def objects(request, render) -> list[dict]:
    return render(request.param)


def kinds(objects: list[dict], kind: str) -> list[dict]:
    return [one for one in objects if one["kind"] == kind]


def templates(objects: list[dict]) -> list[dict]:
    """The pods' specifications."""
    return [d["spec"]["template"]["spec"] for d in kinds(objects, "Deployment")] + [
        p["spec"] for p in kinds(objects, "Pod")
    ]


def containers(objects: list[dict]) -> list[dict]:
    return [c for spec in templates(objects) for c in (*spec["containers"], *spec.get("initContainers", []))]


def environment(objects: list[dict]) -> dict[str, str]:
    (service,) = (c for c in containers(objects) if c["name"] == "service")
    return {one["name"]: one["value"] for one in service["env"]}


# --- what is well-formed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", SETS)
def test_chart_is_free_of_what_helm_warns_of(values):
    said = helm("lint", "--strict", str(CHART), "-f", str(CHART / "values" / f"{values}.yaml"), "--set", EVERYTHING)
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


def test_every_object_is_valid_by_the_schemas_of_kubernetes(objects):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    unknown = set()
    for one in objects:
        try:
            kubernetes_validate.validate(one, "1.37", strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add((one["apiVersion"], one["kind"]))
    custom = {("keda.sh/v1alpha1", "ScaledObject")}
    custom |= {("monitoring.coreos.com/v1", kind) for kind in ("ServiceMonitor", "PrometheusRule")}
    assert unknown <= custom


def test_names_are_not_used_twice(objects):
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))


def test_schema_of_the_values_is_that_of_the_settings():
    path = CHART / "values.schema.json"
    assert path.read_text() == document(), "python -m deploy.checks.values_schema > " + str(path)


@pytest.mark.parametrize(
    "wrong",
    [
        "servce.replicas=3",
        "settings.max_concurency=3",
        "settings.max_concurrency=0",
        "settings.host=0.0.0.0",
        "triton.config=gup",
        "image.digest=sha256:12",
        "service.replicas=two",
    ],
)
def test_typo_in_the_values_is_refused(render, wrong):
    with pytest.raises(ConfigurationError, match="schema"):
        render(chosen=f"{EVERYTHING},{wrong}")


# --- what must not be installed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ("access.anonymous=false", "anonfaces keys add"),
        ("access.keysSecret=k,image.tag=latest", "latest"),
        ("access.keysSecret=k,service.terminationGraceSeconds=30", "terminationGraceSeconds"),
        ("access.keysSecret=k,settings.request_timeout_s=300", "terminationGraceSeconds"),
        ("access.keysSecret=k,triton.config=gpu", "gpu.count"),
        ("access.keysSecret=k,ingress.enabled=true", "ingress.host"),
    ],
)
def test_installation_that_would_not_hold_is_refused_and_says_why(render, chosen, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        render(chosen=chosen)


# --- pods -----------------------------------------------------------------------------------------------------------


def test_no_pod_has_more_rights_than_it_needs(objects):
    for spec in templates(objects):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    for container in containers(objects):
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_every_container_has_requests_limits_of_memory_and_a_fixed_image(objects):
    for container in containers(objects):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert re.fullmatch(r"[\w./-]+(:(?!latest)[\w.-]+|@sha256:[0-9a-f]{64})", container["image"])


def test_every_server_has_all_three_probes(objects):
    for deployment in kinds(objects, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_readiness_proves_the_models_and_liveness_does_not_ask_them(objects):
    (service,) = (c for c in containers(objects) if c["name"] == "service")
    assert service["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert service["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_pod_is_given_longer_to_stop_than_a_request_may_take(objects):
    (spec,) = (t for t in templates(objects) if t["containers"][0]["name"] == "service")
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + Settings().request_timeout_s + 10


def test_new_pod_is_ready_before_an_old_one_goes(objects):
    for deployment in kinds(objects, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_nothing_of_a_photo_can_reach_a_disk(objects):
    """The service writes to memory only: its one volume that can be written to is a tmpfs."""
    (spec,) = (t for t in templates(objects) if t["containers"][0]["name"] == "service")
    mounts = {m["name"] for m in spec["containers"][0]["volumeMounts"] if not m.get("readOnly")}
    volumes = {v["name"]: v for v in spec["volumes"]}
    assert mounts
    assert all(volumes[name]["emptyDir"]["medium"] == "Memory" for name in mounts)


# --- settings -------------------------------------------------------------------------------------------------------


def test_every_variable_is_a_setting_with_a_value_that_it_takes(objects, monkeypatch):
    told = environment(objects)
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(told) <= known
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.triton_url == "town-triton:8001"


def test_settings_that_the_chart_owns_are_settings():
    assert set(Settings.model_fields) >= OWNED


def test_integers_stay_integers(render, monkeypatch):
    """Helm makes 536870912 a float, and writes it as 5.36870912e+08."""
    told = environment(render("gpu-large"))
    assert told[f"{PREFIX}MAX_HELD_BYTES"] == "536870912"


def test_models_that_triton_loads_are_those_of_the_default_index(objects):
    (triton,) = (c for c in containers(objects) if c["name"] == "triton")
    loaded = {a.removeprefix("--load-model=") for a in triton["args"] if a.startswith("--load-model=")}
    assert loaded == served_models(Settings(), choose(Settings()))


def test_without_a_map_the_service_does_not_look_for_one(render):
    chosen = EVERYTHING.replace("index.maps.keySecret=map,", "")
    assert environment(render(chosen=chosen))[f"{PREFIX}ENROLMENT"] == "off"


# --- who reaches whom -----------------------------------------------------------------------------------------------


def test_only_the_service_reaches_triton_and_only_ingress_and_prometheus_the_service(objects):
    policies = kinds(objects, "NetworkPolicy")
    pods = pods_of(objects, "faces")
    service, triton, test = pods["town"], pods["town-triton"], pods["town-test"]
    ingress, prometheus = Pod("ingress-nginx"), Pod("monitoring")
    dns = Pod("kube-system", {"k8s-app": "kube-dns"})
    strangers = [Pod("faces", {"app": "x"}), Pod("elsewhere"), Pod("kube-system", {"app": "x"})]
    reached = {
        (name, port)
        for name, source in {"service": service, "ingress": ingress, "prometheus": prometheus, "test": test}.items()
        for target, ports in ((service, (8080, 8081)), (triton, (8000, 8001, 8002)))
        for port in ports
        if source is not target and reaches(policies, source, target, port)
    }
    assert reached == {
        ("service", 8001),
        ("ingress", 8080),
        ("ingress", 8081),
        ("prometheus", 8080),
        ("prometheus", 8002),
        ("test", 8080),
        ("test", 8081),
    }
    for stranger, pod in itertools.product(strangers, (service, triton)):
        assert not any(reaches(policies, stranger, pod, port) for port in (8000, 8001, 8002, 8080, 8081))
        assert not any(reaches(policies, pod, stranger, port) for port in (80, 443, 8080))
    assert reaches(policies, service, dns, 53, "UDP")
    assert not reaches(policies, triton, dns, 53, "UDP")


def test_health_and_metrics_are_not_published(objects):
    for ingress in kinds(objects, "Ingress"):
        paths = [p["path"] for rule in ingress["spec"]["rules"] for p in rule["http"]["paths"]]
        assert set(paths) <= {"/v1", "/anonfaces.v1.Anonymizer"}


# --- custom resources -----------------------------------------------------------------------------------------------


def test_scaler_asks_for_a_metric_that_there_is(render):
    from services.metrics_doc import all_metrics

    (scaler,) = kinds(render("gpu-large"), "ScaledObject")
    (query,) = (t["metadata"]["query"] for t in scaler["spec"]["triggers"] if t["type"] == "prometheus")
    name = re.search(r"anonfaces_\w+", query)[0].removesuffix("_bucket")
    assert name in {metric._name for metric in all_metrics()}


def test_monitor_and_scaler_find_what_they_name(render):
    objects = render("gpu-large")
    services = kinds(objects, "Service")
    for monitor in kinds(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert len(found) == 1
        ports = {port["name"] for port in found[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    (scaler,) = kinds(objects, "ScaledObject")
    assert scaler["spec"]["scaleTargetRef"]["name"] in {d["metadata"]["name"] for d in kinds(objects, "Deployment")}


def test_rules_of_the_chart_are_the_files_that_are_tested(render):
    rules = {one["metadata"]["name"]: one["spec"] for one in kinds(render("gpu-large"), "PrometheusRule")}
    files = {f"town-{path.stem}": yaml.safe_load(path.read_text()) for path in (CHART / "rules").glob("*.yaml")}
    assert rules == files
