"""What an operator may ask of k, and what was measured about it: reasons side by side, no verdict."""

from dataclasses import dataclass

from services.population.stats.markup import share
from services.population.stats.measure import Statistics
from services.population.stats.tradeoff import Expectation

FACES = (10, 100, 1000)  # different published faces that may be asked for
SHARES = {"half": 0.5, "one in ten": 0.1, "one in a hundred": 0.01}  # of members near their crowd's mean
KEPT = {"half": 1 / 2, "a third": 1 / 3}  # of the variance of the vectors: one less the information loss


@dataclass(frozen=True)
class Reason:
    """A wish, the k that grants it, and why."""

    wish: str
    k: str
    because: str


def reasons(statistics: Statistics) -> list[Reason]:
    """Wishes that pull k up, then those that hold it down."""
    rows = statistics.tradeoff.expectations
    if not rows:
        return []
    return [*_upwards(rows), *_downwards(statistics, rows)]


def _upwards(rows: tuple[Expectation, ...]) -> list[Reason]:
    """Smallest k of those tried at which few enough members are near their crowd's mean."""
    found = [Reason("Everybody hides among at least so many", "that many", "This is what k is; nothing is measured.")]
    if any(row.near_centre is None for row in rows):
        return found
    for words, most in SHARES.items():
        wish = f"At most {words} of the members nearer to their crowd's mean than the threshold"
        row = next((row for row in rows if row.near_centre is not None and row.near_centre <= most), None)
        if row is None:
            last = rows[-1]
            found.append(Reason(wish, f"none up to {last.k}", f"At k = {last.k} it is {share(last.near_centre)}."))
        else:
            found.append(Reason(wish, f"{row.k} or more", f"At k = {row.k} it is {share(row.near_centre)}."))
    return found


def _downwards(statistics: Statistics, rows: tuple[Expectation, ...]) -> list[Reason]:
    """Largest k that keeps enough of what tells people apart, enough different faces, and unmixed crowds."""
    found = []
    for words, kept in KEPT.items():
        wish = f"At least {words} of what tells people apart kept (variance of their vectors)"
        within = [row for row in rows if row.information_loss <= 1 - kept]
        if within:
            best = within[-1]
            found.append(Reason(wish, f"{best.k} or less", f"The loss at k = {best.k} is {best.information_loss:.3f}."))
        else:
            found.append(Reason(wish, "none from 2", f"The loss at k = 2 is {rows[0].information_loss:.3f}."))
    for faces in FACES:
        most_k = statistics.identities // faces
        if most_k >= 2:
            because = f"{statistics.identities:,} people make at most {faces:,} crowds of {most_k:,} and more."
            found.append(Reason(f"At least {faces:,} different published faces", f"{most_k:,} or less", because))
    for name, counts in statistics.attributes.items():
        if counts.rarest is not None and len(counts.values) + counts.other_values > 1:
            most_k = counts.rarest
            because = f"The rarest value of {name} has {most_k:,} {'person' if most_k == 1 else 'people'}."
            found.append(Reason(f"Crowds that do not mix {name}", _at_most(most_k), because))
    return found


def _at_most(k: int) -> str:
    return f"{k:,} or less" if k >= 2 else "none; merge values first"
