"""Where a photo's time goes, measured on the running stack: all figures of a report come from one run."""

import asyncio
import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import tritonclient.grpc as grpcclient
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from deploy.local.sample_photos import framed, paste, unseen_pictures
from deploy.local.stack import LocalStack
from services.anonymizer.encode import encode
from services.anonymizer.models import Detector
from services.anonymizer.triton import Triton
from services.population.compatibility import models_for
from services.population.index import open_index
from services.population.sample import Sampler, sampler_for
from services.settings import Settings

PHOTO_PX, FACE_PX = 1024, 700
STAGES = ("decode", "detect", "embed", "look_up", "synthesise", "blend", "encode")
SEQUENTIAL, PER_CONCURRENCY = 30, 32


@dataclass(frozen=True)
class Sums:
    """Totals since the start of the servers, in seconds and counts."""

    stages: dict[str, float]
    triton: dict[str, float]  # by model, inside Triton: queue and compute

    def since(self, before: "Sums") -> "Sums":
        def difference(now: dict[str, float], then: dict[str, float]) -> dict[str, float]:
            return {name: value - then.get(name, 0) for name, value in now.items()}

        return Sums(
            difference(self.stages, before.stages),
            difference(self.triton, before.triton),
        )


def read_sums(stack: LocalStack) -> Sums:
    """Reads the service's histograms and Triton's own statistics."""
    with httpx.Client(timeout=30) as http:
        stages = _read_stages(http, stack.url)
    with grpcclient.InferenceServerClient(stack.triton.url) as server:
        statistics = server.get_inference_statistics().model_stats
    inside = {model.name: model.inference_stats.success.ns / 1e9 for model in statistics}
    return Sums(stages, inside)


def _read_stages(http: httpx.Client, url: str) -> dict[str, float]:
    """Seconds in each stage since the start of the service."""
    families = text_string_to_metric_families(http.get(f"{url}/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {s.labels["stage"]: s.value for s in samples if s.name == "anonfaces_stage_seconds_sum"}


def _one_by_one(url: str, photos: Sequence[bytes]) -> list[dict[str, float]]:
    """Sends photos one after the other. Returns each one's seconds by stage, and as a `whole`.

    By the standard library's client, which adds a third of what httpx does: it is the service that is measured.
    """
    rows = []
    place = urlsplit(url)
    sender = HTTPConnection(place.hostname or "", place.port, timeout=300)
    with httpx.Client(timeout=300) as http, closing(sender):
        before = _read_stages(http, url)
        for photo in photos:
            start = time.perf_counter()
            sender.request("POST", "/v1/anonymize", photo, {"Content-Type": "image/jpeg"})
            answer = sender.getresponse()
            answer.read()
            whole = time.perf_counter() - start
            assert answer.status == HTTPStatus.OK, answer.status
            after = _read_stages(http, url)
            rows.append({"whole": whole, **{name: after.get(name, 0.0) - before.get(name, 0.0) for name in STAGES}})
            before = after
    return rows


async def _photos(stack: LocalStack, sampler: Sampler, count: int) -> list[bytes]:
    """One-face photos of 1024 x 1024, as JPEG."""
    async with Triton(stack.triton.url, timeout_s=60) as triton:
        pictures = await unseen_pictures(count, sampler, triton)
    photos = []
    for picture in pictures:
        board = np.full((PHOTO_PX, PHOTO_PX, 3), 150, np.uint8)
        paste(board, framed(picture), (PHOTO_PX / 2, PHOTO_PX / 2), FACE_PX, 4.0)
        photos.append(encode(board, "jpeg", quality=92))
    return photos


async def _send(url: str, photos: Sequence[bytes], concurrency: int) -> tuple[list[float], float, int]:
    """Sends photos, so many at a time. Returns each one's seconds, the seconds of all, and the faces replaced."""
    slots = asyncio.Semaphore(concurrency)
    faces = 0

    async def one(http: httpx.AsyncClient, photo: bytes) -> float:
        nonlocal faces
        async with slots:
            start = time.perf_counter()
            answer = await http.post(url, content=photo, headers={"Content-Type": "image/jpeg"})
            answer.raise_for_status()
            faces += int(answer.headers["X-AnonFACES-Enrolled"]) + int(answer.headers["X-AnonFACES-Strangers"])
            return time.perf_counter() - start

    async with httpx.AsyncClient(timeout=300) as http:
        start = time.perf_counter()
        seconds = await asyncio.gather(*(one(http, photo) for photo in photos))
        return list(seconds), time.perf_counter() - start, faces


def run(settings: Settings, out: Path, console: Console) -> dict[str, Any]:
    """Runs the bench on a stack of its own; prints tables and writes `out` as JSON."""
    models = models_for(open_index(settings), settings)
    sampler = sampler_for(models.generator, settings.model_repository)
    console.print("starting Triton and the service ...")
    with LocalStack(settings, extra_models=sampler.models) as stack:
        photos = asyncio.run(_photos(stack, sampler, 6))
        url = f"{stack.url}/v1/anonymize"
        console.print("measuring ...")
        first, _, _ = asyncio.run(_send(url, photos, 1))  # fills the cache of surrogates
        before = read_sums(stack)
        cached = _one_by_one(stack.url, (photos * SEQUENTIAL)[:SEQUENTIAL])
        spent = read_sums(stack).since(before)
        second_look_s = _alone(stack, models.detector)
        rates = {}
        for concurrency in (1, 8):
            _, wall, faces = asyncio.run(_send(url, (photos * PER_CONCURRENCY)[:PER_CONCURRENCY], concurrency))
            rates[concurrency] = faces / wall
    inside_s = sum(seconds for name, seconds in spent.triton.items() if name != models.detector.look) / len(cached)
    report = _report(first, cached, spent, inside_s + second_look_s, rates)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    _print(report, console)
    console.print(f"also in [bold]{out}[/]", highlight=False)
    return report


def _alone(stack: LocalStack, detector: Detector) -> float:
    """Seconds inside Triton of a second look at one face, by itself.

    Of a photo's two requests to its model the thumbnail's runs beside the first look, and is no time of its own.
    """
    picture = np.zeros((1, detector.look_px, detector.look_px, 3), np.uint8)

    async def look() -> None:
        async with Triton(stack.triton.url, timeout_s=60) as triton:
            for _ in range(SEQUENTIAL):
                await triton.infer(detector.look, {"image": picture}, "scores")

    before = read_sums(stack)
    asyncio.run(look())
    return read_sums(stack).since(before).triton[detector.look] / SEQUENTIAL


def _report(
    first: list[float], cached: list[dict[str, float]], spent: Sums, inside: float, rates: dict[int, float]
) -> dict[str, Any]:
    """All figures. `inside`: seconds of a photo in which Triton was at work, one request after the other."""
    whole = sum(row["whole"] for row in cached) / len(cached)
    n = len(cached)
    stages = {name: 1000 * spent.stages.get(name, 0.0) / n for name in STAGES}
    stages["http and waiting"] = 1000 * whole - sum(stages.values())
    return {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "photo": f"one face, {PHOTO_PX} x {PHOTO_PX} JPEG, surrogate cached, one request at a time",
        "requests": n,
        "median_ms": 1000 * median(row["whole"] for row in cached),
        "mean_ms": 1000 * whole,
        "median_first_ms": 1000 * median(first),
        "stages_ms": stages,
        "median_own_ms": 1000 * median(_without(row, "detect", "embed") for row in cached),
        "median_own_less_jpeg_ms": 1000
        * median(_without(row, "detect", "embed", "decode", "encode") for row in cached),
        "outside_triton_ms": 1000 * (whole - inside),
        "outside_triton_share": 1 - inside / whole,
        "faces_per_second": {str(concurrency): rate for concurrency, rate in rates.items()},
        "note": "the local Triton runs a Python backend: its times are not those of Triton's own onnxruntime backend",
    }


def _without(row: dict[str, float], *stages: str) -> float:
    """Seconds of a whole request less those of some stages."""
    return row["whole"] - sum(row[stage] for stage in stages)


def _print(report: dict[str, Any], console: Console) -> None:
    table = Table(title=report["photo"])
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    for name, milliseconds in report["stages_ms"].items():
        table.add_row(name, f"{milliseconds:.1f}", f"{milliseconds / report['mean_ms']:.1%}")
    table.add_row("[bold]whole (mean)[/]", f"{report['mean_ms']:.1f}", "100%")
    console.print(table)
    console.print(
        f"median {report['median_ms']:.0f} ms; {report['median_first_ms'] / report['median_ms']:.1f} times that when "
        "the surrogate must be rendered first",
        highlight=False,
    )
    console.print(
        f"outside Triton: {report['outside_triton_ms']:.1f} ms, {report['outside_triton_share']:.1%} of the whole",
        highlight=False,
    )
    console.print(
        f"neither detection nor embedding: {report['median_own_ms']:.1f} ms (median), "
        f"{report['median_own_less_jpeg_ms']:.1f} ms without reading and writing JPEG",
        highlight=False,
    )
    for concurrency, rate in report["faces_per_second"].items():
        console.print(f"faces per second at concurrency {concurrency}: {rate:.2f}", highlight=False)
    console.print(report["note"], highlight=False)
