"""Constraints as an operator writes them: `--separate age_group --diverse diagnosis:3`."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.errors import PartitionError


@dataclass(frozen=True)
class Constraints:
    """What a partition has to keep to besides k."""

    separate: tuple[str, ...] = ()  # attributes that no crowd may mix
    diverse: tuple[tuple[str, int], ...] = ()  # attributes of which every crowd must hold so many distinct values
    merge_small: bool = False  # a stratum too small to be served joins the nearest one; else it is an error

    def __bool__(self) -> bool:
        return bool(self.separate or self.diverse)


def parse_constraints(separate: Sequence[str], diverse: Sequence[str], merge_small: bool = False) -> Constraints:
    """The options `--separate NAME`, `--diverse NAME:L` and `--merge-small`, the first two any number of times.

    Raises:
        PartitionError: an option that says nothing, twice the same, or contradicts another; says what is wanted.
    """
    wanted = tuple(_diverse(text) for text in diverse)
    apart = tuple(name.strip() for name in separate)
    if not all(apart):
        raise PartitionError("--separate wants the name of an attribute, such as --separate age_group")
    names = [*apart, *(name for name, _ in wanted)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        both = set(apart) & {name for name, _ in wanted}
        why = "a crowd that holds one value of it cannot hold several" if twice[0] in both else "once is enough"
        raise PartitionError(f"{twice[0]} is constrained twice; {why}")
    if merge_small and not apart:
        raise PartitionError("--merge-small says what becomes of small strata; there are none without --separate")
    return Constraints(apart, wanted, merge_small)


def _diverse(text: str) -> tuple[str, int]:
    name, colon, number = (part.strip() for part in text.rpartition(":"))
    if not name or not colon or not number.isascii() or not number.isdigit():
        raise PartitionError(
            f"--diverse {text!r} is not NAME:L, an attribute and how many values of it every crowd must hold, such as "
            "--diverse diagnosis:3"
        )
    if int(number) < 2:
        raise PartitionError(f"--diverse {text!r} asks for nothing: L is at least 2, as in --diverse {name}:2")
    return name, int(number)
