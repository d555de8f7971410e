"""The chart's probes, run against the real service that asks clients for certificates."""

import subprocess
import sys

import pytest
import yaml

from deploy.checks.tools import CHART, fetch, helm
from services.errors import WeightsError
from services.processes import free_port
from tests.security.certificates import Authority, Pair

MTLS = "access.keysSecret=k,access.tlsSecret=t,access.clientCaSecret=c,access.clientSecret=o"


@pytest.fixture(scope="module")
def probes() -> dict[str, list[str]]:
    """The commands of the probes where clients must show a certificate."""
    try:
        fetch()
    except WeightsError as missing:
        pytest.skip(f"needs helm, which cannot be fetched here: {missing}")
    told = helm("template", "town", str(CHART), "--show-only=templates/service-deployment.yaml", "--set", MTLS)
    (container,) = yaml.safe_load(told)["spec"]["template"]["spec"]["containers"]
    return {kind: container[f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "readiness", "liveness")}


def run(command: list[str], port: int, pair: Pair) -> int:
    """Runs a probe as the kubelet would, here: other port, other files."""
    python, option, script, path = command
    assert (python, option) == ("python", "-c")
    for there, here in (
        ("8080", str(port)),
        ("/secrets/client/tls.crt", str(pair.certificate)),
        ("/secrets/client/tls.key", str(pair.key)),
    ):
        assert there in script
        script = script.replace(there, here)
    done = subprocess.run([sys.executable, option, script, path], capture_output=True, text=True, timeout=60)
    return done.returncode


@pytest.mark.parametrize("kind", ["startup", "readiness", "liveness"])
def test_probe_with_the_certificate_says_that_the_service_is_well(secured, probes, kind):
    assert run(probes[kind], secured.service.port, secured.client) == 0


@pytest.mark.parametrize("kind", ["readiness", "liveness"])
def test_probe_fails_where_nobody_listens(secured, probes, kind):
    assert run(probes[kind], free_port(), secured.client) != 0


def test_probe_fails_on_a_path_that_is_not_well(secured, probes):
    assert run([*probes["liveness"][:3], "/nothing"], secured.service.port, secured.client) != 0


def test_probe_with_a_certificate_of_others_fails(secured, probes, tmp_path):
    stranger = Authority(tmp_path, "others").sign("stranger")
    assert run(probes["readiness"], secured.service.port, stranger) != 0
