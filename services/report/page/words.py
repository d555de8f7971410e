"""Figures in words."""

from services.population.stats.markup import share
from services.report.results import Attack, Estimate

HOW = {
    "none": "nothing hidden",
    "naive": "naive",
    "reverse": "reverse",
    "parrot": "parrot",
    "adapted parrot": "adapted parrot",
}


def rate(found: Estimate | None) -> str:
    """A share with its interval."""
    if found is None:
        return "not measured"
    return f"{share(found.value)} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def amount(found: Estimate | None) -> str:
    """Any figure with its interval."""
    if found is None:
        return "not measured"
    return f"{_short(found.value)} ({_short(found.low)} to {_short(found.high)})"


def named(one: Attack) -> str:
    """An attack in words: how, with which photo, by whom."""
    photo = "" if one.attack == "none" else f", {'another photo' if one.photos == 'another' else 'the very photo'}"
    return f"{HOW[one.attack]}{photo}, {one.recogniser}"


def percent(value: float) -> str:
    """A share without an interval."""
    return "not known" if value != value else share(value)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
