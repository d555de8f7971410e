"""The default partitioner: crowds of k to 2k - 1, the same for a seed, and with less loss than what it starts from."""

import csv
import json
import resource
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.errors import AnonFacesError, PartitionError
from services.population import cli
from services.population.partition import information_loss, partition
from services.population.partition.blocks import blocks
from services.population.partition.matching import match
from services.population.partition.swap import BLOCK, EFFORTS, WHOLE
from services.settings import ROOT

CELEBA = ROOT.parent / "shared" / "data" / "anonfaces" / "celeba979_dlib.npz"


def people(n: int, dims: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(max(2, n // 10), dims))[rng.integers(max(2, n // 10), size=n)] + rng.normal(size=(n, dims)) / 3
    )


@settings(max_examples=40)
@given(
    n=st.integers(2, 130), k=st.integers(2, 12), seed=st.integers(0, 5), effort=st.sampled_from(["quick", "default"])
)
def test_every_crowd_has_k_to_2k_minus_1_people(n, k, seed, effort):
    if n < k:
        return
    labels = partition(people(n, seed=seed), k, "swap", seed, effort)
    sizes = np.bincount(labels)
    assert len(labels) == n
    assert k <= sizes.min()
    assert sizes.max() <= 2 * k - 1


@pytest.mark.parametrize("effort", EFFORTS)
def test_same_seed_gives_the_same_labels(effort):
    points = people(60)
    first, second = (partition(points, 4, "swap", 3, effort) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_more_effort_loses_less():
    points = people(200)
    losses = [information_loss(points, partition(points, 5, "mdav"))]
    losses += [information_loss(points, partition(points, 5, "swap", 0, effort)) for effort in ("quick", "default")]
    assert losses[2] <= losses[1] < losses[0]


@pytest.mark.parametrize(
    "points", [np.zeros((30, 4)), np.repeat(people(3), 10, axis=0)], ids=["constant", "duplicates"]
)
def test_people_who_cannot_be_told_apart_are_partitioned(points):
    assert np.bincount(partition(points, 4, "swap")).min() >= 4


def groups(n: int, count: int, dims: int, apart: float) -> np.ndarray:
    """People of groups that are far from each other, of sizes that no k divides."""
    rng = np.random.default_rng(4)
    whose = rng.choice(count, n, p=rng.dirichlet(np.full(count, 3.0)))
    return apart * rng.normal(size=(count, dims))[whose] + rng.normal(size=(n, dims))


SHAPES = {
    "groups": lambda: groups(600, 15, 16, 4.0),
    "groups on a plane": lambda: groups(400, 6, 2, 10.0),
    "a square": lambda: np.random.default_rng(1).uniform(size=(500, 2)),
    "a cube of ten dimensions": lambda: np.random.default_rng(2).uniform(size=(400, 10)),
    "normal": lambda: np.random.default_rng(3).normal(size=(400, 64)),
    "heavy tails": lambda: np.random.default_rng(5).standard_t(2, size=(400, 8)),
    "duplicates": lambda: np.repeat(people(40), np.random.default_rng(6).integers(1, 25, 40), axis=0),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [3, 7, 15, 30])
def test_no_other_algorithm_loses_less_whatever_the_shape(shape, k):
    points = SHAPES[shape]()
    others = [information_loss(points, partition(points, k, name)) for name in ("hierarchical-once", "kmeans", "mdav")]
    assert information_loss(points, partition(points, k)) <= min(others) + 1e-9


def test_groups_of_a_few_thousand_people_are_not_cut_by_borders_of_blocks():
    points = groups(2 * BLOCK, 250, 16, 4.0)
    tree = information_loss(points, partition(points, 10, "hierarchical-once"))
    assert information_loss(points, partition(points, 10, "swap", 0, "quick")) <= tree


@pytest.mark.parametrize(
    "change",
    [
        lambda points: points + 1e9,
        lambda points: points * 1e60,
        lambda points: points * 1e-20,
        lambda points: np.vstack([points, np.full((1, points.shape[1]), 1e9)]),
    ],
    ids=["far from 0", "huge", "tiny", "outlier"],
)
def test_scale_origin_and_outliers_do_not_matter(change):
    points = people(200)
    wanted = information_loss(points, partition(points, 5))
    labels = partition(change(points), 5)[: len(points)]
    assert information_loss(points, np.unique(labels, return_inverse=True)[1]) == pytest.approx(wanted, rel=0.2)


def test_pairs_of_equals_are_found():
    points = np.concatenate([np.zeros((301, 3)), people(100, 3)])
    sizes = np.bincount(partition(points, 2, "swap", 0, "thorough"))
    assert (sizes.min(), sizes.max()) == (2, 3)


@pytest.mark.parametrize(("n", "k"), [(1000, 120), (900, 299), (900, 450), (900, 451)])
def test_crowds_may_be_a_large_part_of_all(n, k):
    points = people(n)
    labels = partition(points, k)
    assert k <= np.bincount(labels).min() <= np.bincount(labels).max() <= 2 * k - 1
    assert information_loss(points, labels) <= information_loss(points, partition(points, k, "mdav"))


def test_crowds_whose_distances_do_not_fit_in_memory_are_leaves_of_the_tree(monkeypatch):
    module = import_module("services.population.partition.swap")
    for name in ("WHOLE", "BLOCK", "MOST"):
        monkeypatch.setattr(module, name, 50)
    sizes = np.bincount(partition(people(500), 60))
    assert 60 <= sizes.min() <= sizes.max() <= 119


def test_large_population_goes_through_blocks():
    n = WHOLE + 101
    rows = blocks(people(n), BLOCK, 5, np.random.default_rng(0))
    assert max(map(len, rows)) <= BLOCK
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    sizes = np.bincount(partition(people(n), 5, "swap", 0, "quick"))
    assert 5 <= sizes.min() <= sizes.max() <= 9


def test_matching_finds_the_pairs_that_belong_together():
    middles = np.arange(20)[:, None] * 10.0
    points = np.concatenate([middles, middles + 0.1, [[55.0]]])
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2).astype(np.float32)
    labels = match(squared, np.argsort(squared, axis=1)[:, :6])
    assert all(labels[i] == labels[20 + i] for i in range(20))
    assert labels[40] in (labels[5], labels[6])
    assert sorted(np.bincount(labels))[-2:] == [2, 3]


def test_unknown_effort_is_refused():
    with pytest.raises(PartitionError, match="no effort named 'heroic'; there are quick, default, thorough"):
        partition(people(20), 3, "swap", 0, "heroic")


@pytest.mark.parametrize(("k", "most"), [(2, 0.2400), (5, 0.4545), (10, 0.5570), (20, 0.6330)])
def test_papers_sample_is_partitioned_with_little_loss(k, most):
    if not CELEBA.is_file():
        pytest.skip("needs the paper's embeddings (../shared)")
    points = np.load(CELEBA)["embedding"]
    assert information_loss(points, partition(points, k, "swap")) <= most


def test_pairs_of_the_papers_sample_are_nearly_optimal():
    if not CELEBA.is_file():
        pytest.skip("needs the paper's embeddings (../shared)")
    points = np.load(CELEBA)["embedding"]
    assert information_loss(points, partition(points, 2, "swap", 0, "thorough")) <= 0.2350


# --- the command ----------------------------------------------------------------------------------------------------


def run(*arguments: object):
    return CliRunner().invoke(cli.app, ["partition", *map(str, arguments)])


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_labels_are_written_in_the_order_of_the_rows(tmp_path, suffix):
    points = people(40).astype(np.float32)
    file = tmp_path / f"people.{suffix}"
    np.save(file, points) if suffix == "npy" else np.savez(file, embedding=points)
    done = run("--embeddings", file, "--k", 4, "--out", tmp_path / "labels.csv", "--json", "-")
    assert done.exit_code == 0, done.output
    header, *rows = csv.reader((tmp_path / "labels.csv").open())
    assert header[-1] == "crowd"
    labels = np.array([int(row[-1]) for row in rows])
    np.testing.assert_array_equal(labels, partition(points, 4, "swap"))
    told = json.loads(done.stdout)
    assert told["information_loss"] == pytest.approx(information_loss(points, labels), abs=1e-6)
    assert (told["crowds"], told["smallest"]) == (len(np.bincount(labels)), np.bincount(labels).min())


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"text"), "no .npz with an array"),
        (lambda path: np.savez(path, other=np.zeros((9, 2))), "no array 'embedding'"),
        (lambda path: np.savez(path, embedding=np.full((9, 2), np.nan)), "wanted are finite numbers"),
        (lambda path: np.savez(path, embedding=np.zeros(9)), r"\[9\]; wanted"),
        (lambda path: np.savez(path, embedding=np.zeros((3, 2))), "cannot form a crowd of 4"),
    ],
    ids=["text", "another array", "nan", "one axis", "too few"],
)
def test_bad_embeddings_are_refused_and_nothing_is_written(tmp_path, write, reason):
    write(tmp_path / "people.npz")
    done = run("--embeddings", tmp_path / "people.npz", "--k", 4, "--out", tmp_path / "labels.csv")
    assert isinstance(done.exception, AnonFacesError)
    assert done.exception.exit_status == 2
    with pytest.raises(AnonFacesError, match=reason):
        raise done.exception
    assert [path.name for path in Path(tmp_path).iterdir()] == ["people.npz"]


def test_nothing_is_left_of_labels_that_do_not_fit_on_the_disk(tmp_path):
    np.save(tmp_path / "people.npy", people(3000, 2))
    folder = tmp_path / "labels"
    folder.mkdir()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))  # Python is told by an error, not killed
    try:
        done = run(
            "--embeddings", tmp_path / "people.npy", "--k", 30, "--effort", "quick", "--out", folder / "labels.csv"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert isinstance(done.exception, OSError)
    assert list(folder.iterdir()) == []
