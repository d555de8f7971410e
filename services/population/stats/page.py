"""Statistics -> one HTML file that needs nothing else: no request, no script. It shows counts and distances only."""

from services.population.stats import sections
from services.population.stats.document import document
from services.population.stats.markup import definitions, paragraph, text
from services.population.stats.measure import Statistics

DEFINITIONS = {
    "identity": "One person. k counts identities, not photos; all photos of an identity go to one crowd.",
    "embedding": "The vector the embedder gives a face; an identity's is the mean over its photos.",
    "distance": "Euclidean, between embeddings as they are, not scaled to a length of one.",
    "nearest other": "Of an identity: the least distance of its vector to that of any other identity.",
    "d'": "Mean distance of photos of different people less that of one person's, over the root of the mean of the two "
    "variances; about 3 and more tells people apart well.",
    "crowd": "At least k identities that share one published face.",
    "sizes": "Fewest and most members of a crowd.",
    "people per face": "Condensation: identities over crowds, n/m.",
    "loss": "Information loss, SSE/SST: squared distances of members to their crowd's mean, over those to the mean of "
    "all.",
    "loss, random": "What crowds of the same number lose on average if people are put into them at random.",
    "to the mean": "Mean distance of a member's vector to the mean vector of their crowd.",
    "near the mean": "Share of members for whom that distance is below the embedder's threshold: whom a recogniser "
    "would take for the person of their crowd's mean vector.",
}

LIMITS = (
    "Nearness to the crowd's mean vector is a proxy for re-identification before rendering. The published face is "
    "rendered from the mean of the members' latents and then embedded: it usually lies farther from members than their "
    "mean vector does. Measure the rate on the rendered surrogates before a release.",
    "A member who is near is known to be one of the k or more people of that crowd, not which one; how many are near "
    "does not change k, and k does not keep anybody from being recognised as one of them.",
    "The partitions are quick ones. A build takes more time and loses a little less; which people share a crowd will "
    "differ.",
    "Distances are those of one embedder. Another recogniser, or a person, may see people otherwise.",
    "Attributes and quality come from models or from the operator, and are no better than those.",
    "What lies outside the replaced face (hair, clothes, place) is not measured here and not covered by k.",
)


def page(of: Statistics) -> str:
    """The whole file. What it holds is in `of`, which has neither faces, vectors nor names of people."""
    name = text(of.population)
    made = ", ".join(f"{part} {made_with}" for part, made_with in of.made_with.items() if made_with)
    body = [
        f"<h1>Population {name}</h1>",
        paragraph("Statistics before anonymising: what is enrolled, and what each k would gain and cost.", True),
        paragraph(f"Made with {made or 'models that are not known'}. {_threshold(of)} Seed {of.seed}.", True),
        sections.overview(of),
        sections.people(of),
        sections.apart(of),
        sections.crowds(of),
        sections.quality(of),
        sections.attributes(of),
        "<h2>What the words mean</h2>",
        definitions(DEFINITIONS),
        "<h2>Limits</h2>",
        *(paragraph(limit) for limit in LIMITS),
    ]
    return document(f"Population {of.population}: statistics", body)


def _threshold(of: Statistics) -> str:
    if of.threshold is None:
        return "No threshold of the embedder is known, so nothing is said about who would be recognised."
    return f"The embedder's threshold, below which two photos may be of one person, is {of.threshold:g}."
