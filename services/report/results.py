"""What measures come to: small rows, of which the page and the JSON are made. Nothing here is of a single person."""

from dataclasses import dataclass
from typing import Literal

AttackName = Literal["none", "naive", "reverse", "parrot", "adapted parrot"]
Photos = Literal["another", "the same"]  # of the person: which photo the attacker holds


@dataclass(frozen=True)
class Estimate:
    """A measured figure with its 95 % interval: percentiles of the bootstrap, people drawn with replacement."""

    value: float
    low: float
    high: float
    trials: int  # what it is taken from: probes, pairs, faces
    people: int  # whom these are of; crowds, where they were drawn

    @property
    def as_share(self) -> str:
        """In words, for sentences."""
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Attack:
    """Faces of one version, attacked in one way with one recogniser.

    "none": probe original, gallery original: what recognition is worth with nothing hidden. "naive": probe
    original, gallery published. "reverse": probe published, gallery original. "parrot": probe published, gallery hidden
    in the same way by the attacker. "adapted parrot": the same, the recogniser adapted on others' hidden photos.
    (Newton, Sweeney and Malin 2005 call the second one reverse and the third naive.)
    """

    attack: AttackName
    version: str
    recogniser: str
    clustered: bool  # whether the recogniser took part in choosing the crowds
    photos: Photos
    rank1: Estimate  # share of probes; who ties with t others counts 1 / t
    rank5: Estimate
    tar: dict[str, Estimate | None]  # "0.001", "0.0001": true accepts at that rate of false ones; None: too few pairs
    eer: Estimate | None
    probes: int
    gallery: int  # people
    impostors: int  # pairs
    hidden: int  # probes or gallery faces of which nothing is shown, left out


@dataclass(frozen=True)
class Figure:
    """One figure with a name and what it says. An interval only where people can be drawn again."""

    name: str
    about: str
    value: float | None  # None: it could not be measured; `about` says why
    interval: Estimate | None = None


@dataclass(frozen=True)
class SystemAttack:
    """An attack on the system rather than on a face."""

    name: str  # look-up oracle, crowd membership, learned inversion, difference, composition ...
    asks: str  # what the attacker wants to know
    holds: str  # what the attacker has
    claimed: bool  # whether the guarantee is meant to withstand it
    figures: tuple[Figure, ...]
    verdict: str  # one sentence, true of these figures


@dataclass(frozen=True)
class Measure:
    """One measure of utility, of one version beside the originals."""

    version: str
    name: str
    about: str  # how it is taken, its unit, and which way is better
    estimate: Estimate | None  # None: not measured; `about` says why


@dataclass(frozen=True)
class Group:
    """The same measures for the people of one group."""

    attribute: str  # age group, gender, skin tone; predicted unless it says otherwise
    value: str
    people: int
    faces: int
    measures: tuple[Measure, ...]
    attacks: tuple[Attack, ...]


@dataclass(frozen=True)
class Miss:
    """One face or photo that went wrong, for the owner's list. The path is in the release anyway."""

    path: str
    what: str  # refused, masked, no face found, nearer to the person than to the surrogate ...
    why: str
