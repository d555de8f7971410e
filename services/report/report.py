"""All that a report says, before it becomes a page or JSON. Figures of groups and of the whole; of no single person."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

from services.report.disclosure import less_told
from services.report.results import Attack, Estimate, Group, Measure, Miss, SystemAttack

FORMAT = "anonfaces-report-1"
DIGITS = 4


@dataclass(frozen=True)
class Recogniser:
    """Who looked."""

    name: str
    clustered: bool  # it chose the crowds; its figures are shown, and do not count


@dataclass(frozen=True)
class Way:
    """A version of the faces: the release, or another way to hide them."""

    name: str
    about: str


@dataclass(frozen=True)
class Report:
    """What was measured of one release."""

    name: str  # of the release's folder
    created: str
    command: str  # that makes the report again
    seed: int  # of its draws; that of the index is in `structure`
    k: int  # of the index
    smallest: int  # people of the smallest crowd of the index
    chance: float  # 1 / people of the crowd in the index, mean over probes: what is promised
    chance_here: float  # 1 / people of the crowd who are in this gallery: what no hiding can go below
    counts: Mapping[str, int]  # people, photos, faces, enrolled, strangers, masked, refused ...
    structure: Mapping[str, Any]
    losses: tuple[Any, ...]  # rows of services/report/loss.py
    recognisers: tuple[Recogniser, ...]
    ways: tuple[Way, ...]
    attacks: tuple[Attack, ...]
    system: tuple[SystemAttack, ...]
    measures: tuple[Measure, ...]
    groups: tuple[Group, ...]
    misses: tuple[Miss, ...]
    without: Mapping[str, int]  # what could not be looked at, by the reason
    limits: tuple[str, ...]  # sentences
    pictures: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)  # way -> JPEGs, the same faces; not in JSON

    def as_dict(self, public: bool = False) -> dict[str, Any]:
        """As JSON has it, rounded, without pictures; if it is public, without which photos went wrong, and the command,
        which tells where the originals are.
        """
        left_out = {"pictures", "misses", "command"} if public else {"pictures"}
        of = self.for_others() if public else self
        told = {name: getattr(of, name) for name in of.__dataclass_fields__ if name not in left_out}
        plain: dict[str, Any] = _plain(told)
        return {"format": FORMAT, **plain}

    def for_others(self) -> "Report":
        """The same, of whose groups no figures of a few people can be worked out."""
        return replace(self, groups=tuple(less_told(self.groups, self.measures, self.attacks)))

    def worst(self, way: str, attacks: tuple[str, ...] | None = None) -> Attack | None:
        """The attack with the highest rank-1 on a way to hide, by recognisers that chose no crowds; None: none.

        Args:
            attacks: only these; None: all.
        """
        counted = [
            one
            for one in self.attacks
            if one.version == way and not one.clustered and (attacks is None or one.attack in attacks)
        ]
        return max(counted, key=lambda one: one.rank1.value, default=None)

    def above(self, way: str) -> Attack | None:
        """The surest attack on a way to hide that is above the promise, whatever its rate; None: none is."""
        counted = [one for one in self.attacks if one.version == way and not one.clustered and self.is_above(one.rank1)]
        return max(counted, key=lambda one: one.rank1.low, default=None)

    def is_above(self, rate: Estimate) -> bool:
        """Whether a rate is above the promise, and not by chance: its interval lies above the gallery's line."""
        return rate.low > max(self.chance, self.chance_here)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value else round(value, DIGITS)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if hasattr(value, "item") else value
