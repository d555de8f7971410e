"""Distances -> TAR at a FAR, and EER: is it the same person, yes or no?

Ties are shared out by chance, to the attacker's good: where the threshold that would give the FAR lies within a tie,
the attacker accepts as many of the tied pairs, drawn blindly, as the FAR allows, and is credited with their share of
genuine ones. An attacker who may not draw would have to refuse them all, and hiding would seem to be better than it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.report.attacks.interval import draws_of, enclose
from services.report.attacks.pairs import TIE, Pairs
from services.report.results import Estimate

FARS = ("0.001", "0.0001")
CORNERS = 400  # of the curve that every draw is given
LEAST_FAR = 1e-6  # of these corners: in a draw, the FAR of a threshold is some times what it is in truth, no more


@dataclass(frozen=True)
class Verification:
    """How well pairs of one person are told from pairs of two."""

    tar: dict[str, Estimate | None]  # None: fewer impostor pairs than 1 / FAR
    eer: Estimate
    impostors: int  # pairs


@dataclass(frozen=True)
class Curve:
    """b ROC curves at common corners, from (0, 0) to (1, 1)."""

    far: np.ndarray  # float64 [b, c], never falling
    tar: np.ndarray  # float64 [b, c], never falling


@dataclass(frozen=True)
class Place:
    """Places on b curves: `part` of the way from corner `at` to the next."""

    at: np.ndarray  # int64 [b]
    part: np.ndarray  # float64 [b]

    def of(self, heights: np.ndarray) -> np.ndarray:
        """What `heights float [b, c]` come to there."""
        rows = np.arange(len(heights))
        low, high = heights[rows, self.at], heights[rows, self.at + 1]
        return low + self.part * (high - low)


def verify(galleries: Sequence[Pairs], seed: int) -> Verification:
    """Takes all pairs of one or more galleries together.

    In a draw, a pair counts as often as its two people were drawn, in first order (U-statistics: their Hajek
    projection): a pair of people drawn v and w times counts v + w - 1 times. So an interval tells of whom the attacker
    holds as well as of whom is looked for. A person drawn twice is no impostor of themselves.

    Raises:
        ReportError: there are no probes.
    """
    genuine = np.concatenate([one.genuine for one in galleries])
    owners = np.concatenate([one.owners for one in galleries])
    impostors = sum(one.impostors for one in galleries)
    corners = np.unique(np.concatenate([genuine - TIE - 1, genuine + TIE]))  # just before, and with all that tie
    counts = np.sum([_impostors_below(one, corners) for one in galleries], axis=0)
    whole = _curve(counts[None], _below(genuine, corners)[None])
    few = _most_telling(whole, corners)
    drawn = _drawn(galleries, genuine, owners, few, seed)

    def at(place: Place, again: np.ndarray, refused: bool) -> Estimate:
        """The share accepted, or refused, by the threshold of a place."""
        edges = np.concatenate([[-np.inf], corners, [np.inf]])[place.at[0] : place.at[0] + 2]
        accepted = np.where(genuine <= edges[0], 1.0, np.where(genuine <= edges[1], place.part[0], 0.0))
        return enclose(again, 1 - accepted if refused else accepted, owners)

    tar: dict[str, Estimate | None] = {}
    for level in FARS:
        enough = impostors * float(level) >= 1
        there = [where_far_is(curve, float(level)) for curve in (whole, drawn)]
        tar[level] = at(there[0], there[1].of(drawn.tar), refused=False) if enough else None
    equal = where_errors_are_equal(whole)
    return Verification(tar, at(equal, 1 - where_errors_are_equal(drawn).of(drawn.tar), refused=True), impostors)


def where_far_is(curve: Curve, level: float) -> Place:
    """The last place where the FAR is not above `level`."""
    at = np.minimum((curve.far <= level).sum(axis=1) - 1, curve.far.shape[1] - 2)
    return _cross(curve.far - level, at)


def where_errors_are_equal(curve: Curve) -> Place:
    """Where the FAR comes to what is refused of genuine pairs."""
    surplus = curve.far + curve.tar - 1
    return _cross(surplus, (surplus < 0).sum(axis=1) - 1)


def _cross(heights: np.ndarray, at: np.ndarray) -> Place:
    """Where `heights float [b, c]` come to 0 between corners `at int [b]` and the next."""
    rows = np.arange(len(at))
    low, high = heights[rows, at], heights[rows, at + 1]
    rise = high - low
    return Place(at, np.clip(np.divide(-low, rise, out=np.ones_like(rise), where=rise > 0), 0, 1))


def _curve(false: np.ndarray, true: np.ndarray) -> Curve:
    """Counts `float [b, corners + 1]`, the last of all pairs -> curves."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [np.clip(counts / counts[:, -1:], 0, 1) for counts in (false, true)]
    far, tar = (np.maximum.accumulate(np.pad(rate, ((0, 0), (1, 0))), axis=1) for rate in rates)
    return Curve(far, tar)


def _below(genuine: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """How many are at most at each corner, and all: int64 [corners + 1]."""
    return np.append(np.searchsorted(np.sort(genuine), corners, side="right"), len(genuine))


def _impostors_below(pairs: Pairs, corners: np.ndarray) -> np.ndarray:
    """The same of pairs of two people."""
    counts = np.zeros(len(corners) + 1, np.int64)
    for rows in pairs.blocks():
        counts += np.bincount(np.searchsorted(corners, pairs.steps[rows].ravel()), minlength=len(counts))
    return np.cumsum(counts) - _below(pairs.genuine, corners)


def _most_telling(whole: Curve, corners: np.ndarray) -> np.ndarray:
    """At most CORNERS of the corners, those on both sides of FARs that grow by a ratio."""
    if len(corners) <= CORNERS:
        return corners
    far = whole.far[0, 1:-1]
    levels = np.geomspace(LEAST_FAR, 1, CORNERS // 2)
    sides = np.searchsorted(far, levels, side="right")
    return corners[np.unique(np.clip(np.concatenate([sides - 1, sides]), 0, len(corners) - 1))]


def _drawn(
    galleries: Sequence[Pairs], genuine: np.ndarray, owners: np.ndarray, corners: np.ndarray, seed: int
) -> Curve:
    """The curves of all draws of people. Draws without a genuine or an impostor pair are left out."""
    people, at = np.unique(np.concatenate([owners, *(one.people for one in galleries)]), return_inverse=True)
    weights = draws_of(len(people), seed)
    true = _by_person(at[: len(owners)], np.searchsorted(corners, genuine), len(people), len(corners))
    false = np.zeros_like(true)  # pairs of each person, as a probe and in the gallery
    for one in galleries:
        columns = np.searchsorted(people, one.people)
        false -= 2 * _by_person(columns[one.own], np.searchsorted(corners, one.genuine), *_shape(false))
        for rows in one.blocks():
            bins = np.searchsorted(corners, one.steps[rows].ravel()).reshape(-1, len(columns))
            probes = np.broadcast_to(columns[one.own[rows], None], bins.shape)
            false += _by_person(probes, bins, *_shape(false))
            false += _by_person(np.broadcast_to(columns, bins.shape), bins, *_shape(false))
    false, true = np.cumsum(false, axis=1), np.cumsum(true, axis=1)
    pairs = weights @ false - false.sum(axis=0) / 2
    hits = weights @ true
    kept = (pairs[:, -1] > 0) & (hits[:, -1] > 0)
    return _curve(pairs[kept], hits[kept])


def _shape(counts: np.ndarray) -> tuple[int, int]:
    """People and corners of counts."""
    return counts.shape[0], counts.shape[1] - 1


def _by_person(people: np.ndarray, bins: np.ndarray, n: int, corners: int) -> np.ndarray:
    """How many of each person fall between which corners: float64 [n, corners + 1]."""
    width = corners + 1
    return np.bincount((people * width + bins).ravel(), minlength=n * width).reshape(n, width).astype(np.float64)
