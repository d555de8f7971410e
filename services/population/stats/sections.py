"""The parts of the page, each a heading with what was measured and sentences that say what is seen."""

from services.population.enroll.duplicates import SHARE as DUPLICATES
from services.population.enroll.rows import AMBIGUOUS, BAD, FACELESS, NO_IDENTITY, UNFIT
from services.population.stats import figures
from services.population.stats.choosing import reasons
from services.population.stats.distances import Distances
from services.population.stats.markup import bars, figure, number, paragraph, share, table, text, tile
from services.population.stats.measure import Statistics
from services.population.stats.spread import Spread

MEASURES = {  # what enrolment measures of a photo: its name and unit, and what its values say
    "face_px": ("size of the face (pixels)", ""),
    "score": ("score of the detector (0 to 1)", ""),
    "blur": ("sharpness (variance of the Laplacian)", "The less, the more blurred."),
    "yaw": ("yaw (degrees)", "Above 0: turned to the photo's right."),
    "pitch": ("pitch (degrees)", "Above 0: raised."),
    "roll": ("roll (degrees)", "Above 0: tilted clockwise."),
    "brightness": ("brightness (mean luma, 0 to 1)", ""),
    "clipped": ("black or blown-out pixels (share)", ""),
}
STATUSES = {  # why a photo is not enrolled
    BAD: "could not be read",
    FACELESS: "no face found",
    UNFIT: "face too small, uncertain or turned away",
    AMBIGUOUS: "several faces, and no telling which is meant",
    NO_IDENTITY: "nobody said whose it is",
}


def overview(of: Statistics) -> str:
    """The figures to remember."""
    tiles = [tile(f"{of.identities:,}", "identities, the people that k counts")]
    tiles.append(tile(f"{of.photos:,}", f"photos behind them{_bad(of)}"))
    if of.distances.nearest:
        tiles.append(tile(f"{of.distances.nearest.median:.3f}", "median distance to the nearest other person"))
    shown = [row for row in of.tradeoff.expectations if row.k <= 10]
    if shown:
        tiles.append(tile(f"{shown[-1].information_loss:.3f}", f"expected information loss at k = {shown[-1].k}"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def people(of: Statistics) -> str:
    """How many photos the identities have, and why others were turned away."""
    per = of.photos_per_identity
    parts = ["<h2>People and photos</h2>"]
    if per.minimum == per.maximum:
        parts.append(paragraph(f"Each of the {of.identities:,} identities has {_photos(per.minimum)}."))
    else:
        seen = (
            f"Half of the identities have {_photos(per.median)} or fewer; the least is {per.minimum:.0f}, "
            f"the most {per.maximum:.0f}"
        )
        alone = f"{of.identities_with_one_photo:,} of {of.identities:,} have a single photo. "
        alone += "Each bin is twice as wide as the one before."
        parts.append(figure(figures.draw_photos(per), f"{seen}.", alone))
    if not of.photos_known:
        parts.append(paragraph("Photo by photo nothing is known."))
    elif of.turned_away:
        bad = sum(of.turned_away.values())
        parts.append(f"<h3>{bad:,} further photos were turned away</h3>")
        parts.append(bars("reason", {STATUSES.get(s, s): n for s, n in of.turned_away.items()}, bad))
    else:
        parts.append(paragraph("No photo was turned away."))
    return "\n".join(parts)


def apart(of: Statistics) -> str:
    """How far apart people are, and how well photos of one person can be told from those of others."""
    found = of.distances
    parts = ["<h2>How far apart people are</h2>"]
    if found.nearest is None or found.between is None:
        return "\n".join([*parts, paragraph("There is one identity: nothing to compare.")])
    whose = "Photos of two people" if found.between_of == "photos" else "Two people"
    seen = f"{whose} lie {found.between.median:.2f} apart, a person and their nearest other {found.nearest.median:.2f}"
    if found.within:
        seen += f", photos of one person {found.within.median:.2f}"
    how = "Medians. Each line is a histogram of its own pairs; all use the same bins."
    parts.append(figure(figures.draw_distances(found, of.threshold), f"{seen}.", how))
    rows = [
        _summary("two photos of one identity", found.within),
        _summary(f"two {'photos of ' if found.between_of == 'photos' else ''}different identities", found.between),
        _summary("an identity and its nearest other", found.nearest),
    ]
    parts.append(
        table(("distance of", "median", "5 %", "95 %", "least", "most", "pairs", "of all"), filter(None, rows), "mixed")
    )
    parts += [paragraph(sentence) for sentence in (*_separation(found), *_duplicates(of))]
    return "\n".join(parts)


def crowds(of: Statistics) -> str:
    """What each k would gain and cost."""
    found = of.tradeoff
    parts = ["<h2>What each k would gain and cost</h2>"]
    if not found.expectations:
        return "\n".join([*parts, paragraph("There are fewer than two identities: no crowd can be formed.")])
    parts.append(paragraph(_partitioned(of)))
    if len(found.expectations) > 1:
        parts.append(f'<div class="pair">{"".join(_along_k(of))}</div>')
    heads = ("k", "loss", "near the mean", "to the mean", "people per face", "crowds", "sizes", "loss, random")
    rows = (
        (
            row.k,
            f"{row.information_loss:.3f}",
            share(row.near_centre),
            f"{row.distance_to_centre:.3f}",
            f"{row.people_per_face:.2f}",
            f"{row.crowds:,}",
            f"{row.smallest} to {row.largest}",
            f"{row.loss_of_random_crowds:.3f}",
        )
        for row in found.expectations
    )
    parts.append(table(heads, rows, "short"))
    parts.append("<h3>Reasons for a k</h3>")
    parts.append(paragraph("Wishes that pull k up come first, those that hold it down after them. They may not meet."))
    parts.append(table(("if this is wanted", "k", "because"), [(r.wish, r.k, r.because) for r in reasons(of)], "words"))
    return "\n".join(parts)


def _along_k(of: Statistics) -> list[str]:
    """The figures of the measures that change with k."""
    found = of.tradeoff
    first, last = found.expectations[0], found.expectations[-1]
    figs = [
        figure(
            figures.draw_loss(found),
            f"Information loss is {first.information_loss:.2f} at k = {first.k}, "
            f"{last.information_loss:.2f} at k = {last.k}.",
            "0: everybody in a crowd has the same vector; 1: one crowd of all. k on a logarithmic axis.",
        ),
        figure(
            figures.draw_centres(found, of.threshold),
            f"Members lie {first.distance_to_centre:.2f} from their crowd's mean at k = {first.k}, "
            f"{last.distance_to_centre:.2f} at k = {last.k}.",
            "Euclidean distance of members' vectors to the mean of their crowd.",
        ),
    ]
    if of.threshold is not None:
        seen = f"{share(first.near_centre)} of members are near their crowd's mean at k = {first.k}, "
        seen += f"{share(last.near_centre)} at k = {last.k}."
        how = f"Near: nearer than the threshold {of.threshold:g}. A proxy, taken before any face is rendered."
        figs.append(figure(figures.draw_near(found), seen, how))
    return figs


def quality(of: Statistics) -> str:
    """The measures of the photos that are used."""
    parts = ["<h2>Quality of the photos used</h2>"]
    if not of.quality:
        return "\n".join(
            [*parts, paragraph("No quality was measured: vectors that were enrolled from arrays have none.")]
        )
    figs = []
    for place, (name, found) in enumerate(of.quality.items()):
        what, says = MEASURES.get(name, (_short(name), ""))
        seen = f"{what.split(' (')[0].capitalize()}: half of the photos are below {number(found.median)}."
        how = f"5 % are below {number(found.p05)}, 5 % above {number(found.p95)}. Dashed: the median. {says}"
        figs.append(figure(figures.draw_spread(f"quality{place}", found, what), seen, how))
    return "\n".join([*parts, f'<div class="pair">{"".join(figs)}</div>'])


def attributes(of: Statistics) -> str:
    """How the attributes' values are spread over identities."""
    parts = ["<h2>Attributes</h2>"]
    if not of.attributes:
        parts.append(paragraph("No attributes are known."))
    for name, counts in of.attributes.items():
        shown = dict(counts.values)
        if counts.other_values:
            values = "value" if counts.other_values == 1 else "values"
            shown[f"{counts.other_values:,} other {values}, not told apart"] = counts.other_identities
        if counts.unknown:
            shown["not known"] = counts.unknown
        parts.append(f"<h3>{text(name)}: not known for {share(counts.share_unknown)}</h3>")
        parts.append(bars("value", shown, of.identities))
    return "\n".join(parts)


def _short(label: str) -> str:
    """A label short enough for an axis."""
    return label if len(label) <= 40 else f"{label[:37]}..."


def _bad(of: Statistics) -> str:
    bad = sum(of.turned_away.values())
    return f"; {bad:,} more turned away" if bad else ""


def _photos(count: float) -> str:
    return "1 photo" if count == 1 else f"{count:g} photos"


def _summary(what: str, found: Spread | None) -> tuple[str, ...] | None:
    if found is None:
        return None
    values = (found.median, found.p05, found.p95, found.minimum, found.maximum)
    return (what, *(f"{value:.3f}" for value in values), f"{found.count:,}", f"{found.total:,}")


def _separation(found: Distances) -> list[str]:
    if found.within is None:
        return ["No two photos of one person were compared: nobody has two, or photos are not known one by one."]
    sentences = []
    if found.d_prime is not None:
        sentences.append(f"Separation d' of one person's photos from those of others: {found.d_prime:.2f}.")
    sentences.append(
        f"{share(found.within_beyond_nearest)} of the pairs of one person's photos lie farther apart than half of the "
        "people lie from their nearest other: such a photo may be nearer to somebody else."
    )
    return sentences


def _duplicates(of: Statistics) -> list[str]:
    found = of.distances
    assert found.nearest is not None
    everybody = found.nearest.count == of.identities
    whom = "all identities" if everybody else f"{found.nearest.count:,} identities drawn, compared with all"
    sentences = [f"Of {whom}, {found.equal:,} have the very same vector as another."]
    if of.threshold is not None:
        sentences.append(
            f"Likely duplicates: of {whom}, {found.likely_duplicates:,} have another nearer than "
            f"{DUPLICATES * of.threshold:.2f}, the distance below which enrolment lists two identities as likely one "
            "person, who would count twice in a crowd. Look at them before k is relied upon."
        )
        sentences.append(
            f"Look-alikes: {found.nearer_than_threshold:,} have another nearer than the threshold {of.threshold:g}."
        )
    return sentences


def _partitioned(of: Statistics) -> str:
    found = of.tradeoff
    whom = f"All {found.identities:,} identities were"
    if found.sampled:
        whom = f"A sample of {found.identities:,} of the {of.identities:,} identities was"
    sentence = f"{whom} partitioned with {found.algorithm} (effort {found.effort}, seed {of.seed}) for each k below."
    if found.sampled:
        sentence += (
            " Among all of them nearer people are found: crowds will be tighter than here, with less loss and more "
            "members near their crowd's mean, and there will be more crowds in proportion."
        )
    return sentence
