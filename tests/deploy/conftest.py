"""The chart as helm renders it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from deploy.checks.tools import CHART, helm
from services.errors import WeightsError

SETS = ("cpu-small", "gpu", "gpu-large")
VALUES = Path(__file__).with_name("values")
EVERYTHING, GATEWAY, PLAIN = (VALUES / f"{name}.yaml" for name in ("everything", "gateway", "plain"))
Objects = list[dict]


@pytest.fixture(scope="session")
def helm_here() -> None:
    """Skips what needs helm where it cannot be had."""
    from deploy.checks.tools import fetch

    try:
        fetch()
    except WeightsError as missing:
        pytest.skip(f"needs helm, which cannot be fetched here: {missing}")


def values_of(which: str, *more: Path) -> list[str]:
    """helm's arguments for one of the chart's sets of values, and files over it."""
    return [f"--values={path}" for path in (CHART / "values" / f"{which}.yaml", *more)]


def rendered(which: str = "cpu-small", chosen: str = "", more: tuple[Path, ...] = (EVERYTHING,)) -> Objects:
    """The objects of the chart with a set of values, files over it, and `chosen` over those."""
    told = helm("template", "town", str(CHART), "--namespace=faces", *values_of(which, *more), "--set", chosen)
    return [one for one in yaml.safe_load_all(told) if one]


@pytest.fixture(scope="session")
def render(helm_here) -> Callable[..., Objects]:
    """Renders the chart: see `rendered`."""
    return rendered


@pytest.fixture(
    scope="session",
    params=[(s, m) for s in SETS for m in (EVERYTHING, GATEWAY, PLAIN)],
    ids=lambda p: f"{p[0]}-{p[1].stem}",
)
def objects(request, helm_here) -> Objects:
    which, more = request.param
    return rendered(which, more=(more,))


def kinds(objects: Objects, kind: str) -> Objects:
    return [one for one in objects if one["kind"] == kind]


def named(objects: Objects, kind: str, name: str) -> dict:
    (found,) = (one for one in kinds(objects, kind) if one["metadata"]["name"] == name)
    return found


def pod_templates(value: object) -> Iterator[dict]:
    """The specifications of all pods that an object makes, those of custom resources included."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for inner in value.values():
            yield from pod_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pod_templates(inner)


def containers(objects: Objects) -> list[dict]:
    return [c for spec in pod_templates(objects) for c in (*spec["containers"], *spec.get("initContainers", []))]


def container(objects: Objects, name: str) -> dict:
    (found,) = (c for c in containers(objects) if c["name"] == name)
    return found


def environment(objects: Objects, name: str = "service") -> dict[str, str]:
    """What a container is told in plain text."""
    return {one["name"]: one["value"] for one in container(objects, name)["env"] if "value" in one}


def gibibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return float(number) / {"Mi": 1024, "Gi": 1}[unit]
