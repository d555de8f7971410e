"""compose.yaml: well-formed, and what it says of every container. Docker itself is not asked: none may be here."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from jsonschema import Draft201909Validator, ValidationError

from conversion.catalogue import Catalogue
from deploy.checks.tools import CHART
from deploy.container.images import HERE, TARGETS, name_of
from services.anonymizer.models import choose
from services.errors import WeightsError
from services.population.compatibility import served_models
from services.settings import Settings, settings

PREFIX = "ANONFACES_"
COMPOSE = HERE / "compose.yaml"
TEXT = COMPOSE.read_text()
DOCUMENT = yaml.safe_load(TEXT)
SERVICES = DOCUMENT["services"]
OURS = ("service-cpu", "service-gpu")


@pytest.fixture(scope="session")
def schema() -> Draft201909Validator:
    """Of the specification as it was before the project's `name` came to it."""
    catalogue = Catalogue(settings().home / "tools", HERE / "tools.toml")
    try:
        catalogue.pull("compose-schema")
    except WeightsError as missing:
        pytest.skip(f"needs the schema of Compose, which cannot be fetched here: {missing}")
    return Draft201909Validator(json.loads(catalogue.verified("compose-schema")["compose-spec.json"].read_text()))


def test_file_is_valid_by_the_schema_of_compose(schema):
    schema.validate({key: value for key, value in DOCUMENT.items() if key != "name"})


@pytest.mark.parametrize("wrong", ["read_onyl: true", "profiles: cpu", "tmpfs: {a: b}", "stop_grace_period: 75"])
def test_schema_refuses_a_typo(schema, wrong):
    broken = {"services": {**SERVICES, "service-cpu": {**SERVICES["service-cpu"], **yaml.safe_load(wrong)}}}
    with pytest.raises(ValidationError):
        schema.validate(broken)


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_no_more_rights_than_it_needs(name):
    told = SERVICES[name]
    assert told["user"] == "65532:65532"
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert told["pids_limit"] > 0
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & told.keys()
    assert told.get("network_mode", "none") == "none"
    assert all(":/" in volume and not volume.startswith(("/", ".")) for volume in told["volumes"])  # none of the host's


def test_every_volume_and_network_is_declared_and_used():
    volumes = {volume.split(":")[0] for told in SERVICES.values() for volume in told["volumes"]}
    networks = {network for told in SERVICES.values() for network in told.get("networks", [])}
    assert volumes == DOCUMENT["volumes"].keys()
    assert networks == DOCUMENT["networks"].keys()


def test_only_the_service_is_published_and_only_to_this_machine():
    assert {name for name, told in SERVICES.items() if "ports" in told} == set(OURS)
    defaults = Settings()
    for name in OURS:
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{p}:{p}" for p in (defaults.port, defaults.grpc_port)]


def test_only_the_service_reaches_triton_and_triton_reaches_nothing():
    assert DOCUMENT["networks"]["inference"] == {"internal": True}
    on_it = {name for name, told in SERVICES.items() if "inference" in told.get("networks", [])}
    assert on_it == {*OURS, "triton-cpu", "triton-gpu"}
    for name in ("triton-cpu", "triton-gpu"):
        assert SERVICES[name]["networks"] == {"inference": {"aliases": ["triton"]}}


@pytest.mark.parametrize("name", OURS)
def test_nothing_of_a_photo_can_reach_a_disk(name):
    told = SERVICES[name]
    assert all(volume.endswith(":ro") for volume in told["volumes"])
    assert told["mem_limit"] == told["memswap_limit"]  # no swap


def variables(told: dict) -> Iterator[tuple[str, str]]:
    """ANONFACES_... of a container, without what the shell may put in the place of a default."""
    for name, value in told.get("environment", {}).items():
        if name.startswith(PREFIX):
            yield name, re.sub(r"\$\{\w+:-(\w*)\}", r"\1", value)


def test_every_variable_is_a_setting_with_a_value_that_it_takes(monkeypatch):
    told = [pair for one in SERVICES.values() for pair in variables(one)]
    assert told
    for name, value in told:
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields, name
        monkeypatch.setenv(name, value)
    assert Settings().triton_url == "triton:8001"
    assert re.findall(r"\$\{(\w+)", TEXT) == ["ANONFACES_INDEX"]


def test_gpu_is_reserved_where_the_profile_says_gpu_and_nowhere_else():
    reserving = {
        name: told["deploy"]["resources"]["reservations"]["devices"]
        for name, told in SERVICES.items()
        if "deploy" in told
    }
    assert reserving == {"triton-gpu": [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]}


@pytest.mark.parametrize(
    ("profile", "containers"),
    [
        ("cpu", {"models", "triton-cpu", "service-cpu"}),
        ("gpu", {"models", "triton-gpu", "service-gpu"}),
        ("population", {"models", "population"}),
    ],
)
def test_profile_starts_what_it_needs(profile, containers):
    started = {name for name, told in SERVICES.items() if profile in told["profiles"]}
    assert started == containers
    for name in started:  # what it waits for is started too
        assert SERVICES[name].get("depends_on", {}).keys() <= started


@pytest.mark.parametrize(("kind", "precision"), [("cpu", "int8"), ("gpu", "float32")])
def test_triton_loads_what_the_service_beside_it_asks_for(kind, precision, monkeypatch):
    for name, value in variables(SERVICES[f"service-{kind}"]):
        monkeypatch.setenv(name, value)
    told = Settings()
    assert told.detector_precision == precision
    words = SERVICES[f"triton-{kind}"]["command"]
    loaded = {word.removeprefix("--load-model=") for word in words if word.startswith("--load-model=")}
    assert loaded == served_models(told, choose(told))
    assert ("--model-config-name=gpu" in words) == (kind == "gpu")


def test_images_are_those_that_are_built_here_and_nvidias_is_the_charts():
    for name, told in SERVICES.items():
        if "build" in told:
            target = told["build"]["target"]
            assert target in TARGETS
            assert told["image"] == name_of(target).removeprefix("localhost/"), name
            assert (HERE / told["build"]["context"] / told["build"]["dockerfile"]).is_file()
    chart = yaml.safe_load((CHART / "values.yaml").read_text())["triton"]["image"]
    for name in ("triton-cpu", "triton-gpu"):
        assert SERVICES[name]["image"] == f"{chart['repository']}:{chart['tag']}"


def test_containers_are_given_longer_to_stop_than_a_request_may_take():
    for name in OURS:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= Settings().request_timeout_s + 10
    for kind in ("cpu", "gpu"):
        (told,) = (w for w in SERVICES[f"triton-{kind}"]["command"] if w.startswith("--exit-timeout-secs="))
        assert int(told.partition("=")[2]) < int(SERVICES[f"triton-{kind}"]["stop_grace_period"].removesuffix("s"))
