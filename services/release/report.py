"""What came of a release, for people."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from services.release.flow import REFUSED, UNPROVED_LIST, Outcome
from services.release.records import Finding
from services.text import plain

LISTED = 20  # exceptions of a kind that are named; a file has all of them


def show(outcome: Outcome, private: Path, console: Console) -> None:
    """Prints the exceptions one a line, and then the sums."""
    for path, code, reason in outcome.refused[:LISTED]:
        console.print(Text.assemble(("refused", "yellow"), f" {plain(path)}: {code}, {plain(reason)}"), soft_wrap=True)
    if len(outcome.refused) > LISTED:
        console.print(f"... and {len(outcome.refused) - LISTED} more, see {private / REFUSED}", soft_wrap=True)
    unproved = [(proof.path, finding) for proof in outcome.failed for finding in proof.findings]
    for path, finding in unproved[:LISTED]:
        console.print(Text.assemble(("unproved", "red"), f" {plain(path)}: {_said(finding)}"), soft_wrap=True)
    if len(unproved) > LISTED:
        console.print(f"... and {len(unproved) - LISTED} more, see {private / UNPROVED_LIST}", soft_wrap=True)
    told = outcome.told
    lines = _lines(outcome) if "run" in told else []
    if told["proof"]:
        found = ", ".join(f"{kind} {number}" for kind, number in told["proof"]["found"].items()) or "nothing"
        lines.append(
            f"looked at again: {told['proof']['faces']} faces in {told['proof']['photos']} photos; found: {found}"
        )
    console.print(Text("\n".join(lines)), soft_wrap=True, highlight=False)


def _said(finding: Finding) -> str:
    x, y, side = finding.place
    where = f" at {x:.0f},{y:.0f} ({side:.0f} px)" if side else ""
    distances = "" if finding.distance is None else f", {finding.distance:.3f} from who it was"
    if finding.to_surrogate is not None:
        distances += f" and {finding.to_surrogate:.3f} from its surrogate"
    return f"{finding.kind}{where}{distances}"


def _lines(outcome: Outcome) -> list[str]:
    told, run = outcome.told, outcome.told["run"]
    photos, faces, condensed = (told[part] for part in ("photos", "faces", "condensation"))
    codes = Counter(code for _, code, _ in outcome.refused)
    why = f" ({', '.join(f'{code} {number}' for code, number in codes.most_common())})" if codes else ""
    lines = [
        f"photos released {photos['released']}, refused {photos['refused']}{why}; "
        f"this run did {run['done']}, kept {run['kept']}, dropped {run['gone']} that are gone",
        f"faces {faces['all']}: enrolled {faces['enrolled']}, strangers {faces['stranger']}, masked {faces['masked']}",
        f"index {told['index']} version {told['index_version']}, k {told['k'] or 'not claimed for anybody'}",
        f"condensation: {condensed['faces_in']} faces of {condensed['people_in']} enrolled people and of strangers -> "
        f"{condensed['surrogates_out']} surrogates that stand for {condensed['people_stood_for']} people; "
        f"{condensed['bytes_in']:,} bytes -> {condensed['bytes_out']:,}",
    ]
    if run["thin_crowds"]:
        lines.append(
            f"of {run['crowds']} crowds {run['thin_crowds']} have fewer than k of their people in these photos: k "
            "holds among all enrolled people, not among those who are known to be here"
        )
    if run["named_paths"]:
        lines.append(
            f"{run['named_paths']} photos lie in folders that are called like people who are enrolled: names of "
            "folders are published as they are; rename them"
        )
    if run["names_unmatched"]:
        lines.append(f"--identities names {run['names_unmatched']} photos that are not in the folder")
    left = ", ".join(f"{suffix} {number}" for suffix, number in run["left_out"].items())
    return [*lines, f"left out, no photos: {left}"] if left else lines


def show_check(header: dict[str, Any], console: Console) -> None:
    """Prints what a release is, after its files were found to be those of its manifest."""
    photos, proof = header["photos"], header["proof"]
    proved = f"proved for {proof['faces']} faces" if proof else "not proved: made with --no-verify"
    console.print(
        f"sound: {photos['released']} photos, {len(header['surrogates'])} surrogates, index {header['index']} version "
        f"{header['index_version']}; {proved}",
        soft_wrap=True,
        highlight=False,
    )
