"""A load test on a stack of its own: photos, scenarios, samples, and a report."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from deploy.load.figures import closed_loop_rate, saturation, stairs
from deploy.load.growth import growths
from deploy.load.k6 import K6, Played, Protocol, Scenario
from deploy.load.machine import machine
from deploy.load.photos import LoadPhoto, load_photos, write_photos
from deploy.load.report import Observed, Result, write_report
from deploy.load.watch import Watch
from deploy.local.stack import LocalStack
from services.anonymizer.triton import Triton
from services.errors import LoadTestFailed
from services.population.compatibility import models_for
from services.population.index import open_index
from services.population.sample import Sampler, sampler_for
from services.settings import Settings

What = Literal["short", "http", "grpc", "ramp", "spike", "soak"]
RAMP = (0.3, 0.5, 0.7, 0.85, 1.0, 1.25, 1.7)  # rates as shares of what a probe was served
STEADY, SPIKE, SOAK = 0.5, (0.4, 4.0, 0.4), 0.35
BOTH: tuple[Protocol, ...] = ("http", "grpc")
LEAST = 0.1  # requests a second


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    what: What
    minutes: float  # of a soak
    rate: float | None  # of what is steady, requests a second; None: a share of what a probe was served
    seconds: float  # of a stair


def run(settings: Settings, out: Path, plan: Plan, console: Console) -> None:
    """Starts a stack, plays the scenarios, and writes the report into `out`.

    Raises:
        LoadTestFailed: a threshold was crossed, or something grew; the report says what, and is written all the same.
    """
    about = machine()
    models = models_for(open_index(settings), settings)
    sampler = sampler_for(models.generator, settings.model_repository)
    console.print("starting Triton and the service ...")
    with LocalStack(settings, extra_models=sampler.models) as stack:
        photos = asyncio.run(_photos(stack, sampler, settings))
        write_photos(photos, stack.url, out / "photos")
        with Watch(stack) as watch:
            results = _Player(K6(stack.url, stack.grpc_url, out / "photos", out), watch, console).play(plan)
    judged = growths(results[-1].samples) if plan.what == "soak" else []
    observed = Observed(about, settings, results, watch.samples, judged)
    write_report(observed, out)
    console.print((out / "report.md").read_text(), highlight=False, markup=False, soft_wrap=True)
    console.print(f"in [bold]{out}[/]: report.md, report.json, plots, samples.jsonl", highlight=False)
    if observed.failures:
        raise LoadTestFailed("; ".join(observed.failures))


async def _photos(stack: LocalStack, sampler: Sampler, settings: Settings) -> list[LoadPhoto]:
    async with Triton(stack.triton.url, timeout_s=60) as triton:
        return await load_photos(open_index(settings), sampler, triton)


class _Player:
    """Plays scenarios one after the other; the rates of the later ones follow from what the earlier ones showed."""

    def __init__(self, k6: K6, watch: Watch, console: Console):
        self._k6, self._watch, self._console = k6, watch, console
        self._results: list[Result] = []

    def play(self, plan: Plan) -> list[Result]:
        """Plays all that a plan asks for, one scenario after the other."""
        capacity = max(LEAST, closed_loop_rate(self._one(Scenario("probe", "http", (), plan.seconds))))
        if plan.what in ("short", "ramp"):
            ramps = [self._one(Scenario("ramp", one, _times(capacity, RAMP), plan.seconds)) for one in BOTH]
            capacity = max(LEAST, saturation(stairs(ramps[0])).most_served)
        steady = plan.rate or max(LEAST, STEADY * capacity)
        for protocol in BOTH:
            if plan.what in ("short", protocol):
                self._one(Scenario("constant", protocol, (steady,), 3 * plan.seconds))
        if plan.what in ("short", "spike"):
            self._one(Scenario("spike", "http", _times(capacity, SPIKE), 1.5 * plan.seconds))
        if plan.what == "soak":
            rate = plan.rate or max(LEAST, SOAK * capacity)
            self._one(Scenario("soak", "both", (rate,), 60 * plan.minutes))
        return self._results

    def _one(self, scenario: Scenario) -> Played:
        rates = ", ".join(f"{rate:.2f}/s" for rate in scenario.rates)
        self._console.print(f"{scenario.name}, {scenario.protocol} {rates} ...", highlight=False)
        played = self._k6.play(scenario, self._watch.look_at_client)
        during = [sample for sample in self._watch.samples if played.start <= sample.at <= played.end]
        self._results.append(Result(played, during))
        return played


def _times(capacity: float, shares: Sequence[float]) -> tuple[float, ...]:
    return tuple(max(LEAST, capacity * share) for share in shares)
