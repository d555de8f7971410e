"""The picture of the parts, docs/architecture.svg: `python -m deploy.checks.architecture` draws it; a test compares.

What is written in it is the code's own: stages and metrics of services/metrics.py, models of the settings and of the
chart, names, ports and paths of what helm renders.
"""

import re
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
WIDTH, HEIGHT = 1240, 728
LEFT, MIDDLE, RIGHT = (24, 184), (284, 700), (1036, 180)  # columns: x, width
CHIP, STEP = 84, 96  # of a stage: width, and from one to the next


class Parts:
    """What the picture names, read from the chart and from the code."""

    def __init__(self) -> None:
        told = helm("template", "town", str(CHART), "--set", CHOSEN)
        self._objects = [one for one in yaml.safe_load_all(told) if one]
        self.values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
        self.stages: list[str] = re.findall(r"`(\w+)`", metrics.LABELS["stage"])
        models = choose(Settings())
        self.models = {
            "detect": list(models.detector.served),
            "embed": [models.embedder.model],
            "synthesise": [models.generator.model],
        }
        assert sorted(sum(self.models.values(), [])) == sorted(self.values["models"]["names"])

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
    picture.fence(252, 16, WIDTH - 252 - 12, HEIGHT - 32, "network policies: whatever has no arrow here reaches nothing")
    middle = {stage: MIDDLE[0] + 20 + number * STEP + CHIP / 2 for number, stage in enumerate(parts.stages)}
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
    picture.box(x, 48, width, 60, "clients", ["anonfaces.client, curl, grpcurl"])
    picture.box(x, 184, width, 84, "ingress or gateway", [f"/v1  →  {http}", f"anonfaces.v1  →  {grpc}"])
    picture.arrow([(x + width / 2, 108), (x + width / 2, 184)])
    picture.arrow([(x + width, 226), (MIDDLE[0], 226)], "HTTP, gRPC")
    picture.box(x, 300, width, 164, "Prometheus", ["rules/recording.yaml", "rules/alerts.yaml", "", "KEDA scales by", "what waits"])
    picture.arrow([(x + width, 332), (MIDDLE[0], 332)], f":{http}/metrics")
    picture.arrow([(x + width, 442), (MIDDLE[0], 442)], f":{parts.port('town-triton', 'metrics')}/metrics")
    picture.box(x, 612, width, 68, "package index", ["weights.toml, SHA-256"])


def _service(picture: Drawing, parts: Parts, middle: dict[str, float]) -> None:
    x, width = MIDDLE
    picture.box(x, 176, width, 180, "service", ["deployment/town"], wide=True)
    top = 246
    for stage, at in middle.items():
        picture.chip(at - CHIP / 2, top, CHIP, stage, strong=True)
    for one, other in zip(parts.stages, parts.stages[1:], strict=False):
        picture.arrow([(middle[one] + CHIP / 2, top + 14), (middle[other] - CHIP / 2, top + 14)], small=True)
    seen = [metrics.QUEUE_SECONDS, metrics.STAGE_SECONDS, metrics.INFERENCE_SECONDS, metrics.INDEX_RELOADS]
    picture.note(x + 20, 334, "   ".join(one._name for one in seen))


def _triton(picture: Drawing, parts: Parts, middle: dict[str, float]) -> None:
    x, width = MIDDLE
    picture.box(x, 408, width, 132, "Triton", ["deployment/town-triton"], wide=True)
    grpc = parts.port("town-triton", "grpc")
    places = {"detect": (middle["detect"] - 92, 136), "embed": (middle["embed"] - CHIP / 2, 92), "synthesise": (middle["synthesise"] - 66, 148)}
    for stage, (left, wide) in places.items():
        for number, model in enumerate(parts.models[stage]):
            picture.chip(left, 464 + 34 * number, wide, model)
        picture.arrow([(middle[stage], 274), (middle[stage], 464)], f":{grpc}" if stage == "embed" else "")
    for number, model in enumerate(parts.values["population"]["models"]):
        picture.chip(x + width - 182, 430 + 34 * number, 172, model, faint=True)


def _volumes(picture: Drawing, parts: Parts, middle: dict[str, float]) -> None:
    x, width = MIDDLE
    at = middle["look_up"]
    name = parts.claim("town", "indexes")
    picture.box(at - 160, 48, 320, 84, name, ["indexes/NAME/current  →  crowds", "maps/NAME  encrypted: who is in which"], volume=True)
    picture.arrow([(at, 132), (at, 246)], "read-only, each new version")
    picture.box(x, 612, 200, 68, "init container models", ["pull, verify, convert"])
    picture.arrow([(sum(LEFT), 646), (x, 646)], "443")
    picture.box(x + 252, 612, 200, 68, parts.claim("town-triton", "models"), ["a folder for each version"], volume=True)
    picture.arrow([(x + 200, 646), (x + 252, 646)])
    picture.arrow([(x + 352, 612), (x + 352, 540)])
    picture.box(x + 500, 612, 200, 68, parts.claim("town-triton", "engines"), ["TensorRT, with GPUs"], volume=True)
    picture.arrow([(x + 600, 612), (x + 600, 540)])


def _population(picture: Drawing, parts: Parts) -> None:
    x, width = RIGHT
    picture.box(x, 48, width, 492, "population", ["RayJob, while it runs"])
    for number, command in enumerate(parts.commands()):
        picture.chip(x + 16, 118 + 44 * number, width - 32, f"population {command}", strong=True)
    picture.note(x + 16, 222, "head: both commands")
    picture.note(x + 16, 242, "workers: photos, parts")
    for number, claim in enumerate(("photosClaim", "populationsClaim")):
        picture.chip(x + 10, 276 + 38 * number, width - 20, parts.values["population"][claim], volume=True)
    picture.arrow([(x, 90), (784, 90)], "writes the next version")
    picture.arrow([(x, 474), (sum(MIDDLE), 474)])


def write(path: Path = PICTURE) -> None:
    path.write_text(draw())


if __name__ == "__main__":
    write()
