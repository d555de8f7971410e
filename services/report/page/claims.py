"""What is claimed, against whom, and what is not: the threat model in short, with this report's own figures."""

from services.population.stats.markup import paragraph, table
from services.report.faces import RELEASED, SURROGATE
from services.report.page.words import rate
from services.report.report import Report
from services.report.system.difference import INDEX
from services.report.system.difference import SURROGATE as WITHOUT


def claims(of: Report) -> str:
    """A table: who attacks, what is claimed against them, and what was measured."""
    system = {one.name.split(" with ")[0]: one for one in of.system}

    def told(name: str) -> str:
        found = system.get(name)
        return "not tried" if found is None else found.verdict

    def worst(way: str, *attacks: str) -> str:
        found = of.worst(way, attacks or None)
        return "not tried" if found is None else f"rank-1 {rate(found.rank1)} by {found.recogniser}"

    one_of_k = "yes: the face tells the crowd at most, one of k"
    rows = [
        ("who has the release, and photos of people", one_of_k, f"surrogates: {worst(SURROGATE, 'naive', 'reverse')}"),
        (
            "who can hide photos in the same way",
            one_of_k,
            f"surrogates: {worst(SURROGATE, 'parrot', 'adapted parrot')}",
        ),
        ("who learns to undo surrogates", one_of_k, told("learned inversion")),
        ("the same, with hair, clothes and place", "no", f"finished photos: {worst(RELEASED)}"),
        ("who asks whether somebody is in a crowd", "no", told("crowd membership")),
        ("who may ask the service", "no", told("look-up oracle")),
        ("who knows all others of a crowd, and has the index", "no", told(INDEX)),
        ("who knows all others of a crowd, without the index", "no", told(WITHOUT)),
        ("who has two releases of the same people", "no", told("composition")),
        ("strangers, who are not enrolled", "no: they get the nearest crowd's face, and no k", ""),
        ("who has the map of the enrolled, or its key", "no: they hold who is in which crowd", ""),
    ]
    return "\n".join(
        [
            "<h2>What is claimed, and what is not</h2>",
            paragraph(
                "Of enrolled people, whose faces were replaced. The whole threat model is in docs/threat-model.md."
            ),
            table(("against", "claimed", "measured here"), rows, "words"),
        ]
    )
