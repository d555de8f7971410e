"""A sweep without models: its cells, its file, its choice for a risk, the paper's curves, its page."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from services.anonymizer.models import find_embedder
from services.errors import ReportError
from services.report.results import Estimate
from services.report.sweep.cells import Axes, Cell, Look, Outcome, read_ks, read_outcome, read_weightings
from services.report.sweep.kept import NAME, Kept
from services.report.sweep.measure import outcome_of
from services.report.sweep.page import Swept, page
from services.report.sweep.published import LOSS, RATE, Published, lines_of, read_curves
from services.report.sweep.target import Aim, check_people, pick, search

AXES = Axes(("own",), ("swap", "mdav"), ("gan",), ("mean", "risk:0.1"), (2, 4, 8))
TERMS = {"people": 24, "seed": 7}


def look(name: str, clustered: bool, distance: float, rate: float) -> Look:
    seen = Estimate(rate, max(0.0, rate - 0.05), rate + 0.05, 100, 100)
    return Look(name, clustered, 0.5, distance, seen, seen)


def outcome(cell: Cell, distance: float, rate: float) -> Outcome:
    """As one recogniser that partitioned, to whom nobody is near, and two others see it."""
    looks = (look("own", True, distance, 0.0), look("b", False, 9.0, rate / 2), look("c", False, 9.0, rate))
    return Outcome(cell, "", 10, cell.k, cell.k, 0.5, looks)


def cell(k: int, weighting: str = "mean", algorithm: str = "swap") -> Cell:
    return Cell("own", algorithm, "gan", weighting, k)


def test_one_factor_is_changed_at_a_time_unless_all_are_asked_for() -> None:
    some, every = AXES.cells(whole=False), AXES.cells(whole=True)
    assert len(some) == len(set(some)) == 9
    assert len(every) == len(set(every)) == 12
    assert cell(2, "risk:0.1", "mdav") in set(every) - set(some)


@pytest.mark.parametrize("text", ["1,2", "two", " , "])
def test_a_k_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        read_ks(text)


@pytest.mark.parametrize("text", ["median", "risk:2", "risk:much", "risk:nan"])
def test_an_unknown_weighting_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ReportError, match="mean, random and risk:SHARE"):
        read_weightings(text)


def test_measures_of_known_points() -> None:
    """Two crowds of two on a line; one member lies within dlib's 0.5 of its surrogate, one nearer to the other's."""
    recogniser = find_embedder("dlib-resnet", Path("none"))
    members = np.array([[0.0], [2.0], [10.0], [4.0]])
    surrogates, labels = np.array([[0.4], [9.0]]), np.array([0, 0, 1, 1])
    own = Cell(recogniser.name, "swap", "gan", "mean", 2)
    found = outcome_of(own, labels, {recogniser.name: members}, {recogniser.name: surrogates}, [recogniser])
    (seen,) = found.looks
    assert seen.clustered
    assert (found.crowds, found.smallest, found.largest) == (2, 2, 2)
    assert found.loss == pytest.approx((2 + 18) / 56)
    assert seen.distance == pytest.approx((0.4 + 1.6 + 1 + 5) / 4)
    assert seen.recognised.value == pytest.approx(1 / 4)
    assert seen.rank1.value == pytest.approx(3 / 4 / 2)


def test_finished_cells_are_found_again_and_a_line_cut_off_is_not(tmp_path: Path) -> None:
    kept = Kept(tmp_path, TERMS)
    kept.add(outcome(cell(2), 0.4, 0.2))
    whole = (tmp_path / NAME).read_bytes()
    kept.add(Outcome(cell(4), "too few people"))
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-9])
    again = Kept(tmp_path, TERMS)
    assert again.done == {cell(2): outcome(cell(2), 0.4, 0.2)}
    assert (tmp_path / NAME).read_bytes() == whole
    again.add(Outcome(cell(4), "too few people"))
    assert set(Kept(tmp_path, TERMS).done) == {cell(2), cell(4)}


def test_other_terms_are_refused_by_name(tmp_path: Path) -> None:
    Kept(tmp_path, TERMS)
    with pytest.raises(ReportError, match=r"other terms \(seed\).*another --out"):
        Kept(tmp_path, {**TERMS, "seed": 8})


def test_a_file_that_is_no_sweeps_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("shopping\n")
    with pytest.raises(ReportError, match="no sweep's"):
        Kept(tmp_path, TERMS)


def test_an_outcome_survives_json() -> None:
    assert read_outcome(outcome(cell(2), 0.4, 0.2).as_dict()) == outcome(cell(2), 0.4, 0.2)


def test_the_least_loss_of_those_that_meet_the_risk_is_chosen() -> None:
    tried = [
        outcome(cell(2), 0.3, 0.4),  # loses least, but misses
        outcome(cell(2, "risk:0.1"), 0.6, 0.02),
        outcome(cell(4), 0.5, 0.03),
        outcome(cell(8), 0.7, 0.0),
    ]
    found = pick(Aim(0.1), tried, "office", 7, 12)
    assert found.chosen is tried[2]
    assert found.command == "anonfaces population build office --k 4 --algorithm swap --surrogates mean --seed 7"


def test_the_upper_end_for_the_worst_uninvolved_recogniser_counts_unless_told_otherwise() -> None:
    tried = [outcome(cell(2), 0.3, 0.08)]
    assert pick(Aim(0.1), tried, "office", 7, 12).chosen is None  # c: 0.08, with its interval up to 0.13
    assert pick(Aim(0.1, "b"), tried, "office", 7, 12).chosen is tried[0]  # b: 0.04, up to 0.09
    assert pick(Aim(0.1, side="value"), tried, "office", 7, 12).chosen is tried[0]
    assert pick(Aim(0.1, "own"), tried, "office", 7, 12).chosen is tried[0]


def test_a_tuned_choice_is_built_with_its_own_target() -> None:
    found = pick(Aim(0.1), [outcome(cell(4, "risk:0.05"), 0.5, 0.03)], "office", 7, 12)
    assert "--surrogates risk --risk-target 0.05 --risk-renders 12" in found.command


def test_nothing_that_meets_the_risk_names_the_nearest_miss() -> None:
    tried = [outcome(cell(2), 0.3, 0.4), outcome(cell(4), 0.5, 0.2), Outcome(cell(8), "too few people")]
    found = pick(Aim(0.1), tried, "office", 7, 12)
    assert (found.chosen, found.nearest, found.command) == (None, tried[1], "")
    assert "k = 4, swap, mean with 25.0%" in found.why


def test_tuned_surrogates_are_tried_where_plain_ones_miss_and_an_algorithm_ends_where_they_do() -> None:
    async def measure(one: Cell) -> Outcome:
        rate = 0.0 if one.k == 4 and one.algorithm == "mdav" else 0.06 if one.weighting == "risk:0.1" else 0.4
        return outcome(one, 0.5, rate)

    tried = [
        (one.cell.k, one.cell.algorithm, one.cell.weighting) for one in asyncio.run(search(Aim(0.1), AXES, measure))
    ]
    steps = ["mean", "risk:0.1", "risk:0.05"]
    assert tried[:6] == [(2, algorithm, step) for algorithm in ("swap", "mdav") for step in steps]
    assert tried[6:10] == [*((4, "swap", step) for step in steps), (4, "mdav", "mean")]
    assert tried[10:] == [(8, "swap", step) for step in steps]


def test_a_risk_that_so_few_people_cannot_show_is_refused_before_anything_is_rendered() -> None:
    with pytest.raises(ReportError, match="take more people"):
        check_people(Aim(0.01), 24)
    check_people(Aim(0.01), 1000)
    check_people(Aim(0.01, side="value"), 24)


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    (tmp_path / LOSS).write_text("k,hier_dlib_adjust,knn_dlib_adjust\n2,0.6,0.65\n4,0.7,0.75\n50,0.9,0.95\n")
    (tmp_path / RATE).write_text("k,hier_dlib_adjust,knn_dlib_adjust\n2,0.26,0.11\n4,0.15,0.03\n50,0,0\n")
    return tmp_path


def test_published_curves_are_read_as_far_as_our_k_go(papers: Path) -> None:
    found = read_curves(papers)
    lines = lines_of(found.rate, "algorithm", (2, 4, 8))
    assert lines == {
        "published: hierarchical": [(2, 0.26), (4, 0.15)],
        "published: knn": [(2, 0.11), (4, 0.03)],
    }
    assert read_curves(None) == Published()


def test_a_folder_without_the_papers_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=LOSS):
        read_curves(tmp_path)


def test_the_page_has_no_request_and_no_script_and_tells_what_was_not_measured(papers: Path) -> None:
    found = [outcome(one, 0.4, 0.2) for one in AXES.cells(False) if one.k < 8]
    found.append(Outcome(cell(8), "<b>too few</b> people"))
    swept = Swept(24, "made up", 7, "anonfaces", ("own", "b", "c"), tuple(found), read_curves(papers))
    told = page(swept)
    assert "<script" not in told
    assert "http://" not in told
    assert "https://" not in told
    assert "default-src 'none'" in told
    assert "published: knn" in told
    assert "&lt;b&gt;too few&lt;/b&gt; people" in told
    assert told.count("<svg") == 5 + 2 * 6  # of embedders and algorithms six each, of weightings five
