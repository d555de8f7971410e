"""The first screen: what an auditor asks first, and whether the finished photos keep what the surrogates promise."""

from services.population.stats.markup import paragraph, tile
from services.report.faces import ORIGINAL, RELEASED, SURROGATE
from services.report.page.words import named, percent, rate
from services.report.report import Report


def verdict(of: Report, public: bool) -> str:
    """Tiles, and sentences about the worst attacks by recognisers that chose no crowds."""
    counts = of.counts
    tiles = [
        tile(f"k = {of.k}", f"the index's promise; its smallest crowd has {of.smallest} people"),
        _worst(of, SURROGATE, "the best attack's rank-1 on surrogates alone"),
        _worst(of, RELEASED, "the best attack's rank-1 on the finished photos"),
        _worst(of, ORIGINAL, "rank-1 with nothing hidden"),
        tile(
            f"{counts.get('enrolled_people', 0):,}", f"enrolled people looked at, in {counts.get('photos', 0):,} photos"
        ),
        tile(
            f"{len(of.misses):,}",
            f"faces and photos that went wrong or stay recognisable{'' if public else ', listed below'}",
        ),
    ]
    lines = [_line(of), _about(of, SURROGATE, "On surrogates alone"), _about(of, RELEASED, "On the finished photos")]
    return f'<div class="tiles">{"".join(tiles)}</div>' + "".join(paragraph(line) for line in lines if line)


def _worst(of: Report, way: str, what: str) -> str:
    found = of.worst(way)
    return tile("not measured" if found is None else percent(found.rank1.value), what)


def _line(of: Report) -> str:
    return (
        f"One of k people is {percent(1 / of.k)}; by the crowds' true sizes an attacker who learns the crowd and "
        f"nothing else is right for {percent(of.chance)} of photos, and among the people of this gallery, where some "
        f"of a crowd may be missing, for {percent(of.chance_here)}. Rates are held against the larger of the last two. "
        "Only recognisers that had no part in choosing the crowds count here."
    )


def _about(of: Report, way: str, where: str) -> str:
    found = of.worst(way)
    if found is None:
        return f"{where} no attack was tried." if way == SURROGATE else ""
    said = f"{where} the best of all attacks ({named(found)}) names {rate(found.rank1)} of photos right"
    above = of.above(way)
    if above is None:
        return f"{said}, which is not above what the crowd alone tells; nor is any other attack."
    other = "" if above == found else f"; the surest one ({named(above)}) names {rate(above.rank1)}"
    if way == RELEASED and of.above(SURROGATE) is None:
        more = (
            "what is around the face (hair, clothes, place), which no k covers, gives people away. Do not promise one "
            "of k for these photos."
        )
    elif way == RELEASED:
        more = "and the surrogates alone are as well. Do not promise one of k for these photos."
    else:
        more = "more than the crowd alone could tell. Look into it before anything is published."
    return f"{said}{other}. That is WORSE than the crowd alone: {more}"
