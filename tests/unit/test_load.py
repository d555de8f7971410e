"""What a load test concludes from requests and samples."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from deploy.load.figures import Latency, closed_loop_rate, recovery_s, saturation, stairs
from deploy.load.growth import growth, growths
from deploy.load.k6 import Played, Request, Scenario
from deploy.load.report import Observed, Result, write_report
from deploy.load.watch import GAUGES, Group, Sample
from services.settings import Settings

RNG = np.random.default_rng(5)
SOAK_S = 900


def played(*stairs_of: tuple[float, float, str], name: str = "ramp", seconds: float = 10) -> Played:
    """Stairs of (rate, seconds a request takes, what becomes of it)."""
    requests = []
    for number, (rate, takes, outcome) in enumerate(stairs_of):
        at = 1000 + seconds * (number + (np.arange(round(rate * seconds)) + 0.5) / (rate * seconds))
        requests += [Request(float(one), takes, "http", outcome, "a.jpeg") for one in at]
    rates = tuple(rate for rate, _, _ in stairs_of)
    return Played(Scenario(name, "http", rates, seconds), 1000.0, requests, 0, [])


def sample(second: float, rss: float = 5e8, files: int | None = 60, shared: int = 70_000_000) -> Sample:
    group = Group(int(rss), 0.2 * second, files, 20)
    metrics = dict.fromkeys((*GAUGES, "lookups", "hits"), second)
    return Sample(1000 + second, dict.fromkeys(("service", "triton", "models", "k6"), group), second, shared, metrics)


def test_percentiles_are_those_of_finished_requests():
    fast = played((10, 0.1, "ok"), (10, 0.3, "ok"), (10, 9.0, "refused"))
    assert Latency.of(fast.requests).p50 == pytest.approx(0.2, abs=0.11)
    assert Latency.of(fast.requests).p99 == pytest.approx(0.3)
    assert Latency.of([]) == Latency(None, None, None)


def test_ramp_is_saturated_where_requests_finish_later_than_they_come():
    steps = stairs(played((2, 0.1, "ok"), (4, 0.2, "ok"), (8, 7.0, "ok"), (4, 0.1, "ok")))
    assert [step.kept_up for step in steps] == [True, True, False, True]
    assert saturation(steps).keeps_up == 4  # what comes after the first stair that did not keep up does not count
    assert [step.rate for step in steps] == [step.sent for step in steps] == [2, 4, 8, 4]


def test_refusals_and_failures_are_no_keeping_up():
    steps = stairs(played((4, 0.1, "refused"), (4, 0.1, "failed"), (4, 0.1, "uncounted")))
    assert not any(step.kept_up for step in steps)
    assert [(step.refused, step.failed) for step in steps] == [(1, 0), (0, 1), (0, 1)]
    assert saturation(steps).keeps_up is None


def test_probe_counts_what_is_finished_while_it_asks():
    assert closed_loop_rate(played((4, 5.1, "ok"), name="probe")) == pytest.approx(2.0, abs=0.1)


def test_recovery_is_over_with_the_last_slow_request():
    spike = played((2, 0.1, "ok"), (20, 3.0, "ok"), (2, 0.1, "ok"), name="spike")
    assert recovery_s(spike, 0.2) == 0
    slow = [Request(1023.25, 5.0, "http", "ok", "a.jpeg"), Request(1025.0, 0.1, "http", "refused", "a.jpeg")]
    late = Played(spike.scenario, spike.start, sorted([*spike.requests, *slow], key=lambda r: r.at), 0, [])
    assert recovery_s(late, 0.2) == 5.0
    assert recovery_s(played((2, 0.1, "ok"), (20, 3.0, "ok"), (2, 3.0, "ok"), name="spike"), 0.2) is None


def noisy(per_second: float) -> list[float]:
    """A heap of 500 MB that moves by 10 MB, with bursts."""
    noise = RNG.normal(0, 5e6, SOAK_S) + np.where(RNG.random(SOAK_S) < 0.1, 60e6, 0)
    return list(5e8 + noise + per_second * np.arange(SOAK_S))


@pytest.mark.parametrize(("bytes_per_second", "found"), [(0, False), (-40_000, False), (5_000, False), (40_000, True)])
def test_growth_is_told_from_noise_and_bursts(bytes_per_second, found):
    judged = growth("memory", range(SOAK_S), noisy(bytes_per_second), allowed=15e6)
    assert judged is not None
    assert judged.found is found
    assert judged.per_hour == pytest.approx(3600 * bytes_per_second, abs=3600 * 3_000)


def test_growth_within_the_warm_up_is_none():
    filling = [sample(second, rss=5e8 + 2e6 * min(second, 150)) for second in range(SOAK_S)]
    assert not any(one.found for one in growths(filling))


@pytest.mark.parametrize(
    ("what", "leaking"),
    [
        ("service: memory", {"rss": lambda second: 5e8 + 60_000 * second}),
        ("service: files", {"files": lambda second: 60 + second // 90}),
        ("shared memory", {"shared": lambda second: 70_000_000 + second // 100 * 1_048_576}),
    ],
)
def test_leaks_of_a_soak_are_found(what, leaking):
    samples = [sample(second, **{name: of(second) for name, of in leaking.items()}) for second in range(SOAK_S)]
    assert what in {one.what for one in growths(samples) if one.found}


def test_files_that_may_not_be_looked_at_are_left_out():
    judged = growths([sample(second, files=None) for second in range(SOAK_S)])
    assert "service: memory" in {one.what for one in judged}
    assert "service: files" not in {one.what for one in judged}


def test_report_says_what_failed_and_draws_what_was_played(tmp_path):
    crossed = Played(Scenario("soak", "both", (2,), 10), 1000.0, played((2, 0.1, "failed")).requests, 0, ["x: rate==0"])
    samples = [sample(second) for second in range(30)]
    results = [Result(played((2, 0.1, "ok"), (9, 4.0, "ok")), samples), Result(crossed, samples)]
    results.append(Result(played((1, 0.1, "ok"), (9, 4.0, "refused"), (1, 0.1, "ok"), name="spike"), samples))
    about = dict.fromkeys(
        ("processor", "cores", "memory_gb", "system", "python", "bentoml", "nvidia-pytriton", "onnxruntime", "k6"), "?"
    )
    observed = Observed({**about, "load_before": 0.1}, Settings(), results, samples, [])
    write_report(observed, tmp_path)
    assert observed.failures == [
        "soak (both): x: rate==0 was not kept",
        "soak: 20 of http a.jpeg: failed, status ",
    ]
    assert observed.failures[0] in (tmp_path / "report.md").read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == {"latency.png", "rates.png", "spike.png", "memory.png"}
