"""The chart as helm renders it."""

from collections.abc import Callable

import pytest
import yaml

from deploy.checks.tools import CHART, helm
from services.errors import WeightsError

SETS = ("cpu-small", "gpu", "gpu-large")
EVERYTHING = (
    "access.keysSecret=keys,access.tlsSecret=tls,index.maps.keySecret=map,ingress.enabled=true,ingress.host=faces.example,"
    "ingress.grpc.host=grpc.example,monitoring.serviceMonitor=true,monitoring.rules=true,tests.keySecret=test-key"
)


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    from deploy.checks.tools import fetch

    try:
        fetch()
    except WeightsError as missing:
        pytest.skip(f"needs helm, which cannot be fetched here: {missing}")


@pytest.fixture(scope="session")
def render() -> Callable[..., list[dict]]:
    """Renders the chart with one of its sets of values and some more."""

    def rendered(values: str = "cpu-small", chosen: str = EVERYTHING) -> list[dict]:
        told = ["template", "town", str(CHART), "--namespace", "faces", "-f", str(CHART / "values" / f"{values}.yaml")]
        return [one for one in yaml.safe_load_all(helm(*told, "--set", chosen)) if one]

    return rendered
