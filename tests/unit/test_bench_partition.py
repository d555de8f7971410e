"""`anonfaces bench partition`: its measures are what they are called, and nobody is missing from its table."""

import csv
import json
import re
from itertools import combinations

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples
from typer.testing import CliRunner

from services.errors import AnonFacesError, PartitionError
from services.population.bench import published as paper
from services.population.bench import trials as stopwatch
from services.population.bench.measures import measure
from services.population.bench.partition import partition as command
from services.population.bench.trials import Job, Trial, judge, read_algorithms, run_trials
from services.population.partition import ALGORITHMS, partition
from services.settings import ROOT

SHARED = ROOT.parent / "shared" / "data" / "anonfaces"
K20 = "strategy,method,max dist,min dist,mean dist,size,mean silhouette\n"
CURVES = "k,hier_dlib_adjust,kmeans_dlib_adjust,knn_dlib_adjust\n"


def people(n: int = 60, dims: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dims))


@settings(max_examples=40)
@given(n=st.integers(3, 40), count=st.integers(1, 8), seed=st.integers(0, 1000))
def test_measures_are_what_they_are_called(n, count, seed):
    points = people(n, 3, seed)
    labels = np.unique(np.random.default_rng(seed).integers(count, size=n), return_inverse=True)[1]
    found = measure(points, labels)
    crowds = [points[labels == crowd] for crowd in range(labels.max() + 1)]
    centres = [np.linalg.norm(crowd - crowd.mean(axis=0), axis=1) for crowd in crowds]
    pairs = [[np.linalg.norm(a - b) for a, b in combinations(crowd, 2)] or [0] for crowd in crowds]
    assert found.loss == pytest.approx(sum((far**2).sum() for far in centres) / (n * points.var(axis=0).sum()))
    assert found.to_centre == pytest.approx(np.concatenate(centres).mean())
    assert found.diameter == pytest.approx(np.mean([max(far) for far in pairs]))
    assert found.widest == pytest.approx(max(max(far) for far in pairs))
    assert found.nearest == pytest.approx(np.mean([min(far) for far in pairs]))
    assert found.apart == pytest.approx(np.mean([np.mean(far) for far in pairs]))
    sizes = [len(crowd) for crowd in crowds]
    assert (found.crowds, found.smallest, found.largest) == (len(crowds), min(sizes), max(sizes))
    assert found.mean_size == pytest.approx(np.mean(sizes))
    if 1 < len(crowds) < n:
        assert found.silhouette == pytest.approx(silhouette_samples(points, labels).mean())
    else:
        assert found.silhouette is None


# --- trials ----------------------------------------------------------------------------------------------------------


def test_trial_measures_what_the_partitioner_answers_and_the_rest_goes_on_after_one_is_refused():
    points = people(5001, 2)
    jobs = [Job("mdav", 50), Job("hierarchical (average)", 5), Job("mdav", 40, left_out=4961)]
    done = list(run_trials(points, jobs, "default", 60))
    assert [trial.job for trial in done] == jobs
    assert done[0].measures == measure(points, partition(points, 50, "mdav"))
    assert done[0].cpu_s is not None
    assert done[0].cpu_s > 0
    assert done[1].measures is None
    assert "at most 5000 people" in done[1].note
    assert done[2].measures is not None
    assert (done[2].measures.crowds, done[2].measures.largest) == (1, 40)


def test_algorithm_that_takes_too_long_is_skipped_and_says_so():
    (trial,) = run_trials(people(400), [Job("swap:thorough", 10)], "default", 0.2)
    assert trial == Trial(Job("swap:thorough", 10), None, None, "skipped: not done after 0.2 s")


def test_process_that_ends_of_itself_is_told_of(monkeypatch):
    monkeypatch.setattr(stopwatch, "_work", len)  # which takes no such arguments
    (trial,) = run_trials(people(), [Job("mdav", 5)], "default", 60)
    assert "ended of itself" in trial.note


def test_crowds_below_k_are_measured_and_noted():
    trial = judge(Job("x", 3), people(5), np.array([0, 0, 0, 1, 1]), 1.0)
    assert trial.measures is not None
    assert trial.measures.smallest == 2
    assert "below k = 3" in trial.note


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, -1], [0, 0, 0, 2, 2], [0, 0, 0, 0]])
def test_answer_that_is_no_partition_is_not_measured(labels):
    trial = judge(Job("x", 2), people(5), np.array(labels), 1.0)
    assert trial.measures is None
    assert trial.note


def test_people_left_out_are_drawn_by_the_seed():
    first, second = Job("x", 2, 0, 10).rows(60), Job("x", 2, 1, 10).rows(60)
    assert len(first) == len(set(first)) == 50
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(Job("x", 2, 5).rows(60), np.arange(60))


def test_all_stands_for_every_algorithm():
    assert read_algorithms("all,swap:quick,swap") == [*ALGORITHMS, "swap:quick"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("swop", "no algorithm named 'swop'; there are all, "), ("swap:heroic", "no effort named 'heroic'")],
)
def test_unknown_algorithm_is_refused_with_those_there_are(text, says):
    with pytest.raises(PartitionError, match=says):
        read_algorithms(text)


# --- the paper's figures ---------------------------------------------------------------------------------------------


def test_papers_table_is_read_and_every_row_has_a_counterpart():
    file = SHARED / "published_partitioning_k20.csv"
    if not file.is_file():
        pytest.skip("needs the paper's figures (../shared)")
    rows = paper.read_published(file)
    assert isinstance(rows, list)
    assert {(row.strategy, row.method) for row in rows} == set(paper.ROWS)
    ward = next(row for row in rows if row.method == "ward")
    assert ward.figures["mean dist"] == 0.718656


def test_papers_curves_are_read_and_told_apart():
    if not SHARED.is_dir():
        pytest.skip("needs the paper's figures (../shared)")
    losses = paper.read_published(SHARED / "published_information_loss.csv")
    rates = paper.read_published(SHARED / "published_reidentification_rate.csv")
    assert isinstance(losses, dict)
    assert isinstance(rates, dict)
    assert losses["hier_dlib_adjust"][19] == 0.737525
    assert paper.are_rates(rates)
    assert not paper.are_rates(losses)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", K20 + "x,y,1,2,3,4,\n", CURVES + "two,1,2,3\n", CURVES + "2,1\n"])
def test_file_that_is_no_table_of_the_paper_is_refused(tmp_path, text):
    (tmp_path / "figures.csv").write_text(text)
    with pytest.raises(PartitionError, match="is no table of the paper"):
        paper.read_published(tmp_path / "figures.csv")


def curve(published: list[float]) -> paper.Curve:
    return paper.Curve("hier", "hierarchical", [2, 5, 10], published, [0.3, 0.4, 0.5], [0.6] * 3, [0.55, 0.5, 0.52])


def test_verdict_names_the_same_quantity_only_if_it_is():
    assert "the same quantity" in curve([0.301, 0.404, 0.5]).verdict()
    assert "not the same quantity" not in curve([0.301, 0.404, 0.5]).verdict()
    told = curve([0.6, 0.7, 0.75]).verdict()
    assert "1.50 to 2.00 times" in told
    assert "not the same quantity; as if the rendered face lay 0.50 to 0.55 from that mean" in told


def test_offset_is_what_a_surrogate_beside_the_mean_would_add():
    """People at 1 from their crowd's mean, and a surrogate at 2 from it, straight away from all of them."""
    points = np.array([[-11.0, 0], [-9, 0], [9, 0], [11, 0]])
    measures = measure(points, np.array([0, 0, 1, 1]))
    done = [Trial(Job("hierarchical", 2), 0.0, measures)]
    variance = float((points**2).sum(axis=1).mean())
    (found,) = paper.curves({"hier_dlib_adjust": {2: 5**0.5}}, [2, 3], variance, lambda jobs: done[: len(jobs)])
    assert found.offset[0] == pytest.approx(2)
    assert found.to_centre == [1]


# --- the command -----------------------------------------------------------------------------------------------------

app = typer.Typer()
app.command()(command)


def run(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def test_figures_are_whole_on_a_narrow_terminal(tmp_path):
    file = tmp_path / "people.npy"
    np.save(file, np.random.default_rng(0).normal(size=(40, 4)))
    asked = ["--embeddings", str(file), "--algorithms", "mdav", "--k", "5"]
    said = CliRunner().invoke(app, asked, env={"COLUMNS": "40"}).output
    assert re.search(r"mdav.* 0\.\d{4} ", said)
    assert "…" not in said


def test_table_has_every_algorithm_at_every_k_and_the_papers_figures_beside(tmp_path):
    np.savez(tmp_path / "people.npz", embedding=people(45).astype(np.float32))
    (tmp_path / "k20.csv").write_text(K20 + "knn variance,max dist,2.5,0.5,2.0,19.6,-0.01\n")
    (tmp_path / "curves.csv").write_text(CURVES + "2,0.6437,0.6892,0.6967\n5,0.6891,0.7440,0.7540\n")
    files = ["--published", tmp_path / "k20.csv", "--published", tmp_path / "curves.csv"]
    done = run("--embeddings", tmp_path / "people.npz", "--k", "2,5", *files, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out" / "partition.json").read_text())
    found = {(trial["job"]["algorithm"], trial["job"]["k"]): trial["measures"] for trial in told["trials"]}
    assert set(found) == {(name, k) for name in ALGORITHMS for k in (2, 5)}
    for (name, k), measures in found.items():
        assert f"│ {name} " in done.output
        assert measures["smallest"] >= k
    assert found["mdav", 5]["loss"] == measure(people(45).astype(np.float32), partition(people(45), 5, "mdav")).loss
    assert (tmp_path / "out" / "partition.png").read_bytes().startswith(b"\x89PNG")
    rows, curves = told["published"]
    assert rows["rows"][0]["algorithm"] == "knn"
    assert [trial["job"]["k"] for trial in rows["rows"][0]["trials"]] == [20, 19]
    assert "knn variance, max dist" in done.output
    assert {each["column"] for each in curves["curves"]} == set(paper.CURVES)
    assert "latents were not published" in " ".join(done.output.split())


def test_json_alone_goes_to_the_standard_output(tmp_path):
    np.save(tmp_path / "people.npy", people(30))
    done = run("--embeddings", tmp_path / "people.npy", "--k", "3", "--algorithms", "mdav", "--json", "-")
    assert done.exit_code == 0, done.output
    (trial,) = json.loads(done.stdout)["trials"]
    assert trial["measures"]["loss"] == measure(people(30), partition(people(30), 3, "mdav")).loss


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--k", "2,x"], "wanted are whole numbers from 2 on"),
        (["--k", "1"], "wanted are whole numbers from 2 on"),
        (["--k", "31"], "30 people cannot form a crowd of 31"),
        (["--effort", "heroic"], "no effort named 'heroic'"),
        (["--algorithms", "swop"], "no algorithm named 'swop'"),
    ],
)
def test_bad_options_are_refused_before_any_work(tmp_path, options, says):
    np.save(tmp_path / "people.npy", people(30))
    done = run("--embeddings", tmp_path / "people.npy", *options)
    assert isinstance(done.exception, AnonFacesError)
    with pytest.raises(AnonFacesError, match=says):
        raise done.exception


@pytest.mark.parametrize("row", paper.ROWS, ids=", ".join)
def test_papers_table_comes_out_again_within_three_percent(row):
    if not SHARED.is_dir():
        pytest.skip("needs the paper's figures and embeddings (../shared)")
    rows = paper.read_published(SHARED / "published_partitioning_k20.csv")
    assert isinstance(rows, list)
    figures = next(each.figures for each in rows if (each.strategy, each.method) == row)
    points = np.load(SHARED / "celeba979_dlib.npz")["embedding"].astype(np.float64)
    name = paper.ROWS[row][0]
    found = measure(points, {**ALGORITHMS, **stopwatch.VARIANTS}[name](points, 20, 0, "default"))
    for column, measured in paper.COLUMNS.items():
        assert getattr(found, measured) == pytest.approx(figures[column], rel=0.03)


def test_papers_clusters_are_smaller_than_twenty():
    """Why its table cannot come out with crowds of at least 20: most of its rows are of 51 clusters of 1001 people."""
    file = SHARED / "published_partitioning_k20.csv"
    if not file.is_file():
        pytest.skip("needs the paper's figures (../shared)")
    sizes = {float(row["size"]) for row in csv.DictReader(file.open())}
    assert sizes == {round(paper.PEOPLE / 51, 6), paper.PEOPLE / 50}
