"""Exact searches find what brute force finds, whatever the numbers; the approximate one nearly always does."""

import json
import tracemalloc

import numpy as np
import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from services.anonymizer.search import MANY, NOBODY, ApproximateSearch, ExactSearch, WithinSearch, search_centroids
from services.population.bench.lookup import KEPT, People, lookup

# whole numbers make ties; the offset makes float32 lose what tells rows apart, the scale what is very small or large
VALUES = st.integers(-3, 3).map(float) | st.floats(-1, 1, width=32)
OFFSETS, SCALES = st.sampled_from([0.0, 100.0, 5000.0]), st.sampled_from([1e-30, 1e-22, 1.0, 1e15, 1e25])


@st.composite
def galleries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A gallery float32 [n, d] with repeated rows, and queries float32 [q, d]."""
    n, dims, q = draw(st.integers(1, 40)), draw(st.integers(1, 24)), draw(st.integers(1, 4))
    offset, scale = draw(OFFSETS), draw(SCALES)
    both = draw(arrays(np.float64, (n + q, dims), elements=VALUES)) + offset
    both = (both * scale).astype(np.float32)
    both[draw(st.integers(0, n - 1))] = both[draw(st.integers(0, n - 1))]
    return both[:n], both[n:]


def brute_force(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Squared distances, float64 [q, n]."""
    return ((queries.astype(np.float64)[:, None] - gallery.astype(np.float64)) ** 2).sum(axis=2)


def faces(seed: int, rows: int, dims: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dims)).astype(np.float32) / dims**0.5


@given(galleries())
def test_exact_search_finds_what_brute_force_finds_and_the_first_of_equals(given_):
    gallery, queries = given_
    squared = brute_force(gallery, queries)
    found = ExactSearch(gallery).nearest(queries)
    least = squared.min(axis=1)
    assert squared[np.arange(len(queries)), found] == pytest.approx(least, rel=1e-12)
    for query, row in enumerate(found):  # brute force sums in another order, so that equals may differ in the last bit
        assert not (gallery[:row] == gallery[row]).all(axis=1).any(), query


@given(galleries(), st.floats(0.01, 3))
def test_search_within_a_radius_passes_nobody_over(given_, radius):
    gallery, queries = given_
    squared = brute_force(gallery, queries)
    radius *= float(np.sqrt(np.median(squared)))
    assume((abs(squared - radius**2) > 1e-9 * radius**2).all())  # no rounding at the edge
    found = WithinSearch(gallery, radius).nearest(queries)
    inside = squared.min(axis=1) <= radius**2
    assert ((found != NOBODY) == inside).all()
    some = squared[np.flatnonzero(inside), found[inside]]
    assert some == pytest.approx(squared.min(axis=1)[inside], rel=1e-12)


def test_first_of_many_equals_is_found():
    gallery = np.ones((10_000, 8), np.float32)
    for search in (ExactSearch(gallery), WithinSearch(gallery, 3.0)):
        assert search.nearest(np.zeros((1, 8), np.float32)).tolist() == [0]


def test_rows_that_float32_cannot_tell_apart_are_told_apart():
    """1000 rows a hundredth of float32's rounding error away from each other: without float64 it is a guess."""
    rng = np.random.default_rng(0)
    gallery = (2000 + np.round(rng.normal(size=(1000, 64)), 2)).astype(np.float32)
    queries = (2000 + np.round(rng.normal(size=(50, 64)), 2)).astype(np.float32)
    expected = brute_force(gallery, queries).argmin(axis=1)
    naive = ((gallery**2).sum(axis=1) - 2 * queries @ gallery.T).argmin(axis=1)
    assert (naive != expected).sum() > 10
    assert (ExactSearch(gallery).nearest(queries) == expected).all()


def test_people_are_found_among_many_at_the_edge_of_the_radius():
    gallery = faces(0, 6000)
    direction = faces(1, 200)
    direction /= np.linalg.norm(direction.astype(np.float64), axis=1, keepdims=True)
    inside, outside = (gallery[:200] + np.float32(length) * direction for length in (0.2999, 0.3001))
    search = WithinSearch(gallery, 0.3)
    assert (search.nearest(inside) == np.arange(200)).all()
    assert (search.nearest(outside) == NOBODY).all()


def test_edge_of_the_radius_belongs_to_it():
    search = WithinSearch(np.zeros((3, 2), np.float32), 0.25)
    found = search.nearest(np.array([(0.25, 0), (0, 0.2500001)], np.float32))
    assert found.tolist() == [0, NOBODY]


@pytest.mark.parametrize("search", [ExactSearch, ApproximateSearch, lambda g: WithinSearch(g, 1.0)])
def test_single_row_is_found(search):
    assert search(np.ones((1, 128), np.float32)).nearest(np.ones((2, 128), np.float32)).tolist() == [0, 0]


def test_crowds_that_are_all_alike_leave_lists_empty_and_are_found_all_the_same():
    search = ApproximateSearch(np.ones((2000, 16), np.float32))
    search.lists.nprobe = 1
    assert search.nearest(faces(2, 50, 16)).min() >= 0


def test_nobody_is_found_where_nobody_is():
    found = WithinSearch(np.empty((0, 8), np.float32), 1.0).nearest(np.zeros((2, 8), np.float32))
    assert found.tolist() == [NOBODY, NOBODY]


@pytest.fixture(scope="module")
def crowds() -> tuple[np.ndarray, np.ndarray]:
    """As many crowds as are searched approximately, and strangers to look up."""
    people = People(None, seed=3)
    return people.draw(MANY, 4, KEPT), people.draw(300, 5)


@pytest.fixture(scope="module")
def approximate(crowds) -> ApproximateSearch:
    return ApproximateSearch(crowds[0])


def test_approximate_search_finds_the_nearest_for_99_of_100(crowds, approximate):
    gallery, queries = crowds
    found = approximate.nearest(queries)
    assert (found == ExactSearch(gallery).nearest(queries)).mean() >= 0.99


def test_approximate_search_answers_the_same_when_built_again_and_for_one_face_at_a_time(crowds, approximate):
    gallery, queries = crowds
    found = approximate.nearest(queries)
    assert (ApproximateSearch(gallery).nearest(queries) == found).all()
    assert [int(approximate.nearest(query[None])[0]) for query in queries] == found.tolist()


def test_crowds_are_searched_exactly_until_there_are_many(crowds):
    gallery, _ = crowds
    assert isinstance(search_centroids(gallery[:-1]), ExactSearch)
    assert isinstance(search_centroids(gallery), ApproximateSearch)


@pytest.mark.parametrize("make", [ExactSearch, lambda gallery: WithinSearch(gallery, 0.3)])
def test_a_query_copies_no_gallery(crowds, make):
    gallery, queries = crowds
    search = make(gallery)
    tracemalloc.start()
    search.nearest(queries[:3])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < gallery.nbytes / 10


# --- the bench --------------------------------------------------------------------------------------------------------


def bench(*arguments: object):
    app = typer.Typer()
    app.command()(lookup)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_bench_measures_every_way_and_says_which_one_serves(tmp_path):
    people, picture = tmp_path / "people.npy", tmp_path / "lookup.png"
    np.save(people, faces(6, 200, 32))
    told = bench("--sizes", "150,400", "--queries", 20, "--embeddings", people, "--out", picture, "--json", "-")
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)["rows"]
    assert {(row["rows"], row["method"]) for row in rows} == {
        (n, m) for n in (150, 400) for m in ("exact", "ivf", "hnsw")
    }
    assert {row["recall"] for row in rows if row["method"] == "exact"} == {1.0}
    assert [(row["rows"], row["of"], row["method"]) for row in rows if row["serves"]] == [
        (n, of, "exact") for n in (150, 400) for of in ("crowds", "people")
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("sizes", ["", "many", "1000,0"])
def test_bench_refuses_sizes_that_are_none(sizes):
    told = bench("--sizes", sizes)
    assert told.exit_code == 2
    assert "--sizes are whole numbers" in told.output
