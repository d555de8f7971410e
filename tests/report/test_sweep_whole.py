"""A sweep from the command line, with real models behind a real Triton."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from deploy.local.triton import LocalTriton
from services.anonymizer.models import choose, find_embedder, find_generator
from services.anonymizer.triton import Triton
from services.errors import ReportError
from services.population.demo import sample_people
from services.population.sample import sampler_for
from services.provenance import PROVENANCE, VERSION_FOLDER
from services.report.sweep.cells import Axes
from services.report.sweep.cli import sweep
from services.report.sweep.flow import Work, make_sweep
from services.report.sweep.run import Wish
from services.settings import Settings

JUDGE = "mobileface"
app = typer.Typer()
app.command()(sweep)


@pytest.fixture(scope="module")
def recognisers(settings: Settings) -> tuple[str, ...]:
    """Models of the recognisers that are converted."""
    rows = [find_embedder(name, settings.model_repository) for name in ("dlib-resnet", JUDGE, "faceres")]
    return tuple(
        row.model for row in rows if (settings.model_repository / row.model / VERSION_FOLDER / PROVENANCE).is_file()
    )


@pytest.fixture(scope="module")
def url(settings: Settings, recognisers: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    served = {*choose(settings).detector.served, *recognisers, "mobile-stylegan-512", "mobile-stylegan-mapping"}
    with LocalTriton(settings.model_repository, served, tmp_path_factory.mktemp("triton")) as server:
        yield server.url


def run(url: str, out: Path, *words: str) -> Result:
    same = ["--people", "16", "--algorithms", "swap", "--embedders", "dlib-resnet", "--risk-renders", "3"]
    return CliRunner().invoke(app, [*same, "--out", str(out), "--triton", url, "--json", "-", *words])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def swept(url: str, out: Path) -> dict[str, Any]:
    done = run(url, out, "--k", "2,8,20", "--weightings", "mean,risk:0.3")
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_every_recogniser_measures_every_cell(swept: dict[str, Any], recognisers: tuple[str, ...], out: Path) -> None:
    found = {(cell["cell"]["k"], cell["cell"]["weighting"]): cell for cell in swept["cells"]}
    assert set(found) == {(k, weighting) for k in (2, 8, 20) for weighting in ("mean", "risk:0.3")}
    for (k, _), cell in found.items():
        if k < 20:
            assert cell["smallest"] >= k
            assert 0 < cell["loss"] < 1
            assert {look["recogniser"] for look in cell["looks"]} == set(recognisers)
            assert [look["recogniser"] for look in cell["looks"] if look["clustered"]] == ["dlib-resnet"]
            assert all(0 < look["rank1"]["value"] <= 1 / k for look in cell["looks"])
    assert found[2, "mean"]["loss"] < found[8, "mean"]["loss"]
    assert (out / "sweep.html").read_text().startswith("<!doctype html>")


def test_tuned_surrogates_are_recognised_no_more_often_than_the_mean(swept: dict[str, Any]) -> None:
    rate = {
        cell["cell"]["weighting"]: cell["looks"][0]["recognised"]["value"]
        for cell in swept["cells"]
        if cell["cell"]["k"] == 2
    }
    assert rate["mean"] > 0.3  # generated people are alike; otherwise there is nothing to tune
    assert rate["risk:0.3"] < rate["mean"]


def test_a_k_that_leaves_one_crowd_is_listed_with_the_reason(swept: dict[str, Any]) -> None:
    reasons = {cell["reason"] for cell in swept["cells"] if cell["cell"]["k"] == 20}
    assert reasons == {"k = 20 of 16 people would leave one crowd; take more people or a lower k"}


def test_a_sweep_that_was_ended_goes_on_and_comes_to_the_same(swept: dict[str, Any], out: Path, url: str) -> None:
    kept = (out / "cells.jsonl").read_text().splitlines()
    (out / "cells.jsonl").write_text("\n".join([*kept[:5], kept[5][:40]]))  # killed while it wrote the fifth cell
    done = run(url, out, "--k", "2,8,20", "--weightings", "mean,risk:0.3")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["cells"] == swept["cells"]
    assert "4 cells are there already" in done.stderr


def test_a_finished_sweep_needs_no_server(swept: dict[str, Any], out: Path) -> None:
    done = run("127.0.0.1:1", out, "--k", "2,8", "--weightings", "mean")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["cells"]) == 2


def test_other_people_are_refused_in_the_same_folder(swept: dict[str, Any], out: Path) -> None:
    done = run("127.0.0.1:1", out, "--k", "2", "--seed", "8")
    assert isinstance(done.exception, ReportError)
    assert "seed" in str(done.exception)


@pytest.fixture
def judged(recognisers: tuple[str, ...]) -> None:
    if JUDGE not in recognisers:
        pytest.skip(f"needs {JUDGE}; `anonfaces models pull {JUDGE}` and `anonfaces models convert {JUDGE}`")


@pytest.mark.usefixtures("judged")
def test_a_risk_is_met_by_what_is_chosen(swept: dict[str, Any], out: Path, url: str) -> None:
    done = run(url, out, "--k", "2,8", "--weightings", "mean", "--target-risk", "1", "--risk-by", JUDGE)
    assert done.exit_code == 0, done.output
    target = json.loads(done.stdout)["target"]
    assert [(row["k"], row["weighting"]) for row in target["tried"]] == [(2, "mean")]
    assert target["chosen"]["k"] == 2
    assert target["command"].startswith("anonfaces population build POPULATION --k 2 --algorithm swap")


@pytest.mark.usefixtures("judged")
def test_a_risk_that_nothing_meets_is_an_error_with_the_nearest_miss(
    swept: dict[str, Any], out: Path, url: str
) -> None:
    done = run(url, out, "--k", "2", "--weightings", "mean", "--target-risk", "0", "--risk-side", "value")
    assert isinstance(done.exception, ReportError)
    assert done.exception.exit_status == 2
    assert "the nearest is k = 2" in str(done.exception)
    assert json.loads(done.stdout)["target"]["nearest"]["k"] == 2


def test_loss_alone_draws_no_surrogate(url: str, tmp_path: Path) -> None:
    done = run(url, tmp_path, "--people", "8", "--k", "2,4", "--weightings", "mean", "--no-render")
    assert done.exit_code == 0, done.output
    assert [(bool(cell["loss"]), cell["looks"]) for cell in json.loads(done.stdout)["cells"]] == [(True, [])] * 2


@pytest.fixture(scope="module")
def work(settings: Settings, url: str) -> Work:
    """A sweep of eight people who are enrolled with their latents: those that seed 7 draws."""
    models, repository = choose(settings), settings.model_repository
    own, generator = models.embedder, find_generator("mobile-stylegan-512", repository)
    sampler = sampler_for(generator, repository)

    async def enrolled() -> Wish:
        async with Triton(url, timeout_s=120) as triton:
            people = await sample_people(8, 7, triton, models, sampler, repository, lambda what, done, total: None)
        names = {generator.name: generator}, {generator.name: sampler}
        return Wish({own.name: own}, (own,), *names, 8, 7, 3, True, people, models.generator)

    axes = Axes((own.name,), ("swap",), (generator.name,), ("mean",), (2, 4))
    return Work(asyncio.run(enrolled()), axes, False, None, models, repository)


def test_enrolled_people_come_to_the_same_as_the_same_people_drawn(work: Work, url: str, tmp_path: Path) -> None:
    def serving(models: set[str]) -> AbstractContextManager[str]:
        return nullcontext(url)

    drawn = replace(work, wish=replace(work.wish, population=None, home=None))
    enrolled = make_sweep(work, tmp_path / "enrolled", serving, Console(quiet=True))
    assert enrolled == make_sweep(drawn, tmp_path / "drawn", serving, Console(quiet=True))
    assert all(outcome.looks for outcome in enrolled)


def test_loss_of_enrolled_people_needs_no_server(work: Work, tmp_path: Path) -> None:
    def serving(models: set[str]) -> AbstractContextManager[str]:
        raise AssertionError(f"{models} were to be served")

    alone = replace(work, wish=replace(work.wish, render=False))
    found = make_sweep(alone, tmp_path, serving, Console(quiet=True))
    assert [(bool(outcome.loss), outcome.looks) for outcome in found] == [(True, ())] * 2
