"""The picture of the parts, docs/architecture.svg: `python -m deploy.checks.architecture` draws it; a test compares.

What is written in it is the code's own: stages and metrics of services/metrics.py, models of the settings and of the
chart, names, ports and paths of what helm renders.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from deploy.checks.drawing import Drawing
from deploy.checks.tools import CHART, helm
from services import metrics
from services.anonymizer.models import choose
from services.settings import ROOT, Settings

PICTURE = ROOT / "docs" / "architecture.svg"
CHOSEN = (
    "access.keysSecret=keys,index.maps.keySecret=map,models.claim=anonfaces-models,population.enabled=true,"
    "triton.config=gpu,triton.gpu.count=1,triton.engines.claim=anonfaces-engines"
)
WIDTH, HEIGHT = 1340, 648
LEFT, MIDDLE, RIGHT = (24, 188), (300, 762), (1126, 190)  # columns: x, width
CHIP, STEP = 90, 104  # of a stage: width, and from one to the next
STAGES, FIRST, SECOND = 232, 396, 432  # rows of chips: y


class Parts:
    """What the picture names, read from the chart and from the code."""

    def __init__(self) -> None:
        told = helm("template", "town", str(CHART), "--set", CHOSEN)
        self._objects = [one for one in yaml.safe_load_all(told) if one]
        self.values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
        self.stages: list[str] = re.findall(r"`(\w+)`", metrics.LABELS["stage"])
        models = choose(Settings(detector_precision="float32"))  # as the chart sets it with GPUs
        self.models = {
            "detect": list(models.detector.served),
            "embed": [models.embedder.model],
            "synthesise": [models.generator.model],
        }
        drawn = {model for some in self.models.values() for model in some} | {*self.values["population"]["models"]}
        (triton,) = self._pod("town-triton")["containers"]
        assert drawn == {one.removeprefix("--load-model=") for one in triton["args"] if one.startswith("--load-model=")}

    def port(self, deployment: str, name: str) -> int:
        """A port of a Deployment's container, by its name."""
        (ports,) = (c["ports"] for c in self._pod(deployment)["containers"])
        return int(next(port["containerPort"] for port in ports if port["name"] == name))

    def claim(self, deployment: str, volume: str) -> str:
        """The claim behind a volume of a Deployment."""
        (found,) = (v for v in self._pod(deployment)["volumes"] if v["name"] == volume)
        return str(found["persistentVolumeClaim"]["claimName"])

    def job(self) -> dict[str, Any]:
        (found,) = (one for one in self._objects if one["kind"] == "RayJob")
        return dict(found)

    def commands(self) -> list[str]:
        """What the job of a population runs, a word each."""
        return re.findall(r"anonfaces population (\w+)", self.job()["spec"]["entrypoint"])

    def _pod(self, deployment: str) -> dict[str, Any]:
        names = ((one["kind"], one["metadata"]["name"]) for one in self._objects)
        at = list(names).index(("Deployment", deployment))
        return dict(self._objects[at]["spec"]["template"]["spec"])


def draw() -> str:
    """The picture as SVG text."""
    parts, picture = Parts(), Drawing(WIDTH, HEIGHT)
    picture.fence(
        256, 16, WIDTH - 256 - 12, HEIGHT - 32, ["network policies: where", "no arrow is, nothing is reached"]
    )
    middle = {stage: MIDDLE[0] + 24 + number * STEP + CHIP / 2 for number, stage in enumerate(parts.stages)}
    _outside(picture, parts)
    _service(picture, parts, middle)
    _triton(picture, parts, middle)
    _volumes(picture, parts, middle)
    _population(picture, parts)
    return picture.text()


def _outside(picture: Drawing, parts: Parts) -> None:
    """The left column: who asks, and what is asked."""
    x, width = LEFT
    http, grpc = parts.port("town", "http"), parts.port("town", "grpc")
    picture.box(x, 40, width, 64, "clients", ["anonfaces.client, curl"])
    picture.box(x, 152, width, 84, "ingress or gateway", [f"/v1  to  {http}", f"anonfaces.v1  to  {grpc}"])
    picture.arrow((x + width / 2, 104), (x + width / 2, 152))
    picture.arrow((x + width, 194), (MIDDLE[0], 194), "HTTP, gRPC")
    seen = [one._name for one in (metrics.STAGE_SECONDS, metrics.QUEUE_SECONDS, metrics.INDEX_K)]
    picture.box(x, 264, width, 176, "Prometheus", [*seen, "", "rules/alerts.yaml", "KEDA asks it what waits"])
    picture.arrow((x + width, 284), (MIDDLE[0], 284), f":{http}")
    picture.arrow((x + width, 418), (MIDDLE[0], 418), f":{parts.port('town-triton', 'metrics')}")
    picture.box(x, 540, width, 68, "package index", ["weights.toml, SHA-256"])


def _service(picture: Drawing, parts: Parts, middle: dict[str, float]) -> None:
    x, width = MIDDLE
    picture.box(x, 172, width, 128, "service", [], "deployment/town")
    for stage, at in middle.items():
        picture.chip(at - CHIP / 2, STAGES, CHIP, stage, "strong")
    for one, other in pairwise(parts.stages):
        picture.arrow((middle[one] + CHIP / 2, STAGES + 14), (middle[other] - CHIP / 2, STAGES + 14), small=True)


def _triton(picture: Drawing, parts: Parts, middle: dict[str, float]) -> None:
    x, width = MIDDLE
    picture.box(x, 348, width, 132, "Triton", [], "deployment/town-triton")
    left = middle["detect"] - 84
    places = {
        "detect": (left, 132),
        "embed": (middle["embed"] - 46, 92),
        "synthesise": (middle["synthesise"] - 80, 160),
    }
    for stage, (at, wide) in places.items():
        for model, y in zip(parts.models[stage], (FIRST, SECOND), strict=False):
            picture.chip(at, y, wide, model)
        label = f":{parts.port('town-triton', 'grpc')}"
        picture.arrow((middle[stage], STAGES + 28), (middle[stage], FIRST), label, label_at=328)
    at = middle["embed"] - 46
    for model, wide in zip(parts.values["population"]["models"], (152, 174, 178), strict=True):
        picture.chip(at, SECOND, wide, model, "chip faint")  # loaded while a population is made
        at += wide + 8
    picture.note(middle["synthesise"] + 96, FIRST + 18, "dashed: for a population")


def _volumes(picture: Drawing, parts: Parts, middle: dict[str, float]) -> None:
    x, at = MIDDLE[0], middle["look_up"]
    lines = ["indexes/NAME/current: crowds", "maps/NAME, encrypted: who is in which"]
    picture.box(at - 150, 40, 300, 84, parts.claim("town", "indexes"), lines, kind="volume")
    picture.arrow((at, 124), (at, STAGES), "read-only, each new version", label_at=152)
    picture.box(x, 540, 210, 68, "init container models", ["pull, verify, convert"])
    picture.arrow((sum(LEFT), 574), (x, 574), ":443")
    lines = ["a folder for each version"]
    picture.box(at - 115, 540, 230, 68, parts.claim("town-triton", "models"), lines, kind="volume")
    picture.arrow((x + 210, 574), (at - 115, 574))
    picture.arrow((at, 540), (at, 480), "read-only")
    picture.box(x + 532, 540, 230, 68, parts.claim("town-triton", "engines"), ["TensorRT, with GPUs"], kind="volume")
    picture.arrow((x + 647, 540), (x + 647, 480), "built once")


def _population(picture: Drawing, parts: Parts) -> None:
    x, width = RIGHT
    picture.box(x, 40, width, 440, "population", ["a RayJob, while it runs"])
    for number, command in enumerate(parts.commands()):
        picture.chip(x + 16, 128 + 40 * number, width - 32, f"population {command}", "strong")
    picture.note(x + 16, 232, "the head runs both, the")
    picture.note(x + 16, 250, "workers share their parts")
    for number, claim in enumerate(("photosClaim", "populationsClaim")):
        picture.chip(x + 16, 288 + 40 * number, width - 32, parts.values["population"][claim], "volume")
    index = MIDDLE[0] + 24 + 3 * STEP + CHIP / 2 + 150
    picture.arrow((x, 82), (index, 82), "writes the next version")
    picture.arrow((x, 410), (sum(MIDDLE), 410), f":{parts.port('town-triton', 'grpc')}")


def write(path: Path = PICTURE) -> None:
    path.write_text(draw())


if __name__ == "__main__":
    write()
