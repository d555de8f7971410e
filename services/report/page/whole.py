"""The parts of the page in the order in which an auditor reads."""

from services.population.stats.document import POLICY, document
from services.population.stats.markup import paragraph, text
from services.report.page import sections
from services.report.page.claims import claims
from services.report.page.verdict import verdict
from services.report.report import Report

PICTURES = POLICY.replace("default-src 'none'", "default-src 'none'; img-src data:")
MORE = """
main { max-width: 62rem; }
.mixed td:first-child { white-space: nowrap; }
summary { cursor: pointer; font-weight: 600; margin: 1rem 0 .3rem; }
.faces img { width: 6.5rem; height: 6.5rem; display: block; border-radius: .3rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
.faces td { padding: .15rem .3rem .15rem 0; border: 0; text-align: left; vertical-align: middle; }
"""


def page_of(of: Report, public: bool) -> str:
    """The whole file.

    Args:
        public: leaves out what is for the owner alone: which photos went wrong, and pictures of originals; and figures
            from which those of a few people could be worked out.
    """
    of, name = of.for_others() if public else of, text(of.name)
    whom = (
        "It may be published with the release."
        if public
        else "For its owner alone: it shows originals, and which photos went wrong."
    )
    body = [
        f"<h1>What {name} gives away, and what it keeps</h1>",
        paragraph(f"Measured {of.created}. {whom}", True),
        verdict(of, public),
        sections.pictures(of, public),
        claims(of),
        sections.attacks(of),
        sections.baselines(of),
        sections.system(of),
        sections.losses(of),
        sections.utility(of),
        sections.fairness(of),
        sections.structure(of),
        sections.misses(of, public),
        "<h2>Limits, and how to make it again</h2>",
        *(paragraph(limit) for limit in of.limits),
        "" if public else f"<pre>{text(of.command)}</pre>",
    ]
    return document(f"{of.name}: privacy report", body, MORE, PICTURES)
