"""Requests -> figures: percentiles, rates and refusals of each stair, and where the service cannot keep up any more."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.load.k6 import Played, Request
from deploy.load.watch import Sample

KEEPS_UP = 0.9  # of what arrives within a stair is finished within it,
UNDER_WAY = 2  # or all but so many requests, where few come


@dataclass(frozen=True)
class Latency:
    """Percentiles of finished requests, in seconds; None where there were none."""

    p50: float | None
    p95: float | None
    p99: float | None

    @staticmethod
    def of(requests: Sequence[Request]) -> "Latency":
        times = [request.seconds for request in requests if request.outcome == "ok"]
        return Latency(*(float(np.percentile(times, p)) if times else None for p in (50, 95, 99)))


@dataclass(frozen=True)
class Stair:
    """What became of the requests that were sent at one rate."""

    seconds: float
    rate: float  # asked of k6, a second
    sent: float  # a second
    served: float  # finished within the stair, a second, whenever they were sent
    latency: Latency
    refused: float  # shares of those sent
    failed: float

    @property
    def kept_up(self) -> bool:
        late = (self.sent - self.served) * self.seconds
        allowed = max(UNDER_WAY, (1 - KEEPS_UP) * self.sent * self.seconds)
        return late <= allowed and self.refused == self.failed == 0


def outcomes(requests: Sequence[Request]) -> dict[str, int]:
    """How many requests became what."""
    names = sorted({request.outcome for request in requests})
    return {name: sum(request.outcome == name for request in requests) for name in names}


def failures(requests: Sequence[Request]) -> dict[str, int]:
    """How many requests failed, by protocol, photo and status."""
    failed = [request for request in requests if request.outcome in ("failed", "uncounted")]
    return dict(Counter(f"{one.protocol} {one.photo}: {one.outcome}, status {one.status}" for one in failed))


def share(requests: Sequence[Request], *names: str) -> float:
    """The share of requests with these outcomes."""
    return sum(request.outcome in names for request in requests) / len(requests) if requests else 0.0


def stairs(played: Played) -> list[Stair]:
    """The stairs of a staircase."""
    found = []
    seconds = played.scenario.seconds
    for number, rate in enumerate(played.scenario.rates):
        low = played.start + number * seconds
        sent = [request for request in played.requests if low <= request.at < low + seconds]
        ended = [r for r in played.requests if r.outcome == "ok" and low <= r.end < low + seconds]
        refused, failed = share(sent, "refused"), share(sent, "failed", "uncounted")
        each = len(sent) / seconds, len(ended) / seconds
        found.append(Stair(seconds, rate, *each, Latency.of(sent), refused, failed))
    return found


@dataclass(frozen=True)
class Saturation:
    """Where a ramp ends."""

    keeps_up: float | None  # highest rate up to which every stair kept up, requests a second
    most_served: float  # most requests a second that were finished on any stair


def saturation(steps: Sequence[Stair]) -> Saturation:
    """The last stair that kept up before the first that did not, and the most that was served."""
    kept: list[float] = []
    for step in steps:
        if not step.kept_up:
            break
        kept.append(step.rate)
    return Saturation(kept[-1] if kept else None, max(step.served for step in steps))


def closed_loop_rate(played: Played) -> float:
    """Requests a second that a probe finished while all its users asked."""
    end = played.start + played.scenario.seconds
    return sum(request.outcome == "ok" and request.end <= end for request in played.requests) / played.scenario.seconds


def recovery_s(played: Played, usual_s: float) -> float | None:
    """After a spike: seconds until the last request that took more than `usual_s`, or was refused, had been sent.

    None: the last one sent was still such a request.
    """
    end = played.start + (len(played.scenario.rates) - 1) * played.scenario.seconds
    after = [request for request in played.requests if request.at >= end]
    slow = [request.outcome != "ok" or request.seconds > usual_s for request in after]
    if not after or slow[-1]:
        return None
    last = max((number for number, one in enumerate(slow) if one), default=-1)
    return after[last].at - end if last >= 0 else 0.0


def cpu_shares(samples: Sequence[Sample]) -> dict[str, float]:
    """Processors that each group kept busy on average, and what others on the machine took."""
    if len(samples) < 2:
        return {}
    first, last = samples[0], samples[-1]
    seconds = last.at - first.at
    used = {
        name: max(0.0, last.groups[name].cpu_s - first.groups[name].cpu_s) / seconds
        for name in ("service", "triton", "models", "k6")
    }
    return {**used, "others": max(0.0, (last.machine_s - first.machine_s) / seconds - sum(used.values()))}


def hit_rate(samples: Sequence[Sample]) -> float | None:
    """Of the surrogates asked for between the first and the last sample, the share that was kept."""
    known = [sample.metrics for sample in samples if sample.metrics]
    asked = known[-1]["lookups"] - known[0]["lookups"] if known else 0
    return (known[-1]["hits"] - known[0]["hits"]) / asked if asked else None
