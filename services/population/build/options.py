"""What an operator chooses of a build, where it goes, and what comes of it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from services.anonymizer.models import Models
from services.population.build.growth import Plan
from services.population.constraints import Constraints
from services.population.index import ClusterIndex, EnrolmentStore
from services.population.index.diff import Difference
from services.population.surrogates import RiskOptions

Duplicates = Literal["count-once", "ignore", "refuse"]


@dataclass(frozen=True)
class BuildOptions:
    """What an operator chooses."""

    k: int
    algorithm: str = "swap"
    effort: str = "default"
    seed: int = 0
    constraints: Constraints = field(default_factory=Constraints)
    surrogates: Literal["mean", "random", "risk"] = "mean"
    risk: RiskOptions | None = None
    duplicates: Duplicates = "count-once"
    duplicate_threshold: float | None = None  # None: a share of the embedder's, see duplicates.py
    new_epoch: bool = False


def constraints_of(options: BuildOptions) -> dict[str, Any]:
    """The constraints as a manifest has them."""
    told: dict[str, Any] = json.loads(json.dumps(asdict(options.constraints)))
    return told


@dataclass(frozen=True)
class Place:
    """Where an index and its maps are, and the models it is made with."""

    folder: Path
    store: EnrolmentStore
    repository: Path
    models: Models


@dataclass(frozen=True)
class Built:
    """What came of a build."""

    index: ClusterIndex
    plan: Plan
    duplicates: int  # pairs of identities that are likely one person
    difference: Difference | None  # to the version before
    surrogates: dict[str, Any]  # how the new crowds' surrogates do, see surrogates/report.py
    constraints: dict[str, Any]  # what the constraints cost

    def as_dict(self) -> dict[str, Any]:
        """What came of it, as JSON has it; counts and versions, never names."""
        manifest = self.index.manifest
        return {
            "index": self.index.name,
            "version": self.index.version,
            "step": self.plan.step,
            "k": self.index.k,
            "people": manifest["people"],
            "crowds": manifest["crowds"],
            "smallest": min(manifest["sizes"]),
            "largest": max(manifest["sizes"]),
            "identities": len(self.index.enrolled.identities),
            "waiting": self.plan.waiting,
            "removed": self.plan.people_removed,
            "likely_duplicates": self.duplicates,
            "withdraws": list(manifest["ledger"][-1]["withdraws"]) if self.plan.step else [],
            "difference": self.difference.as_dict() if self.difference else None,
            "partition": self.constraints,
            "surrogates": self.surrogates,
        }
