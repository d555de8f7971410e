"""What is known of each photo: the lines of the private journal. Personal data."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

Outcome = Literal["enrolled", "stranger", "masked"]
# What a proof can find, from the worst on: the original or the output is not the file that was worked on; the models
# failed on it each time; a face of the original that was not treated; one that is nearer to who it was than to its
# surrogate, or masked and still there; a certain face where the original has none; a surrogate that the recogniser
# would take for who was there, since crowds are of people who are alike.
FindingKind = Literal["changed", "unseen", "unknown", "left", "unexplained", "recognisable"]
KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
UNPROVED = "unproved"  # withdrawn because its proof failed
PASSING = {"unreadable", "model_server_unavailable", "deadline_exceeded"}  # refusals that another try may lift


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face of an original, and what became of it."""

    outcome: Outcome
    crowd: int | None  # whose surrogate it got; None: it is masked
    person: int | None  # who it is, by the enrolment's numbers; None: a stranger, or masked
    place: tuple[float, float, float]  # middle of its landmarks, and its longer side, in pixels of the upright original


@dataclass(frozen=True, slots=True)
class Record:
    """One photo of the collection: released, or refused with the reason. Hashes are SHA-256 in hex."""

    path: str
    bytes: int  # of the original; -1: it could not be read
    mtime_ns: int
    sha256: str  # of the original: whoever has it can tell a candidate's, so that it is never published
    code: str = ""  # why it is refused; "": it is released
    reason: str = ""
    output_sha256: str = ""  # "": nothing is written of it
    output_bytes: int = 0
    faces: tuple[FaceRecord, ...] = ()

    @property
    def released(self) -> bool:
        return not self.code

    def count(self, outcome: Outcome) -> int:
        """How many faces became `enrolled`, `stranger` or `masked`."""
        return sum(face.outcome == outcome for face in self.faces)

    @property
    def crowds(self) -> list[int]:
        """Of the faces that were replaced, in the order in which they were found."""
        return [face.crowd for face in self.faces if face.crowd is not None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One face that the proof of a photo stumbled over."""

    kind: FindingKind
    place: tuple[float, float, float]
    distance: float | None = None  # of embeddings, the finished face to the original one
    to_surrogate: float | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What looking again at a photo and its original showed. It holds for these two files and no others."""

    path: str
    sha256: str
    output_sha256: str
    distances: tuple[float, ...] = ()  # of each original face to what is in its place now
    findings: tuple[Finding, ...] = ()

    def holds_for(self, record: Record) -> bool:
        """Was it made of the files that a record is of?"""
        return (self.sha256, self.output_sha256) == (record.sha256, record.output_sha256)

    def found(self, *kinds: FindingKind) -> bool:
        """Did it find anything of these kinds?"""
        return any(finding.kind in kinds for finding in self.findings)


def record_of(told: dict[str, Any]) -> Record:
    """A record as JSON had it. Raises KeyError, TypeError, ValueError."""
    faces = [FaceRecord(outcome, crowd, person, tuple(place)) for outcome, crowd, person, place in told["faces"]]
    return Record(**{**told, "faces": tuple(faces)})


def proof_of(told: dict[str, Any]) -> Proof:
    """A proof as JSON had it. Raises KeyError, TypeError, ValueError."""
    findings = [Finding(kind, tuple(place), near, to) for kind, place, near, to in told["findings"]]
    return Proof(**{**told, "distances": tuple(told["distances"]), "findings": tuple(findings)})
