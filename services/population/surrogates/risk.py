"""Surrogates tuned for risk: latents moved until few enough members are near their surrogate, at the least loss.

The paper's loop (its code: `cluster_gen` and `adjust_weights`) multiplies every latent by alpha and those of recognised
members by beta, again and again, until the share of recognised members is at most 1/k; all crowds get the same alpha,
and nothing looks at what the step costs. Here every crowd tries a few latents; each is rendered and read as the service
would read it; and of what was seen, each crowd gets the candidate with which all of them together lose least.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.anonymizer.models import Models
from services.anonymizer.triton import Triton
from services.errors import PartitionError
from services.population.portrait import Portrait, photograph
from services.population.surrogates.frontier import Candidate, cheapest, choose_within, pareto, price_of
from services.population.surrogates.plain import mean_by
from services.population.surrogates.slopes import Slopes, corrected, fit_slopes, promising
from services.population.surrogates.weights import crowd_rng, members_of, random_mixtures

LEAST_PRICE, MOST_PRICE = 0.05, 4.0  # of a recognised member, in squared thresholds
MARGINS = (0.0, 0.03, 0.0, 0.06)  # by turns: share by which the threshold to keep clear of is raised
JITTER = 0.1  # of the people's spread: no two tries are the same, and a lucky one may be kept


@dataclass(frozen=True)
class RiskOptions:
    """What is asked of surrogates.

    Raises:
        PartitionError: a value is out of range; says which.
    """

    target: float  # at most this share of all members may be recognised, 0 to 1
    threshold: float | None = None  # a member nearer to the surrogate is recognised; None: the embedder's same_person
    renders: int = 12  # pictures tried for a crowd, the plain mean and random weights among them
    best_effort: bool = False  # a missed target is told, not refused

    def __post_init__(self) -> None:
        if not 0 <= self.target <= 1:
            raise PartitionError(f"the risk target is {self.target:g}; it is a share of all people, 0 to 1")
        if self.threshold is not None and not self.threshold > 0:
            raise PartitionError(f"the risk threshold is {self.threshold:g}; it is a distance above 0")
        if self.renders < 2:
            raise PartitionError(f"{self.renders} pictures a crowd leave nothing to choose from; at least 2")


@dataclass(frozen=True)
class Try:
    """A latent that was rendered, and what was seen."""

    latent: np.ndarray  # float32 [l]
    portrait: Portrait
    score: Candidate


@dataclass(frozen=True)
class Tuned:
    """What came of it."""

    tries: list[Try]  # the chosen one of every crowd
    first: list[list[Portrait | None]]  # portraits of the plain means and of the random mixtures
    rendered: int
    recognised: int  # members
    budget: int  # most that were allowed

    @property
    def met(self) -> bool:
        """Whether the target was."""
        return self.recognised <= self.budget

    @property
    def latents(self) -> np.ndarray:
        """float32 [m, l]"""
        return np.array([chosen.latent for chosen in self.tries])

    @property
    def portraits(self) -> list[Portrait]:
        return [chosen.portrait for chosen in self.tries]


async def tune(
    latents: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    options: RiskOptions,
    seed: int,
    triton: Triton,
    models: Models,
    progress: Callable[[int, int], None],
) -> Tuned:
    """Looks for surrogates that let at most the target's share of members be recognised, at the least loss.

    Which latents a crowd tries depends on its members, on slopes fitted to all people and to the crowd's tries so far,
    and on how strict the target is for all crowds together.

    Args:
        latents: float32 [n, l], of the people.
        embeddings: float32 [n, d].
        labels: int64 [n], crowds 0..m-1.

    Returns:
        The best there was, also if it misses the target.

    Raises:
        PartitionError: no picture of some crowd has a face that the detector finds.
    """
    search = Search(latents, embeddings, labels, options, seed, models)
    first = []
    done = 0

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done, options.renders * len(search.members))

    for turn in range(options.renders):
        proposed = search.propose(turn)
        seen = await photograph(proposed, triton, models, models.generator, report)
        search.learn(proposed, seen)
        if turn < len(search.starts):
            first.append(seen)
    picks = choose_within(search.scores, search.budget)
    chosen = [tries[pick] for tries, pick in zip(search.tries, picks, strict=True)]
    return Tuned(chosen, first, done, sum(kept.score[1] for kept in chosen), search.budget)


class Search:
    """The state of a search: what every crowd has tried, of that the tries worth keeping."""

    def __init__(
        self,
        latents: np.ndarray,
        embeddings: np.ndarray,
        labels: np.ndarray,
        options: RiskOptions,
        seed: int,
        models: Models,
    ):
        self.latents, self.embeddings, self.seed = latents, embeddings.astype(np.float64), seed
        self.members = members_of(labels)
        self.threshold = options.threshold or models.embedder.same_person
        self.budget = int(options.target * len(labels) + 1e-9)
        self.starts = (mean_by(latents, labels), random_mixtures(latents, labels, seed))
        self.tries: list[list[Try]] = [[] for _ in self.members]
        self.seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in self.members]  # places, embeddings: of all

    @cached_property
    def slopes(self) -> Slopes:
        return fit_slopes(self.latents, self.embeddings, self.seed)

    @property
    def scores(self) -> list[list[Candidate]]:
        faceless = [number for number, tries in enumerate(self.tries) if not tries]
        if faceless:
            raise PartitionError(
                f"no surrogate of crowd {faceless[0]} has a face that the detector finds; look at its members' "
                "latents, or try another k or seed"
            )
        return [[kept.score for kept in tries] for tries in self.tries]

    def learn(self, latents: np.ndarray, seen: list[Portrait | None]) -> None:
        """Keeps what no other try of the same crowd beats, and of every try what it tells of the slopes."""
        for number, portrait in enumerate(seen):
            if portrait is None:
                continue
            self.seen[number].append((latents[number] @ self.slopes.along, portrait.embedding))
            squared = ((self.embeddings[self.members[number]] - portrait.embedding) ** 2).sum(axis=1)
            score = (float(squared.sum()), int((squared < self.threshold**2).sum()))
            tries = [*self.tries[number], Try(latents[number], portrait, score)]
            self.tries[number] = [tries[i] for i in pareto([kept.score for kept in tries])]

    def propose(self, turn: int) -> np.ndarray:
        """What to try next, float32 [m, l]: the starts first, then moves from the best there is at the going price."""
        if turn < len(self.starts):
            return self.starts[turn]
        known = [[kept.score for kept in tries] for tries in self.tries if tries]
        unit = self.threshold**2
        going = price_of(known, self.budget, LEAST_PRICE * unit, MOST_PRICE * unit) if known else MOST_PRICE * unit
        clear = self.threshold * (1 + MARGINS[(turn - len(self.starts)) % len(MARGINS)])
        rows = [self._move(number, turn, going, clear) for number in range(len(self.members))]
        return np.array(rows, np.float32)

    def _move(self, number: int, turn: int, price: float, clear: float) -> np.ndarray:
        """The next try of a crowd: from its best at that price, with members to be farther than `clear`."""
        people = self.latents[self.members[number]]
        rng, order = crowd_rng(people, self.seed, purpose=turn)
        weights = rng.normal(size=len(people))
        shift = (weights - weights.mean()) @ people[order].astype(np.float64)
        shift *= JITTER * self.slopes.spread / max(float(np.linalg.norm(shift)), 1e-12)
        if not self.tries[number]:
            return self._towards_faces(number, turn) + shift
        best = self.tries[number][cheapest([kept.score for kept in self.tries[number]], price)]
        members, seen = self.embeddings[self.members[number]], best.portrait.embedding
        places, embeddings = (np.array(values) for values in zip(*self.seen[number], strict=True))
        slopes = corrected(self.slopes, best.latent @ self.slopes.along, seen, places, embeddings)
        moved = promising(slopes, best.latent, seen, members, clear, price / clear**2)
        return self.slopes.plausible(moved + shift)

    def _towards_faces(self, number: int, turn: int) -> np.ndarray:
        """For a crowd whose tries showed no face: by thirds of the way, from its mean to other crowds' surrogates."""
        faces = [tries[0].latent for tries in self.tries if tries]
        aim = np.mean(faces, axis=0) if faces else self.starts[0].mean(axis=0)
        return self.starts[0][number] + (aim - self.starts[0][number]) * min(1.0, (turn - 1) / 3)
