"""The paper's partitioners: valid whoever the people are, and like the published code and figures, faults included."""

import csv
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist
from sklearn.metrics import silhouette_score

from services.errors import PartitionError
from services.population.partition import check_labels, information_loss
from services.population.partition.agglomeration import LINKAGES
from services.population.partition.hierarchical import hierarchical, hierarchical_once
from services.population.partition.kmeans import _farthest_with_room, _nearest_first, kmeans, kmeans_published
from services.population.partition.kmember import kmember, kmember_published
from services.population.partition.knn import knn
from services.population.partition.oka import oka, oka_published
from services.population.partition.paper import crowd_sizes
from services.population.partition.shuffle import shuffle
from services.settings import ROOT

DATA = ROOT.parent / "shared" / "data" / "anonfaces"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"the paper's data is not at {DATA}")

ROWS = {
    "hierarchical": hierarchical,
    "hierarchical-once": hierarchical_once,
    "kmeans": kmeans,
    "kmeans-published": kmeans_published,
    "knn": knn,
    "kmember": kmember,
    "kmember-published": kmember_published,
    "oka": oka,
    "oka-published": oka_published,
    "random": shuffle,
}
VARIANTS = ROWS | {
    "hierarchical, average": partial(hierarchical, linkage="average"),
    "hierarchical, complete": partial(hierarchical, linkage="complete"),
    "hierarchical-once, average": partial(hierarchical_once, linkage="average"),
    "hierarchical-once, complete": partial(hierarchical_once, linkage="complete"),
    "kmeans-published, random": partial(kmeans_published, order="random"),
    "knn, random": partial(knn, first="random"),
}
algorithms = pytest.mark.parametrize("algorithm", VARIANTS.values(), ids=VARIANTS)


@st.composite
def populations(draw) -> tuple[np.ndarray, int]:
    """Embeddings [n, d] and a possible k: at random, with twins, or all alike; often as few people as there may be."""
    k = draw(st.integers(2, 10))
    n = draw(st.one_of(st.sampled_from([k, 2 * k - 1, 2 * k, 3 * k - 1]), st.integers(k, 80)))
    points = np.random.default_rng(draw(st.integers(0, 10_000))).normal(size=(n, draw(st.integers(1, 12))))
    kind = draw(st.sampled_from(["different", "twins", "alike"]))
    return {"different": points, "twins": points[np.arange(n) // 3], "alike": points[np.zeros(n, int)]}[kind], k


def groups(n: int, dims: int, count: int, seed: int = 0) -> np.ndarray:
    """n people around `count` points."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dims))[rng.integers(count, size=n)] + rng.normal(size=(n, dims)) / 3


def celeba() -> np.ndarray:
    return np.load(DATA / "celeba979_dlib.npz")["embedding"].astype(np.float64)


@algorithms
@settings(max_examples=40, deadline=None)
@given(populations())
def test_everyone_is_in_a_crowd_of_k_to_2k_minus_1(algorithm, population):
    points, k = population
    labels = algorithm(points, k, 0, "default")
    check_labels(labels, len(points), k)
    assert labels.dtype == np.int64
    assert np.bincount(labels).max() <= 2 * k - 1


@algorithms
def test_same_seed_gives_the_same_labels_and_leaves_the_embeddings_alone(algorithm):
    points = groups(150, 8, 12)
    before = points.copy()
    first, second = algorithm(points, 4, 3, "default"), algorithm(before.copy(), 4, 3, "default")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("name", ["kmeans", "kmeans-published", "oka", "oka-published", "random"])
def test_another_seed_gives_other_crowds(name):
    points = groups(150, 8, 12)
    assert (ROWS[name](points, 4, 1, "default") != ROWS[name](points, 4, 2, "default")).any()


@algorithms
def test_unit_of_the_embeddings_does_not_matter(algorithm):
    """By a power of two, so that nothing is rounded; squares of such numbers overflow."""
    points = groups(60, 5, 6)
    np.testing.assert_array_equal(algorithm(points, 4, 0, "default"), algorithm(points * 2.0**600, 4, 0, "default"))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("hierarchical", 5_000),
        ("hierarchical-once", 20_000),
        ("kmeans", 14_142),
        ("kmeans-published", 14_142),
        ("knn", 50_000),
        ("kmember", 50_000),
        ("kmember-published", 50_000),
        ("oka", 44_721),
        ("oka-published", 44_721),
    ],
)
def test_too_many_people_are_refused_with_what_to_use_instead(name, most):
    with pytest.raises(PartitionError, match=rf"^{name} takes at most {most} people .* use the algorithm swap"):
        ROWS[name](np.zeros((most + 1, 1)), 2, 0, "default")


@given(n=st.integers(2, 500), k=st.integers(2, 30))
def test_sizes_add_up_and_differ_by_one_at_most(n, k):
    if n < k:
        return
    sizes = crowd_sizes(n, k)
    assert sizes.sum() == n
    assert k <= sizes.min() <= sizes.max() <= sizes.min() + 1
    assert len(sizes) == n // k


def slow_hierarchical(points: np.ndarray, k: int, linkage: str) -> np.ndarray:
    """HP as its authors wrote it, on SciPy's linkage and its cuts one by one."""
    sizes = crowd_sizes(len(points), k)
    labels = np.full(len(points), -1)
    for crowd, size in enumerate(sizes[1:]):
        left = np.flatnonzero(labels < 0)
        tree = scipy_linkage(points[left], linkage)
        slices = 2 * int(np.ceil(len(left) / (len(points) // len(sizes))))
        while np.bincount(cut := cut_tree(tree, slices)[:, 0]).max() < size:
            slices -= 1
        counts = np.bincount(cut)
        labels[left[np.flatnonzero(cut == counts.argmax())[:size]]] = crowd
    labels[labels < 0] = len(sizes) - 1
    return labels


@pytest.mark.parametrize("linkage", LINKAGES)
@settings(max_examples=12, deadline=None)
@given(st.integers(2, 9), st.integers(9, 70), st.integers(0, 1000))
def test_hierarchical_is_the_published_algorithm(linkage, k, n, seed):
    points = groups(n, 5, 6, seed)
    np.testing.assert_array_equal(hierarchical(points, k, linkage=linkage), slow_hierarchical(points, k, linkage))


@pytest.mark.parametrize(("linkage", "most"), [("ward", 1.06), ("average", 1.1), ("complete", 1.06)])
@pytest.mark.parametrize("k", [2, 5, 20])
def test_one_tree_loses_little_more_than_a_tree_for_every_crowd(linkage, most, k):
    """Whether people are spread evenly, in many groups, or in few."""
    for count in (6, 30, 300):
        points = groups(300, 16, count)
        once = information_loss(points, hierarchical_once(points, k, linkage=linkage))
        assert once < most * information_loss(points, hierarchical(points, k, linkage=linkage))


def test_published_hierarchical_depends_on_the_order_of_people_and_one_tree_does_not():
    points = groups(200, 8, 15)
    mixed = points[np.random.default_rng(1).permutation(200)]

    def change(algorithm) -> float:
        return abs(information_loss(points, algorithm(points, 7)) - information_loss(mixed, algorithm(mixed, 7)))

    assert change(hierarchical) > 0.005
    assert change(hierarchical_once) < 0.0005  # what rounding of distances makes


def test_published_kmeans_sends_people_to_the_farthest_centre():
    """On a line, two people at either end, and a centre between each two."""
    distances = np.abs(np.array([[0.0], [1], [9], [10]]) - [0.5, 9.5])
    labels = _farthest_with_room(distances, np.arange(4), np.array([2, 2]))
    assert labels.tolist() == [1, 1, 0, 0]
    assert _nearest_first(distances, 2).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_published_kmeans_loses_a_fifth_more_than_the_nearest_centres(seed):
    points = np.random.default_rng(seed).normal(size=(300, 8))
    published, meant = (
        information_loss(points, algorithm(points, 10, seed)) for algorithm in (kmeans_published, kmeans)
    )
    assert published > 1.2 * meant


def test_kmeans_gets_better_by_turns():
    points = groups(300, 8, 300)
    quick, default = (information_loss(points, kmeans(points, 10, effort=effort)) for effort in ("quick", "default"))
    assert default < quick


def slow_oka(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """OKA as the paper's authors wrote it: the centre is the mean of all coordinates of all members, one number."""
    n = len(points)
    crowds = [[int(i)] for i in np.random.default_rng(seed).choice(n, n // k, replace=False)]

    def far(person: int, crowd: list[int]) -> float:
        return float(np.linalg.norm(points[person] - points[crowd].mean()))

    def join(person: int, among: list[list[int]]) -> None:
        min(among, key=lambda crowd: far(person, crowd)).append(person)

    for person in sorted(set(range(n)) - {crowd[0] for crowd in crowds}, reverse=True):
        join(person, crowds)
    surplus = []
    for crowd in crowds:
        crowd.sort(key=lambda person, all=tuple(crowd): far(person, list(all)))
        surplus += crowd[k:]
        del crowd[k:]
    for person in surplus[::-1]:
        join(person, [crowd for crowd in crowds if len(crowd) < k] or crowds)
    return np.array([next(c for c, crowd in enumerate(crowds) if person in crowd) for person in range(n)])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [2, 5, 9])
def test_published_oka_is_the_published_algorithm(k, seed):
    points = groups(80, 5, 6, seed)
    np.testing.assert_array_equal(oka_published(points, k, seed), slow_oka(points, k, seed))


def test_published_oka_sees_only_the_mean_and_the_spread_of_the_coordinates():
    """Coordinates of each person in another order make another person, whom a number for a centre does not tell."""
    points = groups(120, 6, 10)
    others = np.random.default_rng(1).permuted(points, axis=1)
    np.testing.assert_array_equal(oka_published(points, 6), oka_published(others, 6))
    assert (oka(points, 6) != oka(others, 6)).any()


def test_published_kmember_puts_all_who_are_left_over_into_the_last_crowd():
    points = groups(97, 6, 10)
    assert np.bincount(kmember_published(points, 10)).tolist() == [10] * 8 + [17]


def test_kmember_puts_each_who_is_left_over_where_it_costs_least():
    """Two groups of four: with k = 3 one of each is left over, and belongs to the other three."""
    points = np.repeat([[0.0], [100]], 4, axis=0) + np.arange(8)[:, None]
    assert {tuple(np.flatnonzero(kmember(points, 3) == crowd)) for crowd in (0, 1)} == {(0, 1, 2, 3), (4, 5, 6, 7)}
    assert np.bincount(kmember_published(points, 3)).tolist() == [3, 5]


@pytest.mark.parametrize("first", ["farthest", "random"])
def test_knn_makes_crowds_of_neighbours(first):
    of = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 5))
    points = np.random.default_rng(1).normal(size=(6, 4))[of] * 100 + np.random.default_rng(2).normal(size=(30, 4))
    labels = knn(points, 5, first=first)
    assert all(len(set(labels[of == group])) == 1 for group in range(6))


def test_knn_starts_with_the_person_farthest_from_all_others():
    points = np.array([[0.0], [1], [2], [3], [50], [49]])
    assert set(np.flatnonzero(knn(points, 2) == 0)) == {4, 5}


@needs_data
@pytest.mark.parametrize(
    ("name", "k", "published", "within"),
    [
        ("hierarchical", 2, 0.2429, 0.0003),
        ("hierarchical", 10, 0.5840, 0.0003),
        ("kmeans-published", 2, 0.3846, 0.03),  # one seed's; SciPy's k-means has .3846 to .3989 for seeds 0 to 7
        ("kmeans-published", 10, 0.7305, 0.02),
        ("knn", 2, 0.2471, 0.0003),
        ("knn", 10, 0.6244, 0.0003),
        ("kmember-published", 2, 0.2484, 0.01),
        ("kmember-published", 10, 0.6067, 0.01),
        ("random", 2, 0.4964, 0.02),
        ("random", 10, 0.9004, 0.01),
    ],
)
def test_loss_is_that_of_the_published_code(name, k, published, within):
    """FACTS.md, "Partitioning"; what draws at random, by its median of five seeds."""
    points = celeba()
    seeds = [0] if name in {"hierarchical", "knn"} else range(5)
    losses = [information_loss(points, ROWS[name](points, k, seed, "default")) for seed in seeds]
    assert np.median(losses) == pytest.approx(published, rel=within)


@needs_data
@pytest.mark.parametrize("k", [5, 10, 20])
def test_as_meant_loses_less_than_as_published(k):
    points = celeba()
    for name in ("kmeans", "oka", "kmember"):
        meant, published = (
            np.mean([information_loss(points, ROWS[row](points, k, seed, "default")) for seed in range(4)])
            for row in (name, f"{name}-published")
        )
        assert meant < published


@needs_data
@pytest.mark.parametrize(("k", "most"), [(5, 1.005), (10, 1.0), (20, 0.985)])
def test_one_tree_is_as_good_on_the_papers_people(k, most):
    points = celeba()
    assert information_loss(points, hierarchical_once(points, k)) < most * information_loss(
        points, hierarchical(points, k)
    )


def published_table() -> dict[str, dict[str, float]]:
    """Means over crowds at k = 20 by method; their crowds are of 1001 people, ours of the 979 that were published."""
    with (DATA / "published_partitioning_k20.csv").open(newline="") as file:
        return {
            row["method"]: {k: float(v) for k, v in row.items() if k[:2] in {"ma", "mi", "me"} and k != "method"}
            for row in csv.DictReader(file)
        }


def measured(labels: np.ndarray, points: np.ndarray) -> dict[str, float]:
    pairs = [pdist(points[labels == crowd]) for crowd in range(labels.max() + 1)]
    return {
        "max dist": float(np.mean([p.max() for p in pairs])),
        "min dist": float(np.mean([p.min() for p in pairs])),
        "mean dist": float(np.mean([p.mean() for p in pairs])),
        "mean silhouette": float(silhouette_score(points, labels)),
    }


@needs_data
@pytest.mark.parametrize(
    ("method", "variant"),
    [
        ("ward", "hierarchical"),
        ("average", "hierarchical, average"),
        ("complete", "hierarchical, complete"),
        ("OTP", "oka-published"),
        ("elki", "kmeans-published"),
        ("random", "kmeans-published, random"),
        ("k-same", "knn, random"),
        ("kmember", "kmember-published"),
        ("max dist", "knn"),
    ],
)
def test_crowds_of_20_are_those_of_the_published_table(method, variant):
    points = celeba()
    ours, theirs = measured(VARIANTS[variant](points, 20, 0, "default"), points), published_table()[method]
    for column, within in (("max dist", 0.02), ("mean dist", 0.02), ("min dist", 0.06)):
        assert ours[column] == pytest.approx(theirs[column], rel=within)
    assert ours["mean silhouette"] == pytest.approx(theirs["mean silhouette"], abs=0.015)


@needs_data
def test_published_table_was_made_with_the_faults():
    """k-means and OKA as they were meant have crowds 4 % and 8 % narrower than the table, whoever is missing."""
    points, theirs = celeba(), published_table()
    assert measured(kmeans(points, 20), points)["mean dist"] < 0.96 * theirs["elki"]["mean dist"]
    assert measured(oka(points, 20), points)["mean dist"] < 0.92 * theirs["OTP"]["mean dist"]
