"""The report of a load test: JSON with every figure, Markdown with plots for people."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.load import plots
from deploy.load.figures import (
    Latency,
    Stair,
    cpu_shares,
    failures,
    hit_rate,
    outcomes,
    recovery_s,
    saturation,
    share,
    stairs,
)
from deploy.load.growth import Growth
from deploy.load.k6 import Played
from deploy.load.machine import NOTE
from deploy.load.watch import Sample
from services.settings import Settings

LIMITS = ("workers", "max_concurrency", "max_queue", "queue_timeout_s", "request_timeout_s")


@dataclass(frozen=True)
class Result:
    """A scenario as it was played, and the samples taken meanwhile."""

    played: Played
    samples: list[Sample]


@dataclass(frozen=True)
class Observed:
    """All of a load test."""

    machine: dict[str, Any]
    settings: Settings
    results: list[Result]
    samples: list[Sample]
    growths: list[Growth]  # of a soak

    @property
    def failures(self) -> list[str]:
        """What must not be, in words."""
        crossed = [
            f"{one.played.scenario.name} ({one.played.scenario.protocol}): {threshold} was not kept"
            for one in self.results
            for threshold in one.played.crossed
        ]
        told = [
            f"{one.played.scenario.name}: {count} of {what}"
            for one in self.results
            for what, count in failures(one.played.requests).items()
        ]
        grown = [
            f"{one.what} grew by {one.added:,.4g}, {one.allowed:,.4g} is allowed" for one in self.growths if one.found
        ]
        return crossed + told + grown


def write_report(observed: Observed, out: Path) -> None:
    """Writes report.json, report.md, samples.jsonl and the plots."""
    out.mkdir(parents=True, exist_ok=True)
    report = figures_of(observed)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    with (out / "samples.jsonl").open("w") as lines:
        lines.writelines(json.dumps(sample.as_dict()) + "\n" for sample in observed.samples)
    drawn = list(_draw(observed, out))
    (out / "report.md").write_text("\n".join(_pages(report, drawn)) + "\n")


def figures_of(observed: Observed) -> dict[str, Any]:
    """Every figure of the report, for JSON."""
    chosen = observed.settings.model_dump(mode="json", include=set(LIMITS))
    return {
        "machine": observed.machine,
        "note": NOTE,
        "settings": chosen,
        "scenarios": [_scenario(one) for one in observed.results],
        "growth": [{**asdict(one), "found": one.found} for one in observed.growths],
        "failures": observed.failures,
    }


def _scenario(result: Result) -> dict[str, Any]:
    played, scenario = result.played, result.played.scenario
    found: dict[str, Any] = {
        **asdict(scenario),
        "requests": len(played.requests),
        "outcomes": outcomes(played.requests),
        "latency_s": asdict(Latency.of(played.requests)),
        "failures": failures(played.requests),
        "refused_share": share(played.requests, "refused"),
        "not_sent": played.dropped,
        "thresholds_crossed": played.crossed,
        "processors": cpu_shares(result.samples),
        "surrogates_kept_share": hit_rate(result.samples),
        "most_waiting": max((one.metrics.get("anonfaces_queue_depth", 0) for one in result.samples), default=0),
    }
    steps = stairs(played)
    found["stairs"] = [{**asdict(step), "kept_up": step.kept_up} for step in steps]
    if scenario.name == "ramp":
        found["saturation"] = asdict(saturation(steps))
    if scenario.name == "spike":
        usual = steps[0].latency.p95
        found["recovery_s"] = None if usual is None else recovery_s(played, 2 * usual)
    return found


def _draw(observed: Observed, out: Path) -> Iterator[tuple[str, str]]:
    """Writes the plots; yields the title and the file of each."""
    by_name = {one.played.scenario.name: one for one in observed.results}
    ramps: dict[str, list[Stair]] = {
        one.played.scenario.protocol: stairs(one.played)
        for one in observed.results
        if one.played.scenario.name == "ramp"
    }
    if ramps:
        plots.latency_plot(ramps, out / "latency.png")
        yield "latency against arrival rate", "latency.png"
        plots.rates_plot(ramps, out / "rates.png")
        yield "what becomes of requests", "rates.png"
    if "spike" in by_name:
        plots.spike_plot(by_name["spike"].played, by_name["spike"].samples, out / "spike.png")
        yield "a spike", "spike.png"
    soak = by_name.get("soak")
    plots.memory_plot(soak.samples if soak else observed.samples, out / "memory.png")
    yield "memory, files and shared memory", "memory.png"


def _pages(report: dict[str, Any], drawn: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The lines of the Markdown."""
    yield "# Load test\n"
    told = report["machine"]
    yield (
        f"{told['processor']}, {told['cores']} cores, {told['memory_gb']} GB; {told['system']}, "
        f"Python {told['python']}, BentoML {told['bentoml']}, Triton from nvidia-pytriton {told['nvidia-pytriton']}, "
        f"onnxruntime {told['onnxruntime']}, k6 {told['k6']}; load average before: {told['load_before']}.\n"
    )
    yield f"{report['note']}\n"
    yield "Settings: " + ", ".join(f"{name} {value}" for name, value in report["settings"].items()) + ".\n"
    yield "| scenario | sent/s | requests | p50 s | p95 s | p99 s | refused | failed | most waiting | surrogates kept |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for one in report["scenarios"]:
        failed = one["outcomes"].get("failed", 0) + one["outcomes"].get("uncounted", 0)
        yield _row(
            f"{one['name']} {one['protocol']}",
            ", ".join(f"{step['rate']:.1f}" for step in one["stairs"]) or "8 users",
            one["requests"],
            *one["latency_s"].values(),
            f"{one['refused_share']:.1%}",
            failed,
            f"{one['most_waiting']:.0f}",
            "" if one["surrogates_kept_share"] is None else f"{one['surrogates_kept_share']:.1%}",
        )
    yield from _stairs(report)
    yield from _processors(report)
    yield from _growth(report)
    for title, file in drawn:
        yield f"\n![{title}]({file})"
    yield "\n" + ("**Failed:** " + "; ".join(report["failures"]) if report["failures"] else "Every threshold was kept.")


def _stairs(report: dict[str, Any]) -> Iterator[str]:
    for one in report["scenarios"]:
        if one["name"] not in ("ramp", "spike"):
            continue
        yield f"\n{one['name'].capitalize()}, {one['protocol']}, {one['seconds']:g} s a stair:\n"
        yield "| sent/s | finished/s | p50 s | p95 s | p99 s | refused | failed | kept up |"
        yield "|---|---|---|---|---|---|---|---|"
        for step in one["stairs"]:
            yield _row(
                step["rate"],
                step["served"],
                *step["latency"].values(),
                f"{step['refused']:.1%}",
                f"{step['failed']:.1%}",
                "yes" if step["kept_up"] else "no",
            )
        if "saturation" in one:
            keeps, most = one["saturation"]["keeps_up"], one["saturation"]["most_served"]
            kept = "It did not keep up at the lowest rate" if keeps is None else f"It keeps up to {keeps:.1f} a second"
            yield f"\n{kept}; most that it finished: {most:.1f} a second."
        if "recovery_s" in one:
            after = "not within the last stair" if one["recovery_s"] is None else f"{one['recovery_s']:.1f} s later"
            yield f"\nBack to twice the usual p95 after the spike: {after}."


def _processors(report: dict[str, Any]) -> Iterator[str]:
    yield "\nProcessors kept busy, on average; *others* is the rest of the machine:\n"
    yield "| scenario | service | Triton | models | k6 | others |"
    yield "|---|---|---|---|---|---|"
    for one in report["scenarios"]:
        if one["processors"]:
            yield _row(f"{one['name']} {one['protocol']}", *one["processors"].values())


def _growth(report: dict[str, Any]) -> Iterator[str]:
    if not report["growth"]:
        return
    yield "\nAfter the warm-up of the soak (slopes after Theil and Sen):\n"
    yield "| what | level | slope an hour | its lower end, 95 % | added | allowed | grows |"
    yield "|---|---|---|---|---|---|---|"
    for one in report["growth"]:
        scale, unit = (1e6, " MB") if "memory" in one["what"] else (1, "")
        names = ("level", "per_hour", "lowest_per_hour", "added", "allowed")
        values = (f"{one[name] / scale:,.2f}{unit}" for name in names)
        yield _row(one["what"], *values, "yes" if one["found"] else "no")


def _row(*cells: object) -> str:
    shown = ("" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
    return f"| {' | '.join(shown)} |"
