"""Who reaches whom in a cluster with the chart's network policies, computed from what helm renders."""

import itertools

import pytest

from deploy.checks.reachability import Pod, pods_of, reaches
from tests.deploy.conftest import GATEWAY, kinds

INGRESS, PROMETHEUS, KUBERAY, TRACES = (
    Pod(namespace) for namespace in ("ingress-nginx", "monitoring", "kuberay-system", "traces")
)
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
STRANGERS = [Pod("faces", {"app": "x"}), Pod("elsewhere"), Pod("kube-system", {"app": "x"})]
PORTS = {"town": (8080, 8081), "town-triton": (8000, 8001, 8002), "town-population": (6379, 8265, 10001)}
ALWAYS = {
    ("town", "town-triton", 8001),
    ("ingress", "town", 8080),
    ("ingress", "town", 8081),
    ("prometheus", "town", 8080),
    ("prometheus", "town-triton", 8002),
    ("town-test", "town", 8080),
    ("town-test", "town", 8081),
}
WITH_A_POPULATION = {
    ("town-population", "town-triton", 8001),
    ("kuberay", "town-population", 8265),
}


def pods(objects: list[dict]) -> dict[str, Pod]:
    """The pods of the chart; those of a Ray cluster are alike."""
    found = pods_of(objects, "faces")
    for job in kinds(objects, "RayJob"):
        template = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        found["town-population"] = Pod("faces", template["metadata"]["labels"])
    return found


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("", ALWAYS | WITH_A_POPULATION), ("population.enabled=false", ALWAYS)],
    ids=["population", "none"],
)
def test_only_the_service_reaches_triton_and_only_ingress_and_prometheus_the_service(render, chosen, expected):
    objects = render(chosen=chosen)
    policies, ours = kinds(objects, "NetworkPolicy"), pods(objects)
    asking = {**ours, "ingress": INGRESS, "prometheus": PROMETHEUS, "kuberay": KUBERAY}
    asking |= {f"stranger {number}": pod for number, pod in enumerate(STRANGERS)}
    reached = {
        (name, target, port)
        for (name, source), target in itertools.product(asking.items(), PORTS)
        if target in ours and name != target
        for port in PORTS[target]
        if reaches(policies, source, ours[target], port)
    }
    assert reached == expected


def test_nothing_of_ours_reaches_anybody_it_has_no_business_with(render):
    objects = render()
    policies = kinds(objects, "NetworkPolicy")
    for pod, other in itertools.product(pods(objects).values(), [*STRANGERS, INGRESS, PROMETHEUS, KUBERAY]):
        assert not any(reaches(policies, pod, other, port) for port in (22, 53, 80, 443, 4318, 8080))


def test_traces_go_to_the_collector_and_names_are_looked_up(render):
    objects = render()
    policies, ours = kinds(objects, "NetworkPolicy"), pods(objects)
    assert reaches(policies, ours["town"], TRACES, 4318)
    assert not reaches(policies, ours["town"], TRACES, 4317)
    assert not reaches(policies, ours["town-triton"], TRACES, 4318)
    assert all(reaches(policies, pod, DNS, 53, "UDP") for pod in ours.values())


def test_triton_looks_nothing_up_and_goes_nowhere_where_no_weights_are_fetched(render):
    objects = render(chosen="networkPolicy.modelSources=null")
    policies, triton = kinds(objects, "NetworkPolicy"), pods(objects)["town-triton"]
    assert not any(reaches(policies, triton, pod, 53, "UDP") for pod in (DNS, *STRANGERS))


def test_pods_of_a_ray_cluster_reach_one_another(render):
    objects = render()
    one = pods(objects)["town-population"]
    assert all(reaches(kinds(objects, "NetworkPolicy"), one, one, port) for port in (6379, 8265, 10002))


def test_without_anybody_named_only_the_namespace_reaches_the_service(render):
    objects = render(chosen="networkPolicy.from=null")
    policies, service = kinds(objects, "NetworkPolicy"), pods(objects)["town"]
    assert reaches(policies, Pod("faces", {"app": "x"}), service, 8080)
    assert not reaches(policies, INGRESS, service, 8080)


def test_health_and_metrics_are_not_published(objects):
    for ingress in kinds(objects, "Ingress"):
        paths = [p["path"] for rule in ingress["spec"]["rules"] for p in rule["http"]["paths"]]
        assert set(paths) <= {"/v1", "/anonfaces.v1.Anonymizer"}
    for route in kinds(objects, "HTTPRoute"):
        (match,) = (m for rule in route["spec"]["rules"] for m in rule["matches"])
        assert match["path"] == {"type": "PathPrefix", "value": "/v1"}


def test_published_grpc_is_the_service_of_the_interface(render):
    from services.anonymizer.api.grpc_server import SERVICE

    (route,) = kinds(render(more=(GATEWAY,)), "GRPCRoute")
    assert route["spec"]["rules"][0]["matches"] == [{"method": {"type": "Exact", "service": SERVICE.full_name}}]
    (ingress,) = (one for one in kinds(render(), "Ingress") if one["metadata"]["name"] == "town-grpc")
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] == f"/{SERVICE.full_name}"


def test_routes_lead_to_ports_of_the_service(render):
    objects = render(more=(GATEWAY,))
    (service,) = (s for s in kinds(objects, "Service") if s["metadata"]["name"] == "town")
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    for kind, name in (("HTTPRoute", "http"), ("GRPCRoute", "grpc")):
        (route,) = kinds(objects, kind)
        assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "town", "port": ports[name]}]
