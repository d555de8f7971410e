"""What the chart promises of pods, on what helm renders of it. No cluster was asked: see docs/operations.md."""

import math
import re

import pytest
import yaml

from deploy.checks.tools import CHART, helm
from deploy.checks.values_schema import document
from services.anonymizer.api.batch import AHEAD
from services.errors import ConfigurationError
from services.settings import Settings
from tests.deploy.conftest import (
    EVERYTHING,
    GATEWAY,
    PLAIN,
    SETS,
    container,
    containers,
    environment,
    gibibytes,
    kinds,
    named,
    pod_templates,
    values_of,
)

pytestmark = pytest.mark.usefixtures("helm_here")

KEYS = "access.keysSecret=k"
# docs/faults.md: what a flood was seen to take. A worker's own memory, and bytes for each pixel of a WebP worked on.
WORKER_BYTES, PIXEL_BYTES = 0.76e9, 20


# --- what is well-formed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [EVERYTHING, GATEWAY, PLAIN], ids=lambda path: path.stem)
@pytest.mark.parametrize("which", SETS)
def test_chart_is_free_of_what_helm_warns_of(which, more):
    said = helm("lint", "--strict", str(CHART), *values_of(which, more))
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


def test_names_are_not_used_twice(objects):
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))


def test_names_fit_however_long_that_of_the_release_is():
    told = helm("template", "r" * 53, str(CHART), *values_of("gpu", EVERYTHING), "--set", f"population.run={'x' * 16}")
    objects = [one for one in yaml.safe_load_all(told) if one]
    assert max(len(one["metadata"]["name"]) for one in objects) <= 63
    assert len(kinds(objects, "RayJob")[0]["metadata"]["name"]) <= 47  # KubeRay adds to it


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
        "triton.gpu.counts=1",
        "image.digest=sha256:12",
        "index.version=latest",
        "service.replicas=two",
        "gateway.hosts=faces.example",
        "triton.resources.limits.memroy=6Gi",
        "service.resources.requests.cpu=half",
        "networkPolicy.from[0].podselector.matchLabels.a=b",
        "triton.tolerations[0].kye=nvidia.com/gpu",
        "population.enroll={--name town; rm -r /indexes}",
    ],
)
def test_typo_in_the_values_is_refused(render, wrong):
    with pytest.raises(ConfigurationError, match="schema"):
        render(chosen=wrong)


# --- what must not be installed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ("access.anonymous=false", "anonfaces keys add"),
        (f"{KEYS},access.tlsSecret=t,access.clientCaSecret=c", "access.clientSecret"),
        (f"{KEYS},image.tag=latest", "latest"),
        (f"{KEYS},service.terminationGraceSeconds=30", "terminationGraceSeconds"),
        (f"{KEYS},settings.request_timeout_s=300", "terminationGraceSeconds"),
        (f"{KEYS},settings.max_batch_photos=64", "the longest batch"),
        (f"{KEYS},settings.triton_timeout_s=100", "triton.terminationGraceSeconds"),
        (f"{KEYS},triton.config=gpu", "gpu.count"),
        (f"{KEYS},triton.gpu.count=1,autoscaling.triton.enabled=true", "autoscaling.keda"),
        (f"{KEYS},ingress.enabled=true", "ingress.host"),
        (f"{KEYS},gateway.enabled=true", "gateway.parents"),
        (f"{KEYS},monitoring.serviceMonitor=true,access.openMetrics=false", "monitoring.keySecret"),
        (f"{KEYS},traces.endpoint=http://collector:4318", "networkPolicy.collector"),
        (f"{KEYS},population.enabled=true", "models.claim"),
    ],
)
def test_installation_that_would_not_hold_is_refused_and_says_why(render, chosen, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        render(chosen=chosen, more=())


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ("gateway.grpcHost=faces.example", "gateway.grpcHost"),
        ("gateway.caConfigMap=", "gateway.caConfigMap"),
        ("access.clientCaSecret=c,access.clientSecret=o", "client certificate"),
    ],
)
def test_gateway_that_would_not_work_is_refused_and_says_why(render, chosen, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        render(chosen=chosen, more=(GATEWAY,))


# --- pods -----------------------------------------------------------------------------------------------------------


def test_no_pod_has_more_rights_than_it_needs(objects):
    for spec in pod_templates(objects):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    for one in containers(objects):
        rights = one["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_every_container_has_requests_limits_of_memory_and_a_fixed_image(objects):
    for one in containers(objects):
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
        assert "memory" in one["resources"]["limits"]
        assert re.fullmatch(r"[\w./-]+(:(?!latest)[\w.-]+|@sha256:[0-9a-f]{64})", one["image"])


def test_every_volume_of_a_pod_that_can_be_written_to_has_a_limit(objects):
    for spec in pod_templates(objects):
        assert all(v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if "emptyDir" in v)
        mounted = {m["name"] for c in (*spec["containers"], *spec.get("initContainers", [])) for m in c["volumeMounts"]}
        assert mounted == {v["name"] for v in spec["volumes"]}


def test_memory_suffices_for_a_flood_of_the_largest_photos(render):
    for which in SETS:
        objects = render(which, more=(GATEWAY,))
        told = {name.removeprefix("ANONFACES_").lower(): value for name, value in environment(objects).items()}
        s = Settings(**{name: value for name, value in told.items() if name.startswith(("max_", "surrogate_"))})
        worker = WORKER_BYTES + s.max_held_bytes + s.max_pixels_in_work * PIXEL_BYTES + s.surrogate_cache_bytes
        scratch = gibibytes(
            named(objects, "Deployment", "town")["spec"]["template"]["spec"]["volumes"][0]["emptyDir"]["sizeLimit"]
        )
        limit = gibibytes(container(objects, "service")["resources"]["limits"]["memory"])
        assert worker / 2**30 + scratch <= limit, which


def test_every_server_has_all_three_probes(objects):
    for deployment in kinds(objects, "Deployment"):
        (one,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= one.keys()
    for one in containers(kinds(objects, "RayJob")):
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= one.keys()


def test_readiness_proves_the_models_and_the_others_do_not_ask_them(objects):
    asked = {}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container(objects, "service")[kind]
        asked[kind] = probe["httpGet"]["path"] if "httpGet" in probe else probe["exec"]["command"][-1]
    assert asked == {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


def test_pod_is_given_longer_to_stop_than_its_longest_request_may_take(objects):
    told = environment(objects)
    at_once = min(AHEAD, max(1, int(told["ANONFACES_MAX_CONCURRENCY"]) // 2))
    photos = int(told.get("ANONFACES_MAX_BATCH_PHOTOS", Settings().max_batch_photos))
    longest = math.ceil(photos / at_once) * Settings().request_timeout_s
    spec = named(objects, "Deployment", "town")["spec"]["template"]["spec"]
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + longest + 10


def test_triton_is_given_longer_to_stop_than_its_clients_take_to_find_others_and_it_to_answer(objects):
    spec = named(objects, "Deployment", "town-triton")["spec"]["template"]["spec"]
    arguments = dict(one.removeprefix("--").split("=") for one in spec["containers"][0]["args"] if "=" in one)
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    # Connections live 30 s and a tenth. One that was made anew on an old answer of DNS lives once more.
    assert pause >= 2 * 1.1 * int(arguments["grpc-max-connection-age"]) / 1000
    assert int(arguments["exit-timeout-secs"]) >= Settings().triton_timeout_s
    assert spec["terminationGracePeriodSeconds"] > pause + int(arguments["exit-timeout-secs"])


def test_new_pod_is_ready_before_an_old_one_goes(objects):
    for deployment in kinds(objects, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_where_no_gpu_is_to_spare_an_old_triton_goes_first(render):
    triton = named(render(chosen="triton.surge=false"), "Deployment", "town-triton")
    assert triton["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_upgrade_of_the_chart_alone_restarts_nothing(objects):
    for deployment in kinds(objects, "Deployment"):
        assert (
            not {"helm.sh/chart", "app.kubernetes.io/version"}
            & deployment["spec"]["template"]["metadata"]["labels"].keys()
        )


def test_nothing_of_a_photo_can_reach_a_disk(objects):
    """The service and the workers of a population write to memory only: what they can write to is a tmpfs."""
    for spec in pod_templates(objects):
        if spec["containers"][0]["name"] not in ("service", "ray"):
            continue
        volumes = {v["name"]: v for v in spec["volumes"]}
        writable = {m["name"] for c in spec["containers"] for m in c["volumeMounts"] if not m.get("readOnly")}
        assert "scratch" in writable
        assert writable <= {"scratch", "indexes", "populations"}  # the last two: the head of a population, its results
        assert volumes["scratch"]["emptyDir"]["medium"] == "Memory"


def test_gpu_is_asked_for_by_its_resource_and_tolerated(render):
    objects = render("gpu", chosen="triton.gpu.resource=nvidia.com/mig-1g.10gb,triton.gpu.count=2")
    resources = container(objects, "triton")["resources"]
    assert resources["limits"]["nvidia.com/mig-1g.10gb"] == resources["requests"]["nvidia.com/mig-1g.10gb"] == 2
    (spec,) = (s for s in pod_templates(objects) if s["containers"][0]["name"] == "triton")
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_engines_have_a_place_where_the_configurations_of_the_models_put_them(render):
    from conversion.triton_config import ENGINE_CACHE

    mounts = {m["mountPath"] for m in container(render("gpu"), "triton")["volumeMounts"] if not m.get("readOnly")}
    assert ENGINE_CACHE in mounts
