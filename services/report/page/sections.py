"""The parts of the page, each a heading, sentences, and figures."""

from base64 import b64encode
from collections.abc import Sequence

from services.population.stats.markup import definitions, figure, paragraph, table, text
from services.report.faces import ORIGINAL, RELEASED, SURROGATE
from services.report.page.plots import draw_losses, draw_rates, draw_tradeoff
from services.report.page.words import amount, named, percent, rate
from services.report.report import Report
from services.report.results import Attack, Measure

NOT_COMPARED = "not compared"  # too few people, or no group: those of whom nothing is known
MOST_ROWS = 500  # of misses on the page; all are in the JSON
FOUND = "faces found"  # the measure that privacy is drawn against


def pictures(of: Report, public: bool) -> str:
    """The same faces by each way to hide them."""
    # Weak blur, truncation and their like are near to the originals: only what is published anyway may be shown.
    rows = {name: shown for name, shown in of.pictures.items() if not public or name in (RELEASED, SURROGATE)}
    if not rows:
        return ""
    cells = "\n".join(
        f"<tr><td>{text(name)}</td>{''.join(_picture(one, name) for one in shown)}</tr>" for name, shown in rows.items()
    )
    seen = paragraph("The same faces, aligned, by each way to hide them; one face of each crowd first.", soft=True)
    return f'<h2>What is seen</h2>\n{seen}<div class="scroll" tabindex="0"><table class="faces">{cells}</table></div>'


def _picture(data: bytes, name: str) -> str:
    return f'<td><img alt="a face, {text(name)}" src="data:image/jpeg;base64,{b64encode(data).decode()}"></td>'


def attacks(of: Report) -> str:
    """Re-identification by every attack on every way."""
    parts = ["<h2>Re-identification</h2>", paragraph(PROTOCOL)]
    for number, recogniser in enumerate(of.recognisers):
        part = (
            "had a part in choosing the crowds, and does not count"
            if recogniser.clustered
            else "had no part in the crowds"
        )
        seen = f"{recogniser.name}: {part}."
        how = "Marks: the worst attack of each kind; lines: 95 % intervals over people."
        parts.append(figure(draw_rates(of, recogniser.name, f"rates{number}"), seen, how))
    heads = ("version", "attack", "rank-1", "rank-5", "TAR at FAR 0.1 %", "at 0.01 %", "EER", "probes", "pairs")
    for recogniser in of.recognisers:
        rows = [_attack(one) for one in of.attacks if one.recogniser == recogniser.name]
        mark = " (chose the crowds)" if recogniser.clustered else ""
        summary = f"<summary>Every attack by {text(recogniser.name)}{mark}</summary>"
        parts.append(f"<details>{summary}{table(heads, rows, 'mixed')}</details>")
    return "\n".join(parts)


def _attack(one: Attack) -> Sequence[object]:
    photo = "" if one.attack == "none" or one.photos == "another" else ", the very photo"
    tars = [rate(one.tar.get(far)) for far in ("0.001", "0.0001")]
    return (
        one.version,
        f"{one.attack}{photo}",
        rate(one.rank1),
        rate(one.rank5),
        *tars,
        rate(one.eer),
        f"{one.probes:,}",
        f"{one.impostors:,}",
    )


def baselines(of: Report) -> str:
    """Who falls to which attack, and what is kept."""
    rows, points = [], []
    for way in of.ways:
        found = of.worst(way.name)
        if found is None:
            continue
        kept = next((one for one in of.measures if one.version == way.name and one.name == FOUND), None)
        verdict = "holds" if of.above(way.name) is None else "falls"
        rows.append((way.name, verdict if way.name != ORIGINAL else "", rate(found.rank1), named(found), way.about))
        if kept and kept.estimate and way.name != ORIGINAL:
            points.append((way.name, found.rank1.value, kept.estimate.value))
    parts = [
        "<h2>Beside other ways to hide a face</h2>",
        paragraph(
            "The best attack on each, by recognisers that chose no crowds. It falls if an attack's interval lies above "
            f"what the crowd alone tells in this gallery ({percent(max(of.chance, of.chance_here))})."
        ),
        table(("way", "", "best attack's rank-1", "which", "how it is made"), rows, "words"),
    ]
    if points:
        how = "Up: faces are still found, so that a photo stays a photo of people; left: who they are is not found."
        parts.append(
            figure(draw_tradeoff(points, "share of faces that a detector finds"), "Privacy against utility.", how)
        )
    return "\n".join(parts)


def system(of: Report) -> str:
    """Attacks on the system."""
    parts = ["<h2>Attacks on the system</h2>"]
    for one in of.system:
        claim = "The guarantee is meant to hold against it." if one.claimed else "The guarantee does not cover it."
        parts += [
            f"<h3>{text(one.name)}</h3>",
            paragraph(f"{one.asks} The attacker has: {one.holds} {claim}", soft=True),
        ]
        rows = []
        for part in one.figures:
            value = (
                amount(part.interval)
                if part.interval
                else ("not measured" if part.value is None else f"{part.value:.3f}")
            )
            rows.append((part.name, value, part.about))
        parts += [paragraph(one.verdict), table(("figure", "value", "of what"), rows, "words")]
    return "\n".join(parts)


def losses(of: Report) -> str:
    """What crowds cost."""
    heads = ("partition", "k", "loss", "to the centre", "diameter", "to the surrogate", "crowds", "people")
    rows = [
        (
            row.algorithm,
            row.k,
            f"{row.loss:.3f}",
            f"{row.to_centre:.3f}",
            f"{row.diameter:.3f}",
            "" if row.to_surrogate is None else f"{row.to_surrogate:.3f}",
            row.crowds,
            row.people,
        )
        for row in of.losses
    ]
    how = "By the embeddings that the crowds are chosen with. hierarchical is the paper's HP; swap is the default here."
    seen = "Information loss of this release's crowds, and of others of the same people."
    return "\n".join(
        ["<h2>What the crowds cost</h2>", figure(draw_losses(of.losses), seen, how), table(heads, rows, "mixed")]
    )


def utility(of: Report) -> str:
    """What of the photos is kept."""
    names = list(dict.fromkeys(one.name for one in of.measures))
    ways = list(dict.fromkeys(one.version for one in of.measures))
    by = {(one.version, one.name): one for one in of.measures}
    rows = [(way, *(_measure(by.get((way, name))) for name in names)) for way in ways]
    about = {name: next(one.about for one in of.measures if one.name == name) for name in names}
    return "\n".join(["<h2>What is kept</h2>", table(("version", *names), rows, "mixed"), definitions(about)])


def _measure(one: Measure | None) -> str:
    return "" if one is None else amount(one.estimate)


def fairness(of: Report) -> str:
    """The same for groups of people."""
    parts = ["<h2>Groups of people</h2>", paragraph(GROUPS)]
    for attribute in dict.fromkeys(group.attribute for group in of.groups):
        groups = [group for group in of.groups if group.attribute == attribute]
        names = list(dict.fromkeys(one.name for group in groups for one in group.measures))[:4]
        rows = []
        for group in groups:
            worst = max(
                (one for one in group.attacks if not one.clustered), key=lambda one: one.rank1.value, default=None
            )
            by = {one.name: one for one in group.measures}
            told = NOT_COMPARED if worst is None else rate(worst.rank1)
            rows.append((group.value, group.people, group.faces, told, *(_measure(by.get(name)) for name in names)))
        parts.append(f"<h3>{text(attribute)}</h3>")
        parts.append(table(("group", "people", "faces", "best attack's rank-1", *names), rows, "mixed"))
    return "\n".join(parts)


def structure(of: Report) -> str:
    """What the guarantee rests on."""
    held = of.structure
    sizes = ", ".join(f"{count} of {size}" for size, count in held.get("sizes", {}).items())
    refused = ", ".join(f"{code} {count}" for code, count in held.get("refused", {}).items()) or "none"
    rows = [
        ("index", f"{held.get('index')} version {held.get('index_version')}, k = {of.k}"),
        ("checksum", held.get("checksum", "")),
        ("crowds", f"{held.get('crowds')} of {held.get('people')} people; sizes: {sizes}"),
        (
            "crowds of which fewer than k people are here",
            f"{held.get('thin_crowds')} of {held.get('crowds_in_release')}",
        ),
        ("photos refused", refused),
        ("faces masked; of strangers", f"{held.get('masked_faces')}; {held.get('strangers')}"),
        ("who is enrolled is", str(held.get("resolution"))),
        ("models", ", ".join(f"{part} {name}" for part, name in held.get("models", {}).items())),
        ("built", ", ".join(f"{name} {value}" for name, value in held.get("built", {}).items())),
    ]
    return "<h2>What it rests on</h2>\n" + table(("what", "is"), rows, "words")


def misses(of: Report, public: bool) -> str:
    """Every face or photo that went wrong; where others read it, how many of each kind."""
    parts = ["<h2>What went wrong</h2>"]
    kinds = dict.fromkeys(miss.what for miss in of.misses)
    counts = [(kind, sum(miss.what == kind for miss in of.misses)) for kind in kinds]
    counts += [(f"not looked at: {why}", count) for why, count in of.without.items()]
    if not counts:
        return "\n".join([*parts, paragraph("Nothing.")])
    parts.append(table(("what", "how often"), counts, "short"))
    if not public:
        rows = [(miss.path, miss.what, miss.why) for miss in of.misses[:MOST_ROWS]]
        parts.append(table(("photo", "what", "why"), rows, "words"))
        if len(of.misses) > MOST_ROWS:
            parts.append(paragraph(f"{len(of.misses) - MOST_ROWS:,} more are in the JSON."))
    return "\n".join(parts)


PROTOCOL = (
    "The gallery holds one photo of each person, and every other photo of a person is looked for in it; all of it "
    "twice, with everybody's first and last photo in the gallery. naive: the attacker has a photo of the person and "
    "looks among what is published; reverse: the attacker has what is published and looks among photos of people; "
    "parrot: the attacker hides a photo of each person in the same way first; adapted: and learns from other people "
    "how hiding changes a face. The very photo: the attacker holds the original of the published photo itself. A face "
    "that shares its place with t others counts 1/t. Intervals of 95 %: people drawn with replacement, 1,000 times."
)
GROUPS = (
    "Values are a population's where it was named, else what networks and colours suggest. Probes are of the group, "
    "the gallery is everybody's. Small groups have wide intervals; groups of fewer than five people are counted only."
)
